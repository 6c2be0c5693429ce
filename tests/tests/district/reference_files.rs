//! Reference data in files: what is announced every year comes into a running district by the operator's program.

use std::fs;

use anyhow::{Context as _, Result};
use tonic::Status;
use tonic_types::StatusExt as _;
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::matching::v1::{Order, PlaceOrderRequest, order_service_client::OrderServiceClient};
use zhirong_tests::{
    district::{District, eventually, seeds},
    finance::{enterprises, new_id},
    liandu,
    products::{offered, pledge_product, publish_product},
};

/// Publishes a file with this content as reference data of a kind, and says what the program says.
async fn publish(district: &District, kind: &str, content: &str) -> Result<String> {
    let token = district.folder().join("tokens/renewer");
    fs::write(&token, district.token(&["staff"], "renewer").await?)?;
    let file = district.folder().join(format!("{kind}.csv"));
    fs::write(&file, content)?;
    let (option, file) = (format!("--{kind}"), file.display().to_string());
    let token = token.display().to_string();
    district.zhirong(&["reference", "--gateway", district.gateway(), "--token-file", &token, &option, &file]).await
}

async fn order(district: &District, uscc: &Uscc, product: &str) -> Result<Result<Order, Status>> {
    let request = PlaceOrderRequest {
        request_id: new_id(),
        product_id: product.to_owned(),
        amount_fen: 10_000_000,
        term_months: 12,
        purpose_zh: "购买原材料".to_owned(),
        consent: liandu::consent(),
        coupon_id: String::new(),
    };
    let answer = OrderServiceClient::new(district.as_enterprise(uscc).await?).place_order(request).await;
    answer
        .map(|answer| answer.into_inner().order.context("an order"))
        .map_or_else(|status| Ok(Err(status)), |order| order.map(Ok))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_lpr_and_a_new_year_need_no_release() -> Result<()> {
    let district = District::start().await?;
    let pledge =
        pledge_product("sample-puhui-bank", "示例存续贷", ("is_in_operation", "存续在业"), "registered_capital_fen");
    let product = publish_product(&district, pledge).await?;
    let borrowers = enterprises(&district, "331102", "small", 1).await?;
    let uscc = borrowers.first().context("an enterprise")?;
    let today = liandu::today();
    let before = offered(&district, uscc, &product, |_| true).await?.rate_ppm;

    // The central bank lowers it by 1000 ppm, today.
    let old = fs::read_to_string(seeds().join("lpr.csv"))?;
    let known = old.lines().find(|line| line.starts_with("# known_through:")).context("how far it is known")?;
    let last: i64 = old.lines().last().and_then(|line| line.split(',').nth(1)).context("a rate")?.parse()?;
    let lpr = old.replace(known, &format!("# known_through: {today}")) + &format!("{today},{},35000,\n", last - 1000);
    assert!(publish(&district, "lpr", &lpr).await?.contains("1 loaded"));
    offered(&district, uscc, &product, |of| of.rate_ppm == before - 1000).await?;
    // Taken back, and once more: what was published last is in force, however often it was.
    publish(&district, "lpr", &old).await?;
    offered(&district, uscc, &product, |of| of.rate_ppm == before).await?;
    publish(&district, "lpr", &lpr).await?;
    offered(&district, uscc, &product, |of| of.rate_ppm == before - 1000).await?;

    // A year whose working days nobody has published: when the bank would have to answer is not guessed.
    let calendar = fs::read_to_string(seeds().join("calendar.csv"))?;
    let this_year = today.year();
    let is_past =
        |line: &&str| line.get(..4).and_then(|year| year.parse().ok()).is_none_or(|year: i16| year < this_year);
    let past: String = calendar.lines().filter(is_past).map(|line| format!("{line}\n")).collect();
    publish(&district, "calendar", &past).await?;
    let refused =
        eventually("an order is refused", || async { Ok(order(&district, uscc, &product).await?.err()) }).await?;
    let details = refused.get_error_details();
    assert_eq!(details.error_info().context("a reason")?.reason, "CALENDAR_UNKNOWN");
    assert_eq!(details.localized_message().context("Chinese")?.message, "尚未发布该年度工作日历，请联系工作人员");

    // A file that is not whole is refused with each fault, and changes nothing.
    let wrong =
        publish(&district, "calendar", &format!("{past}{this_year}-10-01,holiday\n")).await.unwrap_err().to_string();
    assert!(wrong.contains(&format!("{this_year} is not complete: {this_year}-01-01 is always a holiday")), "{wrong}");
    let fixed =
        |year: i16| ["01-01", "05-01", "10-01", "10-02", "10-03"].map(|day| format!("{year}-{day},holiday\n")).concat();
    publish(&district, "calendar", &format!("{past}{}{}", fixed(this_year), fixed(this_year + 1))).await?;
    eventually("an order is placed", || async { Ok(order(&district, uscc, &product).await?.ok()) }).await?;
    district.stop().await
}

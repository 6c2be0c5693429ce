//! The digital column of intellectual property: what the district has and has pledged, what it is worth, and the loans that are
//! matched with it. 1.461 billion CNY of registered pledges, 149 million CNY of loans.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::{
    catalog::v1::ProductSpec,
    matching::v1::{ApproveLoanRequest, IpKind, IpPledge},
    profile::v1::{
        GetIpAppraisalRequest, GetIpOverviewRequest, GetIpOverviewResponse,
        appraisal_service_client::AppraisalServiceClient,
    },
};
use zhirong_tests::{
    district::{District, eventually},
    finance::{BANK, Wanted, lend, new_id},
    liandu,
    products::{offered, pledge_product, publish_product},
    records::{publish, record},
};

const ENTERPRISES: i64 = 60;
const BORROWERS: usize = 50;
const PLEDGED_FEN: i64 = 146_100_000_000;
const LENT_FEN: i64 = 14_900_000_000;

/// Up to half of what the patents are worth, and no more than is registered as pledged.
fn product() -> ProductSpec {
    pledge_product(
        BANK,
        "云窗知产贷",
        ("ip_pledge_fen > 0", "已办理知识产权质押登记"),
        "min(ip_value_fen / 2, ip_pledge_fen)",
    )
}

fn pledge(uscc: &Uscc, day: &str, fen: i64) -> Value {
    record(uscc, "ip_pledge", day, &json!({ "ip_pledge_count": i64::from(fen > 0) * 3, "ip_pledge_fen": fen }))
}

async fn overview(district: &District, pledged_fen: i64) -> Result<GetIpOverviewResponse> {
    let client = AppraisalServiceClient::new(district.as_staff().await?);
    eventually(&format!("{pledged_fen} fen are pledged"), || async {
        let overview = client.clone().get_ip_overview(GetIpOverviewRequest {}).await?.into_inner();
        Ok((overview.pledged_fen == pledged_fen && overview.enterprises == ENTERPRISES).then_some(overview))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn story_pujiang_p6_digital_ip_column() -> Result<()> {
    let district = District::start().await?;
    let product = publish_product(&district, product()).await?;
    let enterprises: Vec<Uscc> = (0..ENTERPRISES)
        .map(|number| Uscc::with_check(&format!("91330726MA2P6{number:04}")))
        .collect::<Result<_, _>>()?;
    let patents = json!({ "patent_count": 100, "invention_patent_count": 50 });
    let records = enterprises.iter().flat_map(|uscc| {
        [record(uscc, "patent", "2026-10-01", &patents), pledge(uscc, "2026-10-01", PLEDGED_FEN / ENTERPRISES)]
    });
    publish(&district, "property", &records.collect::<Vec<_>>()).await?;

    // The column shows what there is and what it is worth.
    let shown = overview(&district, PLEDGED_FEN).await?;
    assert_eq!((shown.patents, shown.invention_patents, shown.pledges), (6_000, 3_000, 180));
    let mut own = AppraisalServiceClient::new(district.as_enterprise(&enterprises[0]).await?);
    let appraisal = own.get_ip_appraisal(GetIpAppraisalRequest::default()).await?.into_inner();
    let low_fen = appraisal.appraisal.context("an appraisal")?.low_fen;
    assert_eq!(shown.value_fen, low_fen * ENTERPRISES, "all have the same");
    let closed = own.get_ip_overview(GetIpOverviewRequest {}).await.unwrap_err();
    assert_eq!(closed.code(), tonic::Code::PermissionDenied, "it is for the staff");

    // And it is matched with loans.
    offered(&district, &enterprises[0], &product, |of| of.limit_fen == low_fen / 2).await?;
    let each = LENT_FEN / i64::try_from(BORROWERS)?;
    let wanted: Vec<Wanted> = enterprises[..BORROWERS]
        .iter()
        .map(|uscc| {
            let pledge = IpPledge {
                kind: IpKind::Patent.into(),
                registration_number: format!("SAMPLE-{}", new_id()),
                ..IpPledge::default()
            };
            let wanted = Wanted::new(uscc, each, 34_000);
            Wanted { approval: ApproveLoanRequest { ip_pledges: vec![pledge], ..wanted.approval.clone() }, ..wanted }
        })
        .collect();
    lend(&district, &product, &wanted).await?;
    let report = liandu::report(&district).await?;
    assert_eq!((&report["ip_pledge_loans"], &report["ip_pledge_fen"]), (&json!(BORROWERS), &json!(LENT_FEN)));
    assert_eq!(report["approved_fen"], LENT_FEN, "there are no other loans");

    // A pledge that ends leaves the column.
    publish(&district, "ended", &[pledge(&enterprises[59], "2026-10-02", 0)]).await?;
    let left = overview(&district, PLEDGED_FEN - PLEDGED_FEN / ENTERPRISES).await?;
    assert_eq!(left.pledges, 177);
    district.stop().await
}

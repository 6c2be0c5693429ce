//! Special products of a district: research with universities on re-lending funds, and a loan on accounted ecological value.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tonic::Code;
use uuid::Uuid;
use zhirong_kernel::{id::InstitutionId, uscc::Uscc};
use zhirong_proto::{
    catalog::v1::{
        Condition, CreditTerms, GuaranteeForm, ListProductsRequest, ProductSpec, RepaymentMethod,
        product_service_client::ProductServiceClient, product_spec::Terms,
    },
    matching::v1::{
        ApproveLoanRequest, CalculateRequest, CalculateResponse, Eligible, PlaceOrderRequest,
        bank_order_service_client::BankOrderServiceClient, calculator_service_client::CalculatorServiceClient,
        offer::Outcome, order_service_client::OrderServiceClient,
    },
};
use zhirong_tests::{
    district::{District, eventually},
    liandu,
    products::{condition, publish_product},
    records::{publish, record},
};

const BANK: &str = "sample-puhui-bank";

fn special(name_zh: &str, tags: &[&str], conditions: Vec<Condition>, limit: &str, rate: &str) -> ProductSpec {
    let terms = CreditTerms {
        conditions,
        limit_formula: limit.to_owned(),
        rate_formula: rate.to_owned(),
        min_amount_fen: 10_000_000,
        max_amount_fen: 3_000_000_000,
        min_term_months: 6,
        max_term_months: 60,
        repayment_method: RepaymentMethod::InterestFirst.into(),
        guarantee_form: GuaranteeForm::Credit.into(),
        answer_working_days: 5,
        ..CreditTerms::default()
    };
    ProductSpec {
        institution_id: BANK.to_owned(),
        name_zh: name_zh.to_owned(),
        summary_zh: "示例特色产品".to_owned(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        terms: Some(Terms::Credit(terms)),
    }
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// An enterprise of which little is known but what these products ask for.
fn basics(uscc: &Uscc, name: &str) -> Vec<Value> {
    let record = |category, data| record(uscc, category, "2026-10-01", &data);
    vec![
        record(
            "business_registration",
            json!({
                "name": name, "established_on": "2019-05-20", "enterprise_class": "small", "industry_code": "M73",
                "registered_capital_fen": 500_000_000, "is_in_operation": true,
            }),
        ),
        record("dishonest_debtor", json!({ "is_dishonest": false })),
    ]
}

async fn answer(district: &District, uscc: &Uscc) -> Result<CalculateResponse> {
    let client = CalculatorServiceClient::new(district.as_enterprise(uscc).await?);
    let request = CalculateRequest { requested_fen: 200_000_000, term_months: 24, ..CalculateRequest::default() };
    eventually(&format!("{uscc} can compute the new products too"), || async {
        let answer = client.clone().calculate(request.clone()).await?.into_inner();
        Ok((answer.computed_count == 218).then_some(answer))
    })
    .await
}

fn outcome<'a>(answer: &'a CalculateResponse, product: &str) -> &'a Outcome {
    answer.offers.iter().find(|offer| offer.product_id == product).unwrap().outcome.as_ref().unwrap()
}

fn terms<'a>(answer: &'a CalculateResponse, product: &str) -> &'a Eligible {
    match outcome(answer, product) {
        Outcome::Eligible(terms) => terms,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn story_jiashan_a5_special_products() -> Result<()> {
    let district = District::start().await?;
    let relending = special(
        "普惠产学研再贷款",
        &["university_rd", "relending"],
        vec![
            condition("is_high_tech", "高新技术企业"),
            condition("university_project_count >= 1", "有高校产学研合作项目"),
            condition("!is_dishonest", "未列入失信被执行人"),
        ],
        "rd_expense_fen * 2 + university_project_count * 50000000",
        // The central bank's funds make it cheaper than the reference rate.
        "max(lpr_1y_ppm - 2500, 24000)",
    );
    let ecological = special(
        "普惠生态价值贷",
        &["gep", "green"],
        vec![
            condition("gep_value_fen >= 100000000", "生态产品价值达到要求"),
            condition("!is_dishonest", "未列入失信被执行人"),
        ],
        "min(gep_value_fen / 2, 1000000000)",
        "lpr_1y_ppm + (gep_value_fen >= 1000000000 ? 2000 : 4000)",
    );
    let relending = publish_product(&district, relending).await?;
    let ecological = publish_product(&district, ecological).await?;

    // A laboratory's company, a mountain village's company, and one without either.
    let [lab, village, plain] = ["91330421MA2B000010", "91330421MA2B000020", "91330421MA2B000030"]
        .map(|text| Uscc::with_check(&text[..17]).unwrap());
    let mut records = basics(&lab, "示例高校成果转化有限公司");
    let research = json!({ "is_high_tech": true, "rd_expense_fen": 120_000_000, "university_project_count": 3 });
    records.push(record(&lab, "high_tech", "2026-10-01", &research));
    records.extend(basics(&village, "示例生态资源经营有限公司"));
    let land = json!({ "land_area_m2": 900_000, "owns_premises": false, "gep_value_fen": 1_600_000_000 });
    records.push(record(&village, "land_use", "2026-10-01", &land));
    records.extend(basics(&plain, "示例普通商贸有限公司"));
    let none = json!({ "is_high_tech": false, "rd_expense_fen": 0, "university_project_count": 0 });
    records.push(record(&plain, "high_tech", "2026-10-01", &none));
    publish(&district, "records", &records).await?;

    let lab_answer = answer(&district, &lab).await?;
    let offered = terms(&lab_answer, &relending);
    assert_eq!(offered.limit_fen, 2 * 120_000_000 + 3 * 50_000_000);
    // Not known is not refused: the answer says which data to bring, and where they come from.
    match outcome(&lab_answer, &ecological) {
        Outcome::Unknown(unknown) => {
            let missing: Vec<_> =
                unknown.missing.iter().map(|missing| (missing.label_zh.as_str(), missing.category.as_str())).collect();
            assert_eq!(missing, [("生态产品价值核算额（GEP）", "land_use")]);
        }
        other => panic!("{other:?}"),
    }
    let village_answer = answer(&district, &village).await?;
    let ecological_terms = terms(&village_answer, &ecological);
    assert_eq!(ecological_terms.limit_fen, 800_000_000);
    assert_eq!(ecological_terms.rate_ppm - offered.rate_ppm, 2000 + 2500, "one below the LPR, one above");
    match outcome(&answer(&district, &plain).await?, &relending) {
        Outcome::Refused(refused) => {
            let labels: Vec<_> = refused.failed.iter().map(|failed| failed.label_zh.as_str()).collect();
            assert_eq!(labels, ["高新技术企业", "有高校产学研合作项目"]);
        }
        other => panic!("{other:?}"),
    }

    // People find them by tag, and a loan keeps the tags that statistics and policies look at.
    let by_tag = ListProductsRequest { tag: "relending".to_owned(), ..ListProductsRequest::default() };
    let mut supermarket = ProductServiceClient::new(district.as_enterprise(&lab).await?);
    let found = supermarket.list_products(by_tag).await?.into_inner().products;
    assert_eq!(found.iter().map(|product| &product.product_id).collect::<Vec<_>>(), [&relending]);
    let order = PlaceOrderRequest {
        request_id: new_id(),
        product_id: relending,
        amount_fen: 200_000_000,
        term_months: 24,
        purpose_zh: "中试线建设".to_owned(),
        consent: liandu::consent(),
        coupon_id: String::new(),
    };
    let mut orders = OrderServiceClient::new(district.as_enterprise(&lab).await?);
    let order = orders.place_order(order).await?.into_inner().order.context("an order")?;
    let bank: InstitutionId = BANK.parse()?;
    let approval = ApproveLoanRequest {
        request_id: new_id(),
        order_id: order.order_id,
        amount_fen: 200_000_000,
        rate_ppm: offered.rate_ppm,
        term_months: 24,
        bank_reference: "A5-1".to_owned(),
        ..ApproveLoanRequest::default()
    };
    let other: InstitutionId = "sample-yunhe-bank".parse()?;
    let stranger = BankOrderServiceClient::new(district.as_bank(&other).await?).approve_loan(approval.clone()).await;
    assert_eq!(stranger.unwrap_err().code(), Code::NotFound);
    let mut bank = BankOrderServiceClient::new(district.as_bank(&bank).await?);
    let loan = bank.approve_loan(approval).await?.into_inner().loan.context("a loan")?;
    assert_eq!(loan.product_tags, ["university_rd", "relending"]);
    district.stop().await
}

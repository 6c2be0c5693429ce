//! Facts as the other services tell them.

use std::collections::BTreeMap;

use zhirong_kernel::Uscc;
use zhirong_proto::{
    catalog::v1::{
        Condition, CreditTerms, Institution, InstitutionRegistered, LprChange, LprTable, Product, ProductPublished,
        ProductSpec, ProductState, ReferencePublished, WorkingDayCalendar, product_spec::Terms,
        reference_published::Reference,
    },
    profile::v1::{FeatureValue, Profile, ProfileUpdated, Score, feature_value::Kind},
};
use zhirong_testkit::Event;

pub fn institution(id: &str, version: i64) -> Event {
    let (institution_id, name_zh) = (id.to_owned(), format!("示例银行{version}"));
    let institution = Institution { institution_id, name_zh, version, ..Institution::default() };
    Event::of(id, &InstitutionRegistered { institution: Some(institution) })
}

/// A product whose limit is 100 000 CNY a patent and whose rate is LPR + 0.5 %; the sequence is also its version.
pub fn product(id: &str, bank: &str, sequence: i32) -> Product {
    let condition = |expression: &str, label_zh: &str| Condition {
        expression: expression.to_owned(),
        label_zh: label_zh.to_owned(),
        ..Condition::default()
    };
    let terms = CreditTerms {
        conditions: vec![condition("patent_count >= 1", "有专利"), condition("!is_dishonest", "未失信")],
        limit_formula: "min(patent_count * 10000000, 300000000)".to_owned(),
        rate_formula: "lpr_1y_ppm + 5000".to_owned(),
        min_amount_fen: 1_000_000,
        max_amount_fen: 300_000_000,
        min_term_months: 3,
        max_term_months: 36,
        answer_working_days: 5,
        ..CreditTerms::default()
    };
    Product {
        product_id: id.to_owned(),
        version: sequence,
        spec: Some(ProductSpec {
            institution_id: bank.to_owned(),
            name_zh: format!("示例贷{sequence}"),
            tags: vec!["ip_pledge".to_owned()],
            terms: Some(Terms::Credit(terms)),
            ..ProductSpec::default()
        }),
        state: ProductState::Published.into(),
        ..Product::default()
    }
}

pub fn published(id: &str, bank: &str, sequence: i32) -> Event {
    let product = Some(product(id, bank, sequence));
    Event::of(id, &ProductPublished { product, sequence: sequence.into() })
}

/// As [`published`], and limits may be computed before anybody asks.
pub fn published_preapprovable(id: &str, bank: &str, sequence: i32) -> Event {
    let mut product = product(id, bank, sequence);
    if let Some(ProductSpec { terms: Some(Terms::Credit(terms)), .. }) = &mut product.spec {
        terms.preapprovable = true;
    }
    Event::of(id, &ProductPublished { product: Some(product), sequence: sequence.into() })
}

/// An enterprise with so many patents.
pub fn profile(enterprise: &Uscc, version: i64, patents: i64) -> Event {
    let profile = profile_of(enterprise, version, patents);
    Event::of(enterprise.as_str(), &ProfileUpdated { profile: Some(profile) })
}

/// The profile of an enterprise with so many patents.
pub fn profile_of(enterprise: &Uscc, version: i64, patents: i64) -> Profile {
    let value = |kind| FeatureValue { kind: Some(kind), ..FeatureValue::default() };
    Profile {
        enterprise_id: enterprise.to_string(),
        name: "示例科技有限公司".to_owned(),
        version,
        features: BTreeMap::from([
            ("patent_count".to_owned(), value(Kind::Integer(patents))),
            ("is_dishonest".to_owned(), value(Kind::Flag(false))),
            ("enterprise_class".to_owned(), value(Kind::Text("micro".to_owned()))),
        ]),
        score: Some(Score { points: 700, ..Score::default() }),
        computed_at: None,
    }
}

pub fn lpr(version: i64, one_year_ppm: i64) -> Event {
    let changes = vec![LprChange { published_on: "2030-12-20".to_owned(), one_year_ppm, five_year_ppm: 35_000 }];
    lpr_table(version, LprTable { changes, known_through: "2031-03-19".to_owned() })
}

pub fn lpr_table(version: i64, table: LprTable) -> Event {
    Event::of("lpr", &ReferencePublished { version, reference: Some(Reference::Lpr(table)) })
}

pub fn calendar(version: i64) -> Event {
    working_days(version, WorkingDayCalendar { years: vec![2031], ..WorkingDayCalendar::default() })
}

pub fn working_days(version: i64, calendar: WorkingDayCalendar) -> Event {
    Event::of("calendar", &ReferencePublished { version, reference: Some(Reference::Calendar(calendar)) })
}

//! The seeds of the catalog: what a new district starts with is complete, valid, and can be computed for every enterprise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use product_catalog::validate;
use prost_reflect::{DescriptorPool, DynamicMessage, prost::Message};
use serde_json::{Value, json};
use zhirong_kernel::{
    calendar::Calendar,
    feature::{FeatureDictionary, FeatureType, FeatureValue, Features},
    id::{InstitutionId, ProductId},
    lpr::LprHistory,
    rule::{Expected, Inputs, Outcome, Rule, RuleContext},
};
use zhirong_proto::catalog::v1::{
    CreditTerms, DraftProductRequest, GuaranteeForm, Institution, InstitutionKind, LprChange, LprTable, ProductSpec,
    WorkingDayCalendar, product_spec::Terms,
};

fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../seeds")
}

fn yaml(path: &Path) -> Value {
    serde_norway::from_str(&fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A message as the loader makes it: proto3 JSON, unknown fields refused.
fn message<M: Message + Default>(name: &str, value: Value) -> M {
    let pool = DescriptorPool::decode(zhirong_proto::DESCRIPTOR_SET).unwrap();
    let text = value.to_string();
    let descriptor = pool.get_message_by_name(name).unwrap();
    let read = DynamicMessage::deserialize(descriptor, value).unwrap_or_else(|error| panic!("{error} in {text}"));
    read.transcode_to().unwrap()
}

fn institutions() -> Vec<Institution> {
    let list = yaml(&seeds().join("institutions.yaml"));
    let entries = list.as_array().unwrap().iter();
    entries.map(|entry| message("zhirong.catalog.v1.Institution", entry.clone())).collect()
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(seeds().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Every product with the name of its file.
fn products() -> Vec<(String, DraftProductRequest)> {
    let mut products = Vec::new();
    for file in files("products") {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        for entry in yaml(&file).as_array().unwrap() {
            products.push((stem.clone(), message("zhirong.catalog.v1.DraftProductRequest", entry.clone())));
        }
    }
    products
}

fn specs() -> Vec<ProductSpec> {
    products().into_iter().map(|(_, product)| product.spec.unwrap()).collect()
}

fn credit() -> Vec<(String, CreditTerms)> {
    let credit = specs().into_iter().filter_map(|spec| match spec.terms {
        Some(Terms::Credit(terms)) => Some((spec.name_zh, terms)),
        _ => None,
    });
    credit.collect()
}

#[test]
fn there_are_19_banks_and_2_local_finance_organisations_and_all_are_samples() {
    let institutions = institutions();
    let of = |kind| institutions.iter().filter(|institution| institution.kind() == kind).count();
    assert_eq!(institutions.len(), 21);
    assert_eq!((of(InstitutionKind::Bank), of(InstitutionKind::LocalFinance)), (19, 2));
    for institution in &institutions {
        assert_eq!(validate::institution(institution), [], "{institution:?}");
        assert!(institution.name_zh.starts_with("示例"), "not marked as a sample: {}", institution.name_zh);
    }
    assert_eq!(institutions.iter().map(|one| &one.institution_id).collect::<BTreeSet<_>>().len(), 21);
    assert_eq!(institutions.iter().map(|one| &one.name_zh).collect::<BTreeSet<_>>().len(), 21);
}

#[test]
fn there_are_216_credit_and_95_service_products_with_ids_and_names_of_their_own() {
    let products = products();
    let known: BTreeSet<String> = institutions().into_iter().map(|one| one.institution_id).collect();
    let (mut ids, mut names, mut offering) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut credit, mut service) = (0, 0);
    for (file, product) in &products {
        let id: ProductId = product.product_id.parse().unwrap();
        assert_eq!(id.uuid().get_version_num(), 7, "{id}");
        assert!(ids.insert(id), "{id} stands twice");
        let spec = product.spec.as_ref().unwrap();
        assert!(names.insert(spec.name_zh.clone()), "{} stands twice", spec.name_zh);
        assert!(spec.institution_id.parse::<InstitutionId>().is_ok() && known.contains(&spec.institution_id));
        assert_eq!(&spec.institution_id, file, "a product stands in its institution's file");
        offering.insert(spec.institution_id.clone());
        match spec.terms {
            Some(Terms::Credit(_)) => credit += 1,
            Some(Terms::Service(_)) => service += 1,
            None => panic!("{id} has no terms"),
        }
    }
    assert_eq!((products.len(), credit, service), (311, 216, 95));
    assert_eq!(offering, known, "every institution offers something");
}

#[test]
fn every_product_passes_the_checks_of_the_service() {
    for spec in specs() {
        assert_eq!(validate::product(&spec), [], "{}", spec.name_zh);
    }
}

#[test]
fn credit_products_truly_differ() {
    let credit = credit();
    let distinct: BTreeSet<_> = credit
        .iter()
        .map(|(_, terms)| {
            let conditions: Vec<&str> = terms.conditions.iter().map(|one| one.expression.as_str()).collect();
            (conditions, terms.limit_formula.as_str(), terms.rate_formula.as_str())
        })
        .collect();
    assert!(distinct.len() >= 200, "{}", distinct.len());
    let mut features = BTreeSet::new();
    for (name, terms) in &credit {
        assert!((3..=8).contains(&terms.conditions.len()), "{name}");
        assert!((1..=10).contains(&terms.answer_working_days), "{name}");
        assert!(terms.rate_formula.contains("lpr_1y_ppm"), "{name}");
        let texts = terms.conditions.iter().map(|one| (one.expression.as_str(), Expected::Bool));
        for (text, expected) in texts.chain([(terms.limit_formula.as_str(), Expected::Int)]) {
            let rule = Rule::compile(text, FeatureDictionary::standard(), expected).unwrap();
            features.extend(rule.features().to_vec());
        }
    }
    assert!(features.len() >= 35, "only {} features are asked for", features.len());
    let preapprovable = credit.iter().filter(|(_, terms)| terms.preapprovable).count();
    assert!(preapprovable > 0 && preapprovable < credit.len());
}

#[test]
fn each_tag_that_policies_and_people_look_for_is_there() {
    let specs = specs();
    let with = |tag: &str| specs.iter().filter(|spec| spec.tags.iter().any(|own| own == tag)).collect::<Vec<_>>();
    for tag in [
        "ip_pledge",
        "first_loan",
        "micro",
        "tech",
        "agriculture",
        "export",
        "green",
        "renewal",
        "individual",
        "specialised",
    ] {
        assert!(with(tag).len() >= 3, "{tag}");
    }
    for spec in with("ip_pledge") {
        let Some(Terms::Credit(terms)) = &spec.terms else { panic!("{} is no credit", spec.name_zh) };
        assert_eq!(terms.guarantee_form(), GuaranteeForm::IpPledge, "{}", spec.name_zh);
    }
}

/// What each feature may be by the schemas of the data it comes from: its extremes, or all its values.
fn extremes() -> BTreeMap<String, Vec<FeatureValue>> {
    let mut extremes = BTreeMap::new();
    for file in files("categories") {
        for field in yaml(&file)["fields"].as_array().unwrap() {
            let Some(feature) = field["feature"].as_str() else { continue };
            let mut values: Vec<FeatureValue> =
                ["minimum", "maximum"].iter().filter_map(|key| field[key].as_i64()).map(FeatureValue::Int).collect();
            for allowed in field["allowed_values"].as_array().into_iter().flatten() {
                values.push(FeatureValue::Text(allowed.as_str().unwrap().to_owned()));
            }
            extremes.insert(feature.to_owned(), values);
        }
    }
    // A key of the files that is read under another name would leave the edges untried.
    assert_eq!(extremes["enterprise_class"].len(), 5);
    assert_eq!(extremes["annual_revenue_fen"].len(), 2);
    for feature in FeatureDictionary::standard().iter() {
        let values: &mut Vec<FeatureValue> = extremes.entry(feature.name.clone()).or_default();
        // The schema says nothing of it, or of another type: it is counted or computed.
        if values.iter().any(|value| value.kind() != feature.kind) || values.is_empty() {
            *values = match feature.kind {
                FeatureType::Int => vec![FeatureValue::Int(0), FeatureValue::Int(100_000)],
                FeatureType::Bool => vec![FeatureValue::Bool(false), FeatureValue::Bool(true)],
                FeatureType::Text => vec![FeatureValue::Text("C35".to_owned()), FeatureValue::Text(String::new())],
            };
        }
    }
    extremes
}

/// Profiles at the edges: all smallest, all largest, and mixtures that a fixed sequence chooses.
fn edge_profiles() -> Vec<Features> {
    let extremes = extremes();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let pick = |mut choose: Box<dyn FnMut(usize) -> usize + '_>| -> Features {
        extremes.iter().map(|(name, values)| (name.clone(), values[choose(values.len())].clone())).collect()
    };
    let mut profiles = vec![pick(Box::new(|_| 0)), pick(Box::new(|count| count - 1))];
    for _ in 0..200 {
        profiles.push(pick(Box::new(&mut random)));
    }
    profiles
}

#[test]
fn no_rule_fails_on_any_enterprise_and_no_rate_is_absurd() {
    let profiles = edge_profiles();
    let contexts: Vec<RuleContext> = [(1, 1, 30_000), (1_000_000_000_000, 360, 42_500)]
        .into_iter()
        .flat_map(|(requested_fen, term_months, lpr_1y_ppm)| {
            let inputs = Inputs { requested_fen, term_months, lpr_1y_ppm };
            profiles.iter().map(move |profile| RuleContext::new(profile, inputs))
        })
        .collect();
    let dictionary = FeatureDictionary::standard();
    for (name, terms) in credit() {
        let number = |rule: &Rule, context: &RuleContext| match rule.evaluate(context) {
            Outcome::Value(FeatureValue::Int(number)) => number,
            other => panic!("{name}: {other:?}"),
        };
        let limit = Rule::compile(&terms.limit_formula, dictionary, Expected::Int).unwrap();
        let rate = Rule::compile(&terms.rate_formula, dictionary, Expected::Int).unwrap();
        let mut largest = 0;
        for context in &contexts {
            let fen = number(&limit, context);
            assert!((0..=terms.max_amount_fen).contains(&fen), "{name}: limit {fen}");
            largest = largest.max(fen);
            let ppm = number(&rate, context);
            assert!((10_000..=240_000).contains(&ppm), "{name}: rate {ppm}");
        }
        assert!(largest >= terms.min_amount_fen, "{name} lends to nobody");
        for condition in &terms.conditions {
            let rule = Rule::compile(&condition.expression, dictionary, Expected::Bool).unwrap();
            let mut answers = BTreeSet::new();
            for context in &contexts {
                match rule.evaluate(context) {
                    Outcome::Value(FeatureValue::Bool(answer)) => answers.insert(answer),
                    other => panic!("{name}, {}: {other:?}", condition.expression),
                };
            }
            assert!(answers.contains(&true), "{name}: nobody meets {}", condition.expression);
        }
    }
}

#[test]
fn the_lpr_table_and_the_calendar_pass_the_checks_of_the_service() {
    let lpr = fs::read_to_string(seeds().join("lpr.csv")).unwrap();
    let calendar = fs::read_to_string(seeds().join("calendar.csv")).unwrap();
    LprHistory::from_csv(&lpr).unwrap();
    Calendar::from_csv(&calendar).unwrap();
    let rows = |text: &str| -> Vec<Vec<String>> {
        let rows = text.lines().filter(|line| line.starts_with("20"));
        rows.map(|line| line.split(',').map(ToOwned::to_owned).collect()).collect()
    };
    let table = json!({
        "known_through": lpr.lines().find_map(|line| line.strip_prefix("# known_through: ")).unwrap(),
        "changes": rows(&lpr).iter().map(|row| json!({
            "published_on": row[0], "one_year_ppm": row[1], "five_year_ppm": row[2],
        })).collect::<Vec<_>>(),
    });
    let table: LprTable = message("zhirong.catalog.v1.LprTable", table);
    assert!(table.changes.len() >= 10 && table.changes.iter().all(|change| *change != LprChange::default()));
    assert_eq!(validate::lpr_table(&table), []);

    let days = |kind: &str| rows(&calendar).iter().filter(|row| row[1] == kind).map(|row| row[0].clone()).collect();
    let mut calendar =
        WorkingDayCalendar { holidays: days("holiday"), working_weekend_days: days("workday"), years: vec![] };
    let years: BTreeSet<i32> = calendar.holidays.iter().map(|day| day[..4].parse().unwrap()).collect();
    calendar.years = years.into_iter().collect();
    assert!(calendar.years.contains(&2026));
    assert_eq!(validate::calendar(&calendar), []);
}

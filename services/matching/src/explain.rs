//! A refusal explained: what each condition asks for, and what would be enough.

use zhirong_engine::{Needed, Row, SmallestChange, needed, smallest_change};
use zhirong_kernel::{
    feature::{FeatureDictionary, FeatureValue},
    money::Fen,
};
use zhirong_proto::{
    matching::v1::{self as pb, CalculateRequest, FailedCondition, NeededValue, Refused},
    profile::v1::Profile,
};

use crate::{
    calculate::Failed,
    product::CompiledProduct,
    snapshot::Catalog,
    wish::{feature, message},
};

/// Members of a list that a sentence names.
const MOST_NAMED: usize = 6;

/// The refusal with every failed condition, and the smallest change of one value that would do.
#[must_use]
pub fn refused(
    catalog: &Catalog,
    product: &CompiledProduct,
    profile: &Profile,
    wish: &CalculateRequest,
    row: &Row,
    failed: Vec<Failed>,
) -> Refused {
    let failed = failed.into_iter().map(|failed| condition(catalog, product, profile, wish, row, failed)).collect();
    let change = smallest_change(&product.engine, &catalog.symbols, row).and_then(|change| {
        let from = feature(profile, &wish.what_if, &change.feature)?;
        Some(pb::SmallestChange {
            text_zh: change_zh(&change, from),
            from: Some(from.clone()),
            to: Some(message(&change.to)),
            feature: change.feature,
        })
    });
    Refused { failed, smallest_change: change }
}

fn condition(
    catalog: &Catalog,
    product: &CompiledProduct,
    profile: &Profile,
    wish: &CalculateRequest,
    row: &Row,
    failed: Failed,
) -> FailedCondition {
    let rule = failed.condition.and_then(|place| product.conditions.get(place)).map(|condition| &condition.rule);
    let needed = rule.map(|rule| needed(rule, &catalog.symbols, row)).unwrap_or_default();
    let values = failed.features.into_iter().filter_map(|name| {
        let value = feature(profile, &wish.what_if, &name)?.clone();
        Some((name, value))
    });
    FailedCondition {
        values: values.collect(),
        label_zh: failed.label_zh,
        advice_zh: failed.advice_zh,
        needed: needed.into_iter().map(needed_value).collect(),
    }
}

fn needed_value(needed: Needed) -> NeededValue {
    NeededValue {
        label_zh: label(&needed.feature),
        operator: needed.operator.to_owned(),
        values: needed.values.iter().map(message).collect(),
        text_zh: needed_zh(&needed),
        feature: needed.feature,
    }
}

fn label(feature: &str) -> String {
    FeatureDictionary::standard().get(feature).map_or_else(|| feature.to_owned(), |known| known.label_zh.clone())
}

fn unit(feature: &str) -> &str {
    FeatureDictionary::standard().get(feature).map_or("", |known| known.unit.as_str())
}

fn needed_zh(needed: &Needed) -> String {
    let named: Vec<String> =
        needed.values.iter().take(MOST_NAMED).map(|value| value_zh(&needed.feature, value)).collect();
    let named = named.join("、") + if needed.values.len() > MOST_NAMED { "等" } else { "" };
    let label = label(&needed.feature);
    match needed.operator {
        ">=" => format!("{label}不低于{named}"),
        ">" => format!("{label}高于{named}"),
        "<=" => format!("{label}不超过{named}"),
        "<" => format!("{label}低于{named}"),
        "!=" => format!("{label}不为{named}"),
        "in" => format!("{label}为{named}之一"),
        "not in" => format!("{label}不在{named}之列"),
        _ => format!("{label}为{named}"),
    }
}

fn change_zh(change: &SmallestChange, from: &zhirong_proto::profile::v1::FeatureValue) -> String {
    let label = label(&change.feature);
    let to_zh = value_zh(&change.feature, &change.to);
    let from = crate::wish::value(from);
    let (Some(FeatureValue::Int(from)), FeatureValue::Int(to)) = (&from, &change.to) else {
        return format!("{label}变为{to_zh}即可");
    };
    let difference = value_zh(&change.feature, &FeatureValue::Int(to.saturating_sub(*from).saturating_abs()));
    let from_zh = value_zh(&change.feature, &FeatureValue::Int(*from));
    if to > from {
        format!("{label}由{from_zh}增至{to_zh}即可（再增加{difference}）")
    } else {
        format!("{label}由{from_zh}降至{to_zh}即可（再减少{difference}）")
    }
}

/// A value in people's units.
fn value_zh(feature: &str, value: &FeatureValue) -> String {
    match value {
        FeatureValue::Bool(true) => "“是”".to_owned(),
        FeatureValue::Bool(false) => "“否”".to_owned(),
        FeatureValue::Text(text) => format!("“{text}”"),
        FeatureValue::Int(number) => match unit(feature) {
            "fen" => yuan_zh(*number),
            "ppm" => format!("{}%", ten_thousandths(*number)),
            "days" => format!("{number}天"),
            "kwh" => format!("{number}千瓦时"),
            "m3" => format!("{number}立方米"),
            "m2" => format!("{number}平方米"),
            "mu" => format!("{number}亩"),
            "points" => format!("{number}分"),
            _ => number.to_string(),
        },
    }
}

/// Whole ten thousands of CNY as such, everything else to the fen.
fn yuan_zh(fen: i64) -> String {
    const WAN_FEN: i64 = 1_000_000;
    if fen != 0 && fen % WAN_FEN == 0 {
        format!("{}万元", fen / WAN_FEN)
    } else {
        format!("{}元", Fen::new(fen).to_yuan_string())
    }
}

/// A number of millionths as per cent, without zeros at the end.
fn ten_thousandths(ppm: i64) -> String {
    let text =
        format!("{}{}.{:04}", if ppm < 0 { "-" } else { "" }, ppm.unsigned_abs() / 10_000, ppm.unsigned_abs() % 10_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_in_peoples_units() {
        let told = |feature: &str, number| value_zh(feature, &FeatureValue::Int(number));
        assert_eq!(told("annual_revenue_fen", 300_000_000), "300万元");
        assert_eq!(told("annual_revenue_fen", 123_456), "1234.56元");
        assert_eq!(told("annual_revenue_fen", 0), "0.00元");
        assert_eq!(told("age_days", 365), "365天");
        assert_eq!(told("patent_count", 3), "3");
        assert_eq!(ten_thousandths(34_500), "3.45");
        assert_eq!(ten_thousandths(-1_000_000), "-100");
        assert_eq!(value_zh("is_dishonest", &FeatureValue::Bool(false)), "“否”");
    }

    #[test]
    fn a_change_says_how_much_is_missing() {
        let change = |feature: &str, to| SmallestChange { feature: feature.to_owned(), to };
        let from = |value| message(&value);
        let more = change("social_insurance_headcount", FeatureValue::Int(5));
        assert_eq!(change_zh(&more, &from(FeatureValue::Int(3))), "社保缴纳人数由3增至5即可（再增加2）");
        let less = change("overdue_count_24m", FeatureValue::Int(0));
        assert_eq!(change_zh(&less, &from(FeatureValue::Int(2))), "近24个月逾期次数由2降至0即可（再减少2）");
        let flag = change("is_high_tech", FeatureValue::Bool(true));
        assert_eq!(change_zh(&flag, &from(FeatureValue::Bool(false))), "是否高新技术企业变为“是”即可");
    }

    #[test]
    fn a_long_list_is_told_by_its_first_members() {
        let values = (0..9).map(|number| FeatureValue::Text(format!("C{number}"))).collect();
        let needed = Needed { feature: "industry_code".to_owned(), operator: "in", values };
        assert_eq!(needed_zh(&needed), "行业代码为“C0”、“C1”、“C2”、“C3”、“C4”、“C5”等之一");
    }
}

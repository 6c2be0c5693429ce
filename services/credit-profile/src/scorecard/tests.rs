use proptest::prelude::*;
use zhirong_proto::profile::v1::ScoreBand;

use super::*;

fn card() -> pb::Scorecard {
    first().unwrap()
}

fn solid() -> Features {
    Features::from([
        ("age_days".to_owned(), FeatureValue::Int(4000)),
        ("annual_revenue_fen".to_owned(), FeatureValue::Int(9_000_000_000)),
        ("net_profit_fen".to_owned(), FeatureValue::Int(500_000_000)),
        ("overdue_count_24m".to_owned(), FeatureValue::Int(0)),
        ("penalty_count_36m".to_owned(), FeatureValue::Int(0)),
        ("tax_credit_grade".to_owned(), FeatureValue::Text("A".to_owned())),
        ("is_dishonest".to_owned(), FeatureValue::Bool(false)),
    ])
}

/// The faults of the first card after its characteristic of a feature was changed, without their common beginning.
fn faults(feature: &str, change: impl FnOnce(&mut Characteristic)) -> Vec<(String, String)> {
    let mut card = card();
    let index = card.characteristics.iter().position(|of| of.feature == feature).unwrap();
    change(&mut card.characteristics[index]);
    let place = format!("scorecard.characteristics[{index}].");
    let short = |(field, why): (String, String)| (field.strip_prefix(&place).unwrap_or(&field).to_owned(), why);
    check::violations(&card).into_iter().map(short).collect()
}

fn band(from: Option<i64>, below: Option<i64>, points: i32) -> ScoreBand {
    ScoreBand { from, below, points, ..ScoreBand::default() }
}

fn fault(field: &str, why: &str) -> Vec<(String, String)> {
    vec![(field.to_owned(), why.to_owned())]
}

#[test]
fn too_little_known_gives_no_score() {
    let card = Scorecard::new(card());
    assert_eq!(card.score(&Features::new()), None);
    let mut few = solid();
    few.remove("age_days");
    few.remove("is_dishonest");
    assert_eq!(card.score(&few), None);
}

#[test]
fn a_default_costs_points_and_is_named_first() {
    let card = Scorecard::new(card());
    let good = card.score(&solid()).unwrap();
    let mut features = solid();
    features.insert("is_dishonest".to_owned(), FeatureValue::Bool(true));
    features.insert("overdue_count_24m".to_owned(), FeatureValue::Int(2));
    let bad = card.score(&features).unwrap();
    assert_eq!(good.points - bad.points, 210 + 45);
    let reasons: Vec<(&str, &str)> = bad.reasons.iter().map(|of| (of.code.as_str(), of.feature.as_str())).collect();
    assert_eq!(reasons, [("R06", "is_dishonest"), ("R04", "overdue_count_24m")]);
    assert!(good.reasons.is_empty(), "{good:?}");
    assert_eq!((good.points, good.grade.as_str()), (500 + 28 + 34 + 26 + 45 + 25 + 34 + 10, "A"));
}

#[test]
fn base_and_parts_sum_to_the_score_with_weights_rounded_once() {
    let mut card = card();
    card.characteristics.iter_mut().for_each(|of| of.weight_ppm = 1_500_000);
    let card = Scorecard::new(card);
    let features = solid();
    let parts = card.parts(&features);
    // 45 times 1.5 is 67.5 and becomes 68.
    assert!(parts.iter().any(|part| part.band_points == 45 && part.points == 68));
    let sum: i32 = parts.iter().map(|part| part.points).sum();
    assert_eq!(card.score(&features).unwrap().points, 500 + sum);
    assert_eq!(weighted(-45, 1_500_000), -68);
}

#[test]
fn bands_that_overlap_or_leave_a_gap_are_refused_with_their_place() {
    let with = |bands: Vec<ScoreBand>| faults("age_days", |of| of.bands = bands);
    assert_eq!(
        with(vec![band(None, Some(400), 0), band(Some(365), None, 9)]),
        fault("bands[1]", "overlaps bands[0]: both hold 365 to below 400")
    );
    assert_eq!(
        with(vec![band(None, None, 0), band(Some(365), Some(800), 9)])[0].1,
        "no band holds the numbers from 800",
    );
    assert_eq!(
        with(vec![band(None, Some(365), 0), band(Some(400), None, 9)]),
        fault("bands[1]", "no band holds the numbers from 365 to below 400, between it and bands[0]")
    );
    assert_eq!(with(vec![band(Some(0), None, 0)]), fault("bands[0]", "no band holds the numbers below 0"));
    assert_eq!(with(vec![band(None, Some(0), 0)]), fault("bands[0]", "no band holds the numbers from 0"));
    assert_eq!(
        with(vec![band(None, Some(1), 0), band(Some(1), Some(1), 0), band(Some(1), None, 0)]),
        fault("bands[1]", "holds no number: from 1 to below 1")
    );
    // Whatever the order they are written in.
    assert_eq!(with(vec![band(Some(365), None, 9), band(None, Some(365), 0)]), []);
    assert_eq!(
        faults("is_dishonest", |of| of.bands[1].flag = Some(true)),
        [
            ("bands[1]".to_owned(), "overlaps another band: true stands twice".to_owned()),
            ("bands".to_owned(), "no band holds false".to_owned())
        ]
    );
    assert_eq!(
        faults("tax_credit_grade", |of| of.bands[1].values = vec!["A".to_owned()]),
        fault("bands[1]", "overlaps another band: `A` stands twice")
    );
    assert_eq!(
        faults("tax_credit_grade", |of| drop(of.bands.pop())),
        fault("bands", "no band holds values that are not named; one needs `otherwise`")
    );
}

#[test]
fn better_data_may_lower_the_score_only_where_it_is_meant() {
    let turned = |of: &mut Characteristic| of.bands[3].points = 1;
    assert_eq!(
        faults("age_days", turned),
        fault(
            "bands",
            "1825 and above is better than 1095 to below 1825 but has 1 points, not at least 20; if that is meant, say why \
             in `not_monotonic_zh`"
        )
    );
    let marked = |of: &mut Characteristic| {
        turned(of);
        of.not_monotonic_zh = "老企业另有考核".to_owned();
    };
    assert_eq!(faults("age_days", marked), []);
    let blank = |of: &mut Characteristic| {
        turned(of);
        of.not_monotonic_zh = " \u{3000}".to_owned();
    };
    assert_eq!(faults("age_days", blank), faults("age_days", turned), "blanks say nothing");
    for (feature, place) in [("overdue_count_24m", 1), ("is_dishonest", 0), ("tax_credit_grade", 4)] {
        let found = faults(feature, |of| of.bands[place].points = 500);
        assert!(found[0].1.contains("is better than"), "{feature}: {found:?}");
    }
}

#[test]
fn no_feature_whose_values_are_better_or_worse_can_be_turned_round() {
    let text = |values: &[&str], points| ScoreBand {
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        otherwise: values.is_empty(),
        points,
        ..ScoreBand::default()
    };
    let with = |feature: &str, bands: Vec<ScoreBand>| {
        faults("age_days", |of| (of.feature, of.bands) = (feature.to_owned(), bands))
    };
    for feature in ["loan_balance_fen", "lender_count", "change_count_24m"] {
        let (low, high) = (|points| band(None, Some(3), points), |points| band(Some(3), None, points));
        assert_eq!(with(feature, vec![low(9), high(1)]), [], "{feature}");
        assert!(with(feature, vec![low(1), high(9)])[0].1.contains("is better than"), "{feature}");
    }
    for feature in ["employee_count", "housing_fund_headcount"] {
        assert!(with(feature, vec![band(None, Some(3), 9), band(Some(3), None, 1)])[0].1.contains("is better than"));
    }
    for (feature, best, worst) in [
        ("environment_grade", "A", "E"),
        ("customs_grade", "advanced", "dishonest"),
        ("specialised_level", "national", "none"),
    ] {
        assert_eq!(with(feature, vec![text(&[best], 9), text(&[], 5), text(&[worst], 1)]), [], "{feature}");
        let turned = with(feature, vec![text(&[best], 1), text(&[], 5), text(&[worst], 9)]);
        assert!(turned[0].1.contains("is better than"), "{feature}: {turned:?}");
    }
    // A value that there is not would never be seen, and hide what is meant.
    assert_eq!(
        with("environment_grade", vec![text(&["A", "green"], 9), text(&[], 1)]),
        fault("bands[0]", "`green` is no value of this feature: A, B, C, D, E")
    );
    assert_eq!(with("industry_code", vec![text(&["C"], 1), text(&[], 9)]), [], "no industry is better than another");
}

#[test]
fn what_else_is_wrong_is_named() {
    type Change = fn(&mut pb::Scorecard);
    let cases: [(Change, &str); 12] = [
        (|card| card.name_zh.clear(), "name_zh"),
        (|card| card.base_odds = 0, "base_odds"),
        (|card| card.points_to_double_odds = 201, "points_to_double_odds"),
        (|card| card.base_points = 299, "base_points"),
        (|card| card.minimum_known = 99, "minimum_known"),
        (|card| drop(card.grades.remove(0)), "grades"),
        (|card| card.grades[1].from_points = 820, "grades[1].from_points"),
        (|card| card.grades[7].from_points = 301, "grades[7].from_points"),
        (|card| card.characteristics[1].feature = "age_days".to_owned(), "characteristics[1].feature"),
        (|card| card.characteristics[1].reason_code = "R01".to_owned(), "characteristics[1].reason_code"),
        (|card| card.characteristics[0].feature = "credit_score".to_owned(), "characteristics[0].feature"),
        (|card| card.characteristics[0].weight_ppm = -1, "characteristics[0].weight_ppm"),
    ];
    for (change, field) in cases {
        let mut card = card();
        change(&mut card);
        let found = check::violations(&card);
        assert!(found.iter().any(|(at, _)| *at == format!("scorecard.{field}")), "{field}: {found:?}");
    }
}

proptest! {
    #[test]
    fn more_overdue_never_scores_better(a in 0_i64..50, b in 0_i64..50) {
        let card = Scorecard::new(card());
        let score = |count: i64| {
            let mut features = solid();
            features.insert("overdue_count_24m".to_owned(), FeatureValue::Int(count));
            card.score(&features).unwrap().points
        };
        prop_assert!(score(a.max(b)) <= score(a.min(b)));
    }

    /// A card that passes the check has exactly one band for every number.
    #[test]
    fn sound_bands_hold_every_number_once(bounds in prop::collection::vec(-5_i64..5, 0..5), number in -7_i64..7) {
        let mut cuts: Vec<Option<i64>> = bounds.into_iter().map(Some).collect();
        cuts.insert(0, None);
        let bands: Vec<ScoreBand> = cuts
            .iter()
            .enumerate()
            .map(|(index, from)| band(*from, cuts.get(index + 1).copied().flatten(), 0))
            .collect();
        if faults("age_days", |of| of.bands = bands.clone()).is_empty() {
            let holding = |band: &&ScoreBand| {
                band.from.is_none_or(|from| from <= number) && band.below.is_none_or(|below| number < below)
            };
            prop_assert_eq!(bands.iter().filter(holding).count(), 1);
        }
    }
}

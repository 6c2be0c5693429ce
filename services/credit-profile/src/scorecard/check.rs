//! What makes a scorecard usable. Every fault is told with its field, so that who writes cards sees all of them at once.

use std::collections::BTreeSet;

use zhirong_kernel::feature::{Better, FeatureDictionary, FeatureType};
use zhirong_proto::profile::v1::{Characteristic, ScoreBand, Scorecard};

/// All grades, best first.
pub const GRADES: [&str; 8] = ["AAA", "AA", "A", "BBB", "BB", "B", "C", "D"];
/// Category of what the profile itself computes; a card over it would feed on itself.
const COMPUTED: &str = "profile";
const MOST_WEIGHT_PPM: i64 = 10_000_000;
const MOST_BANDS: usize = 64;

type Faults = Vec<(String, String)>;

/// What is wrong with a card: field path and sentence.
#[must_use]
pub fn violations(card: &Scorecard) -> Faults {
    let mut found = Faults::new();
    let mut check = |holds: bool, field: &str, why: &str| {
        if !holds {
            found.push((format!("scorecard.{field}"), why.to_owned()));
        }
    };
    check((1..=64).contains(&card.name_zh.chars().count()), "name_zh", "must have 1 to 64 characters");
    check((1..=10_000).contains(&card.base_odds), "base_odds", "must be 1 to 10000");
    check((1..=200).contains(&card.points_to_double_odds), "points_to_double_odds", "must be 1 to 200");
    check((0..=10_000).contains(&card.least_points), "least_points", "must be 0 to 10000");
    check(
        card.most_points > card.least_points && card.most_points <= 10_000,
        "most_points",
        "must be above least_points and at most 10000",
    );
    check(
        (card.least_points..=card.most_points).contains(&card.base_points),
        "base_points",
        "must be from least_points to most_points",
    );
    let count = card.characteristics.len();
    check((1..=64).contains(&count), "characteristics", "must be 1 to 64");
    check(
        usize::try_from(card.minimum_known).is_ok_and(|known| (1..=count).contains(&known)),
        "minimum_known",
        "must be 1 to the number of characteristics",
    );
    grades(card, &mut found);
    let (mut features, mut codes) = (BTreeSet::new(), BTreeSet::new());
    for (index, characteristic) in card.characteristics.iter().enumerate() {
        let place = format!("scorecard.characteristics[{index}]");
        if !features.insert(characteristic.feature.as_str()) {
            found.push((format!("{place}.feature"), "stands twice".to_owned()));
        }
        if !codes.insert(characteristic.reason_code.as_str()) {
            found.push((format!("{place}.reason_code"), "stands twice".to_owned()));
        }
        self::characteristic(&place, characteristic, &mut found);
    }
    found
}

fn grades(card: &Scorecard, found: &mut Faults) {
    let names: Vec<&str> = card.grades.iter().map(|grade| grade.grade.as_str()).collect();
    if names != GRADES {
        found.push(("scorecard.grades".to_owned(), "must be AAA, AA, A, BBB, BB, B, C, D in this order".to_owned()));
    }
    for (index, pair) in card.grades.windows(2).enumerate() {
        if let [better, worse] = pair
            && worse.from_points >= better.from_points
        {
            let field = format!("scorecard.grades[{}].from_points", index.saturating_add(1));
            found.push((field, format!("must be below {}, where {} begins", better.from_points, better.grade)));
        }
    }
    if let Some(last) = card.grades.last()
        && last.from_points != card.least_points
    {
        let field = format!("scorecard.grades[{}].from_points", card.grades.len().saturating_sub(1));
        found.push((field, format!("must be least_points, {}: every score has a grade", card.least_points)));
    }
    if let Some(first) = card.grades.first()
        && first.from_points > card.most_points
    {
        found.push(("scorecard.grades[0].from_points".to_owned(), "must be reached by most_points".to_owned()));
    }
}

fn characteristic(place: &str, characteristic: &Characteristic, found: &mut Faults) {
    let mut add = |field: &str, why: String| found.push((format!("{place}.{field}"), why));
    if !(0..=MOST_WEIGHT_PPM).contains(&characteristic.weight_ppm) {
        add("weight_ppm", format!("must be 0 to {MOST_WEIGHT_PPM}"));
    }
    if !code(&characteristic.reason_code) {
        add("reason_code", "must be 2 to 8 of A-Z and 0-9, beginning with a letter".to_owned());
    }
    if !(1..=64).contains(&characteristic.reason_zh.chars().count()) {
        add("reason_zh", "must have 1 to 64 characters".to_owned());
    }
    if characteristic.not_monotonic_zh.chars().count() > 256 {
        add("not_monotonic_zh", "must have at most 256 characters".to_owned());
    }
    if !(1..=MOST_BANDS).contains(&characteristic.bands.len()) {
        add("bands", format!("must be 1 to {MOST_BANDS}"));
        return;
    }
    for (index, band) in characteristic.bands.iter().enumerate() {
        if !(-1000..=1000).contains(&band.points) {
            add(&format!("bands[{index}].points"), "must be -1000 to 1000".to_owned());
        }
    }
    let feature = FeatureDictionary::standard().get(&characteristic.feature);
    let Some(feature) = feature.filter(|feature| feature.category != COMPUTED) else {
        add("feature", "is no feature of government data".to_owned());
        return;
    };
    let faults = match feature.kind {
        FeatureType::Int => integers(&characteristic.bands),
        FeatureType::Bool => flags(&characteristic.bands),
        FeatureType::Text => texts(&characteristic.bands, &feature.better),
    };
    let sound = faults.is_empty();
    for (field, why) in faults {
        add(&field, why);
    }
    if sound
        && characteristic.not_monotonic_zh.trim().is_empty()
        && let Some(why) = falls(&characteristic.bands, &feature.better)
    {
        add("bands", format!("{why}; if that is meant, say why in `not_monotonic_zh`"));
    }
}

fn code(text: &str) -> bool {
    (2..=8).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// Integers: in order of their lower bounds each band begins where the one before ends.
fn integers(bands: &[ScoreBand]) -> Faults {
    let mut found = Faults::new();
    for (index, band) in bands.iter().enumerate() {
        if band.flag.is_some() || !band.values.is_empty() || band.otherwise {
            found
                .push((format!("bands[{index}]"), "must have only `from` and `below`: the feature is a number".into()));
        }
        if let (Some(from), Some(below)) = (band.from, band.below)
            && from >= below
        {
            found.push((format!("bands[{index}]"), format!("holds no number: from {from} to below {below}")));
        }
    }
    if !found.is_empty() {
        return found;
    }
    let mut ordered: Vec<(usize, &ScoreBand)> = bands.iter().enumerate().collect();
    ordered.sort_by_key(|(_, band)| band.from);
    if let Some((index, ScoreBand { from: Some(from), .. })) = ordered.first() {
        found.push((format!("bands[{index}]"), format!("no band holds the numbers below {from}")));
    }
    if let Some((index, ScoreBand { below: Some(below), .. })) = ordered.last() {
        found.push((format!("bands[{index}]"), format!("no band holds the numbers from {below}")));
    }
    for pair in ordered.windows(2) {
        let [(first, low), (second, high)] = pair else { continue };
        match (low.below, high.from) {
            (Some(end), Some(start)) if end < start => {
                let why =
                    format!("no band holds the numbers from {end} to below {start}, between it and bands[{first}]");
                found.push((format!("bands[{second}]"), why));
            }
            (Some(end), Some(start)) if end == start => {}
            (end, start) => {
                let from = start.map_or_else(|| "the smallest".to_owned(), |start| start.to_string());
                let to = match (end, high.below) {
                    (None, None) => "the largest".to_owned(),
                    (Some(end), Some(below)) => format!("below {}", end.min(below)),
                    (Some(end), None) | (None, Some(end)) => format!("below {end}"),
                };
                found.push((format!("bands[{second}]"), format!("overlaps bands[{first}]: both hold {from} to {to}")));
            }
        }
    }
    found
}

/// Flags: one band for yes, one for no.
fn flags(bands: &[ScoreBand]) -> Faults {
    let mut found = Faults::new();
    let mut seen = BTreeSet::new();
    for (index, band) in bands.iter().enumerate() {
        let place = format!("bands[{index}]");
        match band.flag {
            Some(flag) if !seen.insert(flag) => {
                found.push((place, format!("overlaps another band: {flag} stands twice")))
            }
            Some(_) if band.from.is_none() && band.below.is_none() && band.values.is_empty() && !band.otherwise => {}
            _ => found.push((place, "must have only `flag`: the feature is yes or no".to_owned())),
        }
    }
    for missing in [true, false].into_iter().filter(|flag| !seen.contains(flag)) {
        found.push(("bands".to_owned(), format!("no band holds {missing}")));
    }
    found
}

/// Texts: every value once, and one band for all others. A feature whose values have an order has no other values.
fn texts(bands: &[ScoreBand], better: &Better) -> Faults {
    let mut found = Faults::new();
    let mut seen = BTreeSet::new();
    for (index, band) in bands.iter().enumerate() {
        let place = format!("bands[{index}]");
        if band.from.is_some() || band.below.is_some() || band.flag.is_some() {
            found.push((place, "must have only `values` or `otherwise`: the feature is a text".to_owned()));
        } else if band.otherwise != band.values.is_empty() {
            found.push((place, "must have either `values` or `otherwise`".to_owned()));
        } else if let Some(twice) = band.values.iter().find(|value| !seen.insert(value.as_str())) {
            found.push((place, format!("overlaps another band: `{}` stands twice", twice.escape_default())));
        } else if let Better::Order(order) = better
            && let Some(other) = band.values.iter().find(|value| !order.contains(value))
        {
            let why = format!("`{}` is no value of this feature: {}", other.escape_default(), order.join(", "));
            found.push((place, why));
        }
    }
    match bands.iter().filter(|band| band.otherwise).count() {
        0 => found.push(("bands".to_owned(), "no band holds values that are not named; one needs `otherwise`".into())),
        1 => {}
        _ => found.push(("bands".to_owned(), "overlap: more than one has `otherwise`".to_owned())),
    }
    found
}

/// Where better data lower the score.
fn falls(bands: &[ScoreBand], better: &Better) -> Option<String> {
    let mut worst_first: Vec<(String, i32)> = match better {
        Better::Order(order) => {
            let points = |value: &String| {
                let named = bands.iter().find(|band| band.values.contains(value));
                named.or_else(|| bands.iter().find(|band| band.otherwise)).map(|band| band.points)
            };
            order.iter().rev().filter_map(|value| Some((format!("`{value}`"), points(value)?))).collect()
        }
        Better::Neither => return None,
        Better::Higher | Better::Lower => {
            let mut ordered: Vec<&ScoreBand> = bands.iter().collect();
            ordered.sort_by_key(|band| (band.flag, band.from));
            ordered.into_iter().map(|band| (describe(band), band.points)).collect()
        }
    };
    if *better == Better::Lower {
        worst_first.reverse();
    }
    worst_first.windows(2).find_map(|pair| match pair {
        [(worse, more), (better, less)] if less < more => {
            Some(format!("{better} is better than {worse} but has {less} points, not at least {more}"))
        }
        _ => None,
    })
}

fn describe(band: &ScoreBand) -> String {
    match (band.flag, band.from, band.below) {
        (Some(flag), ..) => flag.to_string(),
        (_, Some(from), Some(below)) => format!("{from} to below {below}"),
        (_, Some(from), None) => format!("{from} and above"),
        (_, None, Some(below)) => format!("below {below}"),
        (_, None, None) => "every number".to_owned(),
    }
}

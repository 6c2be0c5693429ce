//! What a consent covers: pure.

use std::collections::BTreeSet;

use zhirong_proto::profile::v1::{DisputedRecord, FeatureValue, Profile, Scope};

/// What the scorecard adds to the features names this as its category.
const SCORE: &str = "profile";
/// Categories named at most.
const MOST: usize = 64;

/// The scope in its one spelling: categories in order, each once.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn canonical(scope: &Scope) -> Result<Scope, String> {
    if scope.all_categories && !scope.categories.is_empty() {
        return Err("must name no categories beside `all_categories`".to_owned());
    }
    if !scope.score && !scope.all_categories && scope.categories.is_empty() && !scope.personal_data {
        return Err("must not be empty".to_owned());
    }
    if scope.categories.len() > MOST {
        return Err(format!("must name at most {MOST} categories"));
    }
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let slug = |name: &str| {
        (2..=63).contains(&name.len())
            && name.bytes().all(letter)
            && name.starts_with(|first: char| first.is_ascii_lowercase())
    };
    if let Some(wrong) = scope.categories.iter().find(|name| !slug(name) || *name == SCORE) {
        return Err(format!("`{}` is not a category", wrong.escape_default()));
    }
    let categories: BTreeSet<&String> = scope.categories.iter().collect();
    Ok(Scope { categories: categories.into_iter().cloned().collect(), ..scope.clone() })
}

/// Whether all of `asked` is part of `given`.
#[must_use]
pub fn covers(given: &Scope, asked: &Scope) -> bool {
    let categories = given.all_categories
        || (!asked.all_categories && asked.categories.iter().all(|name| given.categories.contains(name)));
    (given.score || !asked.score) && (given.personal_data || !asked.personal_data) && categories
}

/// Whether any of a profile is within the scope.
#[must_use]
pub fn shows_profile(scope: &Scope) -> bool {
    scope.score || scope.all_categories || !scope.categories.is_empty()
}

/// Whether records of a category are within the scope.
#[must_use]
pub fn holds(scope: &Scope, category: &str) -> bool {
    scope.all_categories || scope.categories.iter().any(|name| name == category)
}

/// The part of a profile that is within the scope. A feature is when all the categories it comes from are; the same rule as
/// of what orders hand over, which is rebuilt by this.
#[must_use]
pub fn part(profile: &Profile, scope: &Scope) -> Profile {
    let features = profile.features.iter().filter(|(name, value)| within(name, value, scope));
    Profile {
        features: features.map(|(name, value)| (name.clone(), value.clone())).collect(),
        score: profile.score.clone().filter(|_| scope.score),
        ..profile.clone()
    }
}

/// A record that is disputed, and the computed features that rest on its category.
#[derive(Debug, Clone)]
pub struct Dispute {
    /// The record.
    pub record: DisputedRecord,
    /// Names of features.
    pub computed_values: Vec<String>,
}

/// What is told of disputes beside the part of a profile: the records within the scope, and the computed features shown that rest
/// on any, in order.
#[must_use]
pub fn disputed(disputes: Vec<Dispute>, scope: &Scope, shown: &Profile) -> (Vec<DisputedRecord>, Vec<String>) {
    let mut values = BTreeSet::new();
    let mut records = Vec::new();
    for dispute in disputes {
        values.extend(dispute.computed_values.into_iter().filter(|name| shown.features.contains_key(name)));
        if holds(scope, &dispute.record.category) {
            records.push(dispute.record);
        }
    }
    (records, values.into_iter().collect())
}

fn within(name: &str, value: &FeatureValue, scope: &Scope) -> bool {
    let of_score = matches!(name, "credit_score" | "credit_grade");
    if of_score || value.categories.iter().any(|category| category == SCORE) {
        return scope.score;
    }
    scope.all_categories || (!value.categories.is_empty() && value.categories.iter().all(|name| holds(scope, name)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zhirong_proto::profile::v1::Score;

    use super::*;

    fn named(categories: &[&str]) -> Scope {
        Scope { categories: categories.iter().map(|name| (*name).to_owned()).collect(), ..Scope::default() }
    }

    fn profile() -> Profile {
        let from = |categories: &[&str]| FeatureValue {
            categories: categories.iter().map(|name| (*name).to_owned()).collect(),
            ..FeatureValue::default()
        };
        Profile {
            name: "示例".to_owned(),
            features: [
                ("a", from(&["aa"])),
                ("b", from(&["aa", "bb"])),
                ("c", from(&[])),
                ("credit_score", from(&[SCORE])),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            score: Some(Score::default()),
            ..Profile::default()
        }
    }

    #[test]
    fn nothing_leaves_that_is_partly_outside() {
        let names = |scope: &Scope| part(&profile(), scope).features.into_keys().collect::<Vec<_>>();
        assert_eq!(names(&named(&["aa"])), ["a"]);
        assert_eq!(names(&named(&["bb"])), Vec::<String>::new());
        assert_eq!(names(&named(&["aa", "bb"])), ["a", "b"]);
        assert_eq!(names(&Scope { all_categories: true, ..Scope::default() }), ["a", "b", "c"]);
        assert_eq!(names(&Scope { score: true, ..Scope::default() }), ["credit_score"]);
        assert!(part(&profile(), &named(&["aa"])).score.is_none());
        assert!(part(&profile(), &Scope { score: true, ..Scope::default() }).score.is_some());
    }

    #[test]
    fn a_score_tells_that_it_rests_on_a_record_outside_of_the_scope() {
        let dispute = || Dispute {
            record: DisputedRecord { category: "aa".to_owned(), ..DisputedRecord::default() },
            computed_values: vec!["credit_score".to_owned(), "listing_tier".to_owned()],
        };
        let told = |scope: &Scope| {
            let (records, values) = disputed(vec![dispute(), dispute()], scope, &part(&profile(), scope));
            (records.len(), values)
        };
        let score = vec!["credit_score".to_owned()];
        assert_eq!(told(&Scope { score: true, ..Scope::default() }), (0, score.clone()), "of those shown, each once");
        assert_eq!(told(&Scope { score: true, ..named(&["aa"]) }), (2, score));
        assert_eq!(told(&named(&["aa"])), (2, vec![]));
        assert_eq!(told(&named(&["bb"])), (0, vec![]));
        assert!(shows_profile(&named(&["aa"])) && !shows_profile(&Scope { personal_data: true, ..Scope::default() }));
    }

    #[test]
    fn a_scope_has_one_spelling() {
        assert_eq!(canonical(&named(&["bb", "aa", "bb"])).unwrap(), named(&["aa", "bb"]));
        for wrong in
            [named(&[]), named(&["profile"]), named(&["Tax"]), Scope { all_categories: true, ..named(&["tax"]) }]
        {
            assert!(canonical(&wrong).is_err(), "{wrong:?}");
        }
    }

    fn scopes() -> impl Strategy<Value = Scope> {
        (any::<bool>(), any::<bool>(), any::<bool>(), proptest::sample::subsequence(vec!["aa", "bb"], 0..=2)).prop_map(
            |(score, all_categories, personal_data, names)| Scope {
                score,
                personal_data,
                all_categories,
                ..named(if all_categories { &[] } else { &names })
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_covered_shows_no_more_than_what_covers(given in scopes(), asked in scopes()) {
            if covers(&given, &asked) {
                let (more, less) = (part(&profile(), &given), part(&profile(), &asked));
                prop_assert!(less.features.keys().all(|name| more.features.contains_key(name)));
                prop_assert!(more.score.is_some() || less.score.is_none());
            }
        }
    }
}

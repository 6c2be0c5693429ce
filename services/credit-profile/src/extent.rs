//! How much of a profile is computed again: pure. A feature depends on the records of the categories that feed it, and beside them on
//! the day, the schemas and the program alone. So records that have changed concern the features that their categories feed; each of
//! these needs the records of all its categories, and everything else stays as it was.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use zhirong_proto::profile::v1::Category;

use crate::profile::{NAME, Said};

/// How a profile stands that is to be computed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its version so far; 0 before it was computed for the first time.
    pub version: i64,
    /// Whether it is marked without a word of what has changed, or was set aside.
    pub stale: bool,
    /// Of which categories records have changed; none when nothing is marked so.
    pub changed: Option<BTreeSet<String>>,
    /// The day it was computed on.
    pub computed_on: Date,
    /// The declaration of features that it was computed by.
    pub declaration: i64,
}

/// How much is computed.
#[derive(Debug, Clone, PartialEq)]
pub enum Extent {
    /// All, from all records.
    Whole,
    /// What some categories feed.
    Part(Part),
}

/// What is computed of a profile whose other features stay.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The categories whose records are read, each with those fields alone that feed what is computed.
    pub categories: BTreeMap<String, Category>,
    features: BTreeSet<String>,
    name: bool,
}

/// Which categories feed which feature.
pub struct Feeds<'a> {
    categories: &'a BTreeMap<String, Category>,
    of: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Feeds<'a> {
    /// As the schemas in force say.
    #[must_use]
    pub fn new(categories: &'a BTreeMap<String, Category>) -> Self {
        let mut of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (name, category) in categories {
            for field in category.fields.iter().filter(|field| !field.feature.is_empty()) {
                of.entry(&field.feature).or_default().insert(name);
            }
        }
        Self { categories, of }
    }

    /// How much of a profile is computed on a day by a declaration.
    #[must_use]
    pub fn extent(&self, standing: &Standing, today: Date, declaration: i64) -> Extent {
        let whole = standing.stale
            || standing.version == 0
            || standing.computed_on != today
            || standing.declaration != declaration;
        match &standing.changed {
            Some(changed) if !whole => Extent::Part(self.part(changed)),
            _ => Extent::Whole,
        }
    }

    fn part(&self, changed: &BTreeSet<String>) -> Part {
        let fed = |by: &BTreeSet<&str>| by.iter().any(|category| changed.contains(*category));
        let concerned: BTreeMap<&str, &BTreeSet<&str>> =
            self.of.iter().filter(|(_, by)| fed(by)).map(|(feature, by)| (*feature, by)).collect();
        let name = changed.contains(NAME.0);
        let read: BTreeSet<&str> =
            concerned.values().flat_map(|by| by.iter().copied()).chain(name.then_some(NAME.0)).collect();
        let narrowed = |name: &str| {
            let mut category = self.categories.get(name)?.clone();
            category.fields.retain(|field| concerned.contains_key(field.feature.as_str()));
            Some((name.to_owned(), category))
        };
        Part {
            categories: read.into_iter().filter_map(narrowed).collect(),
            features: concerned.into_keys().map(str::to_owned).collect(),
            name,
        }
    }
}

impl Part {
    /// What is said after a change: by the profile before, but for what was computed from the records of these categories.
    #[must_use]
    pub fn renew(&self, feeds: &Feeds<'_>, before: Said, now: Said) -> Said {
        // the profile also holds what is computed from features, which comes anew
        let stays = |feature: &str| feeds.of.contains_key(feature) && !self.features.contains(feature);
        let Said { name, mut features, mut provenance } = before;
        features.retain(|feature, _| stays(feature));
        provenance.provenance.retain(|of| stays(&of.feature));
        provenance.outdated.retain(|of| stays(&of.feature));
        provenance.too_large.retain(|feature| stays(feature));
        features.extend(now.features);
        provenance.provenance.extend(now.provenance.provenance);
        provenance.outdated.extend(now.provenance.outdated);
        provenance.too_large.extend(now.provenance.too_large);
        // in the order in which a whole computation tells them
        provenance.provenance.sort_by(|a, b| a.feature.cmp(&b.feature));
        provenance.outdated.sort_by(|a, b| a.feature.cmp(&b.feature));
        provenance.too_large.sort();
        Said { name: if self.name { now.name } else { name }, features, provenance }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::fixture::category;

    fn categories() -> BTreeMap<String, Category> {
        let all = [
            category("business_registration", &["industry_code"]),
            category("honor_reward", &[]),
            category("patent", &["patent_count", "invention_patent_count"]),
            category("tax_credit", &["tax_credit_grade"]),
            category("tax_payment", &["tax_paid_12m_fen", "tax_credit_grade", "employee_count"]),
            category("social_insurance", &["employee_count"]),
        ];
        all.into_iter().map(|category| (category.category.clone(), category)).collect()
    }

    fn names(of: &[&str]) -> BTreeSet<String> {
        of.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_read_is_what_feeds_the_features_that_the_changed_categories_feed() {
        let categories = categories();
        let feeds = Feeds::new(&categories);
        for (changed, read, computed) in [
            (&[][..], &[][..], &[][..]),
            (&["patent"], &["patent"], &["invention_patent_count", "patent_count"]),
            // the feature of both needs both, and nothing else of the other
            (&["tax_credit"], &["tax_credit", "tax_payment"], &["tax_credit_grade"]),
            (
                &["tax_payment"],
                &["social_insurance", "tax_credit", "tax_payment"],
                &["employee_count", "tax_credit_grade", "tax_paid_12m_fen"],
            ),
            (
                &["patent", "social_insurance"],
                &["patent", "social_insurance", "tax_payment"],
                &["employee_count", "invention_patent_count", "patent_count"],
            ),
            // feeds nothing
            (&["honor_reward"], &[], &[]),
            (&["nothing"], &[], &[]),
            // also the name
            (&["business_registration"], &["business_registration"], &["industry_code"]),
        ] {
            let part = feeds.part(&names(changed));
            assert_eq!(part.categories.keys().cloned().collect::<BTreeSet<_>>(), names(read), "{changed:?}");
            assert_eq!(part.features, names(computed), "{changed:?}");
            let fields = part.categories.values().flat_map(|category| &category.fields);
            assert_eq!(fields.map(|field| field.feature.clone()).collect::<BTreeSet<_>>(), names(computed));
            assert_eq!(part.name, changed.contains(&"business_registration"));
        }
        let nameless = BTreeMap::from([("business_registration".to_owned(), category("business_registration", &[]))]);
        let part = Feeds::new(&nameless).part(&names(&["business_registration"]));
        assert!(part.name && part.categories.contains_key("business_registration") && part.features.is_empty());
    }

    #[test]
    fn all_is_computed_unless_the_profile_is_of_the_day_and_of_the_program_and_says_what_has_changed() {
        let categories = categories();
        let feeds = Feeds::new(&categories);
        let today = date(2026, 3, 10);
        let standing = Standing {
            version: 3,
            stale: false,
            changed: Some(names(&["patent"])),
            computed_on: today,
            declaration: 2,
        };
        let extent = |standing: &Standing| feeds.extent(standing, today, 2);
        assert_eq!(extent(&standing), Extent::Part(feeds.part(&names(&["patent"]))));
        let nothing = Standing { changed: Some(BTreeSet::new()), ..standing.clone() };
        assert!(matches!(extent(&nothing), Extent::Part(part) if part.categories.is_empty()));
        for whole in [
            Standing { version: 0, ..standing.clone() },
            Standing { stale: true, ..standing.clone() },
            Standing { changed: None, ..standing.clone() },
            Standing { computed_on: date(2026, 3, 9), ..standing.clone() },
            Standing { computed_on: date(2026, 3, 11), ..standing.clone() },
            Standing { declaration: 1, ..standing.clone() },
            Standing { declaration: 3, ..standing },
        ] {
            assert_eq!(extent(&whole), Extent::Whole, "{whole:?}");
        }
    }
}

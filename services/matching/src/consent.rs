//! What an institution may see of the profile of an order: pure.

use std::collections::BTreeSet;

use jiff::{Timestamp, civil::Date};
use zhirong_kernel::clock::start_of_business_date;
use zhirong_proto::{
    matching::v1::{Consent, DataScope},
    profile::v1::{self as profile, DisputedRecord, FeatureValue, Profile, Scope},
};

/// What the scorecard adds to the features names this as its category.
const SCORE: &str = "profile";

/// A consent as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// What may be seen.
    pub scope: Scope,
    /// From this instant on it no longer holds.
    pub expires_at: Timestamp,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// Why a consent does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// It was taken back.
    Revoked,
    /// Its time is over.
    Expired,
}

impl Ended {
    /// The word on the trail.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Revoked => "CONSENT_REVOKED",
            Self::Expired => "CONSENT_EXPIRED",
        }
    }
}

impl Held {
    /// A consent as it was given with an order; none when it has no date.
    #[must_use]
    pub fn ordered(consent: &Consent) -> Option<Self> {
        let last: Date = consent.expires_on.parse().ok()?;
        let expires_at = start_of_business_date(last.tomorrow().ok()?)?;
        let has = |scope: DataScope| consent.scopes.contains(&i32::from(scope));
        let scope =
            Scope { score: has(DataScope::Score), all_categories: has(DataScope::Features), ..Scope::default() };
        Some(Self { scope, expires_at, revoked: false })
    }

    /// A consent as the profile service keeps it; none when it has no time.
    #[must_use]
    pub fn registered(consent: &profile::Consent) -> Option<Self> {
        let at = consent.expires_at.as_ref()?;
        Some(Self {
            scope: consent.scope.clone().unwrap_or_default(),
            expires_at: Timestamp::new(at.seconds, at.nanos).ok()?,
            revoked: consent.state() != profile::ConsentState::Granted,
        })
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self, now: Timestamp) -> Result<(), Ended> {
        if self.revoked {
            return Err(Ended::Revoked);
        }
        if self.expires_at <= now {
            return Err(Ended::Expired);
        }
        Ok(())
    }
}

/// The part of a profile that is within a scope. A feature is when all the categories it comes from are.
#[must_use]
pub fn part(whole: &Profile, scope: &Scope) -> Profile {
    let mut part = whole.clone();
    part.features.retain(|name, value| within(name, value, scope));
    if !scope.score {
        part.score = None;
    }
    part
}

/// A record that an enterprise disputes, and the computed features that rest on its category.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispute {
    /// The record.
    pub record: DisputedRecord,
    /// Names of features.
    pub computed_values: Vec<String>,
}

/// What is told of disputes beside the part of a profile: the records within the scope, and the computed features shown that rest
/// on any, in order; the same rule as of releases by the profile service.
#[must_use]
pub fn disputed(disputes: &[Dispute], scope: &Scope, shown: &Profile) -> (Vec<DisputedRecord>, Vec<String>) {
    let held = |category: &String| scope.all_categories || scope.categories.contains(category);
    let records = disputes.iter().map(|dispute| &dispute.record).filter(|record| held(&record.category)).cloned();
    let named = disputes.iter().flat_map(|dispute| &dispute.computed_values);
    let values: BTreeSet<&String> = named.filter(|name| shown.features.contains_key(*name)).collect();
    (records.collect(), values.into_iter().cloned().collect())
}

fn within(name: &str, value: &FeatureValue, scope: &Scope) -> bool {
    let of_score = matches!(name, "credit_score" | "credit_grade");
    if of_score || value.categories.iter().any(|category| category == SCORE) {
        return scope.score;
    }
    let named = |category: &String| scope.categories.contains(category);
    scope.all_categories || (!value.categories.is_empty() && value.categories.iter().all(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_that_is_partly_outside() {
        let from = |categories: &[&str]| FeatureValue {
            categories: categories.iter().map(|name| (*name).to_owned()).collect(),
            ..FeatureValue::default()
        };
        let features = [
            ("a", from(&["tax"])),
            ("b", from(&["tax", "patent"])),
            ("c", from(&[])),
            ("credit_score", from(&[SCORE])),
        ];
        let whole = Profile {
            features: features.map(|(name, value)| (name.to_owned(), value)).into(),
            score: Some(profile::Score::default()),
            ..Profile::default()
        };
        let names = |scope: &Scope| part(&whole, scope).features.into_keys().collect::<Vec<_>>();
        assert_eq!(names(&Scope { categories: vec!["tax".to_owned()], ..Scope::default() }), ["a"]);
        assert_eq!(names(&Scope { all_categories: true, ..Scope::default() }), ["a", "b", "c"]);
        assert_eq!(names(&Scope { score: true, ..Scope::default() }), ["credit_score"]);
        assert!(part(&whole, &Scope { all_categories: true, ..Scope::default() }).score.is_none());
    }

    #[test]
    fn the_last_day_belongs_to_the_consent() {
        let consent = Consent { expires_on: "2031-03-06".to_owned(), ..Consent::default() };
        let held = Held::ordered(&consent).unwrap();
        let end: Timestamp = "2031-03-07T00:00:00+08:00".parse().unwrap();
        assert_eq!(held.expires_at, end);
        assert_eq!(held.check(end - jiff::SignedDuration::from_secs(1)), Ok(()));
        assert_eq!(held.check(end), Err(Ended::Expired));
        assert_eq!(Held { revoked: true, ..held }.check(end), Err(Ended::Revoked));
    }
}

//! What an institution may see of the profile of an order: pure.

use std::collections::BTreeSet;

use jiff::{Timestamp, civil::Date};
use zhirong_kernel::{clock::start_of_business_date, feature::FeatureDictionary};
use zhirong_proto::{
    matching::v1::{Consent, DataScope, ProfileWithheld},
    profile::v1::{self as profile, DisputedRecord, FeatureValue, Profile, Scope},
};

/// What the scorecard adds to the features names this as its category.
const SCORE: &str = "profile";
/// Categories named at most.
const MOST: usize = 64;

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
    /// Its order ended without a loan.
    WithOrder,
    /// Nobody says whether it holds.
    Unconfirmed,
}

impl Ended {
    /// The word on the trail.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Revoked => "CONSENT_REVOKED",
            Self::Expired => "CONSENT_EXPIRED",
            Self::WithOrder => "ORDER_ENDED",
            Self::Unconfirmed => "CONSENT_UNCONFIRMED",
        }
    }

    /// The word for the institution.
    #[must_use]
    pub fn withheld(self) -> ProfileWithheld {
        match self {
            Self::Revoked => ProfileWithheld::ConsentRevoked,
            Self::Expired => ProfileWithheld::ConsentExpired,
            Self::WithOrder => ProfileWithheld::OrderEnded,
            Self::Unconfirmed => ProfileWithheld::ConsentUnconfirmed,
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
        let scope = Scope {
            score: has(DataScope::Score),
            all_categories: has(DataScope::Features),
            categories: if has(DataScope::Categories) { consent.categories.clone() } else { Vec::new() },
            ..Scope::default()
        };
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

    /// One that allows nothing any more.
    #[must_use]
    pub fn ended() -> Self {
        Self { scope: Scope::default(), expires_at: Timestamp::MIN, revoked: true }
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

/// The categories of a consent in their one spelling: in order, each once.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn canonical(consent: &Consent) -> Result<Vec<String>, String> {
    let has = |scope: DataScope| consent.scopes.contains(&i32::from(scope));
    if has(DataScope::Categories) == consent.categories.is_empty() {
        return Err("must be named with DATA_SCOPE_CATEGORIES alone".to_owned());
    }
    if has(DataScope::Features) && has(DataScope::Categories) {
        return Err("must not be named beside DATA_SCOPE_FEATURES".to_owned());
    }
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let slug = |name: &str| {
        (2..=63).contains(&name.len())
            && name.bytes().all(letter)
            && name.starts_with(|first: char| first.is_ascii_lowercase())
    };
    if let Some(wrong) = consent.categories.iter().find(|name| !slug(name) || *name == SCORE) {
        return Err(format!("`{}` is not a category", wrong.escape_default()));
    }
    let categories: BTreeSet<&String> = consent.categories.iter().collect();
    if categories.len() > MOST {
        return Err(format!("must be at most {MOST} categories"));
    }
    Ok(categories.into_iter().cloned().collect())
}

/// What must be seen of a profile to see these features. The category of the dictionary stands for what the profile does not
/// know. A consent covers something, so that the score is what is needed where nothing else is.
pub fn needed<'a>(features: impl Iterator<Item = &'a str>, profile: &Profile) -> Scope {
    let (mut score, mut categories) = (false, BTreeSet::new());
    for name in features {
        let known = profile.features.get(name).map(|value| value.categories.as_slice());
        let declared = FeatureDictionary::standard().get(name).map(|feature| std::slice::from_ref(&feature.category));
        let from = known.filter(|categories| !categories.is_empty()).or(declared).unwrap_or_default();
        if of_score(name, from) {
            score = true;
        } else {
            categories.extend(from);
        }
    }
    let categories: Vec<String> = categories.into_iter().cloned().collect();
    Scope { score: score || categories.is_empty(), categories, ..Scope::default() }
}

/// A consent that asks for what is needed, with that put into words; any other stays as it is.
#[must_use]
pub fn in_words(consent: Consent, needed: &Scope) -> Consent {
    let asks = |scope: DataScope| consent.scopes.contains(&i32::from(scope));
    if !asks(DataScope::Needed) {
        return consent;
    }
    let mut categories: BTreeSet<&String> = needed.categories.iter().chain(&consent.categories).collect();
    let mut scopes = Vec::new();
    if needed.score || asks(DataScope::Score) {
        scopes.push(DataScope::Score.into());
    }
    if asks(DataScope::Features) {
        scopes.push(DataScope::Features.into());
        categories.clear();
    }
    if !categories.is_empty() {
        scopes.push(DataScope::Categories.into());
    }
    Consent { categories: categories.into_iter().cloned().collect(), scopes, ..consent }
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
    if of_score(name, &value.categories) {
        return scope.score;
    }
    let named = |category: &String| scope.categories.contains(category);
    scope.all_categories || (!value.categories.is_empty() && value.categories.iter().all(named))
}

/// Whether a feature belongs to the score, whatever else it comes from.
fn of_score(name: &str, categories: &[String]) -> bool {
    matches!(name, "credit_score" | "credit_grade") || categories.iter().any(|category| category == SCORE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        let from = |categories: &[&str]| FeatureValue {
            categories: categories.iter().map(|name| (*name).to_owned()).collect(),
            ..FeatureValue::default()
        };
        let features = [
            ("patent_count", from(&["patent"])),
            ("age_days", from(&["annual_report", "business_registration"])),
            ("listing_tier", from(&[SCORE, "tax_payment"])),
            ("credit_grade", from(&[])),
            ("is_high_tech", from(&[])),
        ];
        Profile { features: features.map(|(name, value)| (name.to_owned(), value)).into(), ..Profile::default() }
    }

    fn needs(features: &[&str]) -> (bool, Vec<String>) {
        let Scope { score, categories, all_categories: false, personal_data: false } =
            needed(features.iter().copied(), &profile())
        else {
            panic!("too much")
        };
        (score, categories)
    }

    fn words(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_features_come_from_is_needed_to_see_them() {
        assert_eq!(needs(&["patent_count"]), (false, words(&["patent"])));
        let both = words(&["annual_report", "business_registration", "patent"]);
        assert_eq!(needs(&["patent_count", "age_days"]), (false, both));
        assert_eq!(needs(&["listing_tier", "credit_grade"]), (true, words(&[])), "the score alone shows them");
        assert_eq!(needs(&["credit_score", "patent_count"]), (true, words(&["patent"])), "also when not known");
        assert_eq!(needs(&["is_high_tech", "tax_arrears_fen"]).1, words(&["high_tech", "tax_arrears"]));
        assert_eq!(needs(&[]), (true, words(&[])), "a consent covers something");
        let all = ["patent_count", "age_days", "listing_tier", "credit_grade"];
        let seen = part(&profile(), &needed(all.into_iter(), &profile()));
        assert_eq!(seen.features.len(), all.len(), "and what is needed shows them");
    }

    #[test]
    fn what_is_needed_is_put_into_words_beside_what_is_asked_for_too() {
        use DataScope::{Categories, Features, Needed, Score};
        let asking = |scopes: &[DataScope], categories: &[&str]| Consent {
            scopes: scopes.iter().copied().map(i32::from).collect(),
            categories: words(categories),
            text_version: "2031-01".to_owned(),
            ..Consent::default()
        };
        let needs = Scope { categories: words(&["patent"]), ..Scope::default() };
        let with_score = Scope { score: true, ..needs.clone() };
        let score = Scope { score: true, ..Scope::default() };
        for (asked, needed, kept) in [
            (asking(&[Needed], &[]), &needs, asking(&[Categories], &["patent"])),
            (asking(&[Needed], &[]), &with_score, asking(&[Score, Categories], &["patent"])),
            (asking(&[Needed], &[]), &score, asking(&[Score], &[])),
            (asking(&[Score, Needed], &[]), &needs, asking(&[Score, Categories], &["patent"])),
            (asking(&[Needed, Features], &[]), &with_score, asking(&[Score, Features], &[])),
            (asking(&[Categories, Needed], &["tax"]), &needs, asking(&[Categories], &["patent", "tax"])),
            (asking(&[Score], &[]), &needs, asking(&[Score], &[])),
            (asking(&[Categories], &["tax"]), &with_score, asking(&[Categories], &["tax"])),
        ] {
            assert_eq!(in_words(asked, needed), kept);
        }
    }

    #[test]
    fn categories_are_named_with_their_scope_alone_and_spelled_in_one_way() {
        use DataScope::{Categories, Features, Score};
        let consent = |scopes: &[DataScope], categories: &[&str]| Consent {
            scopes: scopes.iter().copied().map(i32::from).collect(),
            categories: words(categories),
            ..Consent::default()
        };
        let spelled = |scopes: &[DataScope], categories: &[&str]| canonical(&consent(scopes, categories));
        assert_eq!(spelled(&[Categories], &["tax", "patent", "tax"]), Ok(words(&["patent", "tax"])));
        assert_eq!(spelled(&[Score], &[]), Ok(words(&[])));
        let many: Vec<String> = (0..=MOST).map(|number| format!("c{number:02}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (scopes, categories) in [
            (&[Categories][..], &[][..]),
            (&[Score], &["tax"]),
            (&[Features, Categories], &["tax"]),
            (&[Categories], &["profile"]),
            (&[Categories], &["Tax"]),
            (&[Categories], &many),
        ] {
            assert!(spelled(scopes, categories).is_err(), "{scopes:?} {categories:?}");
        }
    }

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

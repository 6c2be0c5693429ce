//! What is kept of an enterprise beside its records, while its profile is computed and under the lock of its row: whether it is
//! in the quality-enterprise pool, what its patents are worth, which tier on the way to a listing it is in. Features go into the profile, changes go out as facts.

use jiff::{Timestamp, civil::Date};
use sqlx::PgConnection;
use zhirong_kernel::feature::FeatureValue;
use zhirong_proto::profile::v1::{
    self as pb, Profile, QualityDelisted, QualityListed, QualityStanding, TierChanged, TierStanding,
};
use zhirong_runtime::outbox::{self, Aggregate};

use crate::{
    appraisal::{self, Model},
    error::Error,
    profile::{known, value_message},
    quality::{self, Rules},
    store,
    tier::{self, Tiers},
};

/// Adds to a profile what does not come from records.
///
/// # Errors
/// When the database fails.
pub async fn follow(conn: &mut PgConnection, profile: &mut Profile, now: Timestamp, today: Date) -> Result<(), Error> {
    pool(conn, profile, now, today).await?;
    appraisal(profile)?;
    tier(conn, profile, now, today).await
}

/// A feature that the profile itself computes.
fn computed(value: &FeatureValue) -> pb::FeatureValue {
    pb::FeatureValue { categories: vec!["profile".to_owned()], ..value_message(value) }
}

async fn pool(conn: &mut PgConnection, profile: &mut Profile, now: Timestamp, today: Date) -> Result<(), Error> {
    let rules = Rules::standard().map_err(Error::Seeds)?;
    let enterprise = profile.enterprise_id.clone();
    let history = store::quality::history(conn, &enterprise, rules.window_from(today), today).await?;
    let before = store::quality::standing(conn, &enterprise).await?;
    // Whose history was erased leaves the pool, and is from then on like one without a loan. So is who was judged once more by a part
    // of it that came after the erasure and went with the rest.
    if history.is_none() && before.as_ref().is_none_or(|before| !before.listed && before.criteria.is_empty()) {
        return Ok(());
    }
    let criteria = history.as_ref().map(|history| rules.assess(history, &known(profile), today)).unwrap_or_default();
    let listed = history.is_some() && quality::qualifies(&criteria);
    let (was_listed, version, since_on) =
        before.as_ref().map_or((false, 0, String::new()), |of| (of.listed, of.version, of.since_on.clone()));
    let changed = listed != was_listed;
    let standing = QualityStanding {
        enterprise_id: enterprise.clone(),
        listed,
        since_on: match (changed, &history) {
            (true, _) => today.to_string(),
            (false, Some(_)) => since_on,
            (false, None) => String::new(),
        },
        criteria,
        rules_version: rules.version,
        version: if changed { version.saturating_add(1) } else { version },
    };
    if before.as_ref() != Some(&standing) {
        store::quality::save(conn, &standing, changed).await?;
    }
    if changed {
        let aggregate = Aggregate { kind: "quality", id: &enterprise, version: standing.version };
        let standing = Some(standing);
        if listed {
            outbox::append(conn, aggregate, &enterprise, &QualityListed { standing }, now).await?;
        } else {
            outbox::append(conn, aggregate, &enterprise, &QualityDelisted { standing }, now).await?;
        }
    }
    if history.is_some() {
        profile.features.insert(quality::FEATURE.to_owned(), computed(&FeatureValue::Bool(listed)));
    }
    Ok(())
}

fn appraisal(profile: &mut Profile) -> Result<(), Error> {
    if let Some(appraised) = Model::standard().map_err(Error::Seeds)?.appraise(&known(profile)) {
        let value = FeatureValue::Int(appraised.low_fen);
        profile.features.insert(appraisal::FEATURE.to_owned(), computed(&value));
    }
    Ok(())
}

async fn tier(conn: &mut PgConnection, profile: &mut Profile, now: Timestamp, today: Date) -> Result<(), Error> {
    let tiers = Tiers::standard().map_err(Error::Seeds)?;
    let enterprise = profile.enterprise_id.clone();
    let (families, reached) = tiers.judge(&known(profile));
    let before = store::tiers::standing(conn, &enterprise).await?;
    let was = before.as_ref().map_or("", |of| of.tier.as_str()).to_owned();
    let (tier, tier_name_zh) = reached.map_or_else(Default::default, |tier| (tier.tier.clone(), tier.name_zh.clone()));
    if !tier.is_empty() {
        let value = FeatureValue::Text(tier.clone());
        profile.features.insert(tier::FEATURE.to_owned(), computed(&value));
    }
    let moved = tier != was;
    if before.is_none() && !moved {
        return Ok(());
    }
    let (version, from_tier, since_on) = before
        .as_ref()
        .map_or((0, String::new(), String::new()), |of| (of.version, of.from_tier.clone(), of.since_on.clone()));
    let standing = TierStanding {
        enterprise_id: enterprise.clone(),
        tier,
        tier_name_zh,
        from_tier: if moved { was } else { from_tier },
        since_on: if moved { today.to_string() } else { since_on },
        families,
        rules_version: tiers.version,
        version: if moved { version.saturating_add(1) } else { version },
    };
    if before.as_ref() != Some(&standing) {
        store::tiers::save(conn, &standing, moved).await?;
    }
    if moved {
        let aggregate = Aggregate { kind: "tier", id: &enterprise, version: standing.version };
        outbox::append(conn, aggregate, &enterprise, &TierChanged { standing: Some(standing) }, now).await?;
    }
    Ok(())
}

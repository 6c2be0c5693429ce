//! What is kept of an enterprise beside its records, while its profile is computed and under the lock of its row: whether it is
//! in the quality-enterprise pool. Features go into the profile, changes go out as facts.

use jiff::{Timestamp, civil::Date};
use sqlx::PgConnection;
use zhirong_kernel::feature::FeatureValue;
use zhirong_proto::profile::v1::{self as pb, Profile, QualityDelisted, QualityListed, QualityStanding};
use zhirong_runtime::outbox::{self, Aggregate};

use crate::{
    error::Error,
    profile::{known, value_message},
    quality::{self, Rules},
    store,
};

/// Adds to a profile what does not come from records.
///
/// # Errors
/// When the database fails.
pub async fn follow(conn: &mut PgConnection, profile: &mut Profile, now: Timestamp, today: Date) -> Result<(), Error> {
    pool(conn, profile, now, today).await
}

/// A feature that the profile itself computes.
fn computed(value: &FeatureValue) -> pb::FeatureValue {
    pb::FeatureValue { categories: vec!["profile".to_owned()], ..value_message(value) }
}

async fn pool(conn: &mut PgConnection, profile: &mut Profile, now: Timestamp, today: Date) -> Result<(), Error> {
    let rules = Rules::standard().map_err(Error::Seeds)?;
    let enterprise = profile.enterprise_id.clone();
    let Some(history) = store::quality::history(conn, &enterprise, rules.window_from(today), today).await? else {
        return Ok(());
    };
    let criteria = rules.assess(&history, &known(profile), today);
    let listed = quality::qualifies(&criteria);
    let before = store::quality::standing(conn, &enterprise).await?;
    let (was_listed, version, since_on) =
        before.as_ref().map_or((false, 0, String::new()), |of| (of.listed, of.version, of.since_on.clone()));
    let changed = listed != was_listed;
    let standing = QualityStanding {
        enterprise_id: enterprise.clone(),
        listed,
        since_on: if changed { today.to_string() } else { since_on },
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
    profile.features.insert(quality::FEATURE.to_owned(), computed(&FeatureValue::Bool(listed)));
    Ok(())
}

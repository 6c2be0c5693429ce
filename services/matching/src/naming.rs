//! Names candidates to an institution: those who let it offer them credit, and tells of each before the first name leaves.

use jiff::Timestamp;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;
use zhirong_kernel::clock::business_date;
use zhirong_proto::{
    matching::v1::{Candidate, CandidatesNamed, NamedCandidate},
    profile::v1::HeardConsent,
};
use zhirong_runtime::{
    outbox::{self, Aggregate, Prepared},
    problem::Problem,
};

use crate::{
    checks::{Checks, Newer},
    error::Error,
    grpc::proto_time,
    store::candidate::{self as store, Given},
};

/// Enterprises of one fact.
const CHUNK: usize = 500;

/// An enterprise that is named, and the consent by which.
pub type Named = (Given, Candidate);

/// Of a product's candidates those who let an institution offer them credit at this very moment, each by its consent, with whether
/// they dispute something.
pub async fn consenting(
    pool: &PgPool,
    checks: &Checks,
    institution_id: &str,
    candidates: Vec<Candidate>,
    now: Timestamp,
) -> Result<Vec<Named>, Problem> {
    let consents = store::consenting(&mut *pool.acquire().await?, institution_id, now).await?;
    let given = |candidate: &Candidate| consents.get(&candidate.enterprise_id).copied();
    let named = candidates.into_iter().filter_map(|candidate| Some((given(&candidate)?, candidate))).collect();
    confirmed(checks, named, now).await
}

/// Those of some named who still consent.
pub async fn confirmed(checks: &Checks, named: Vec<Named>, now: Timestamp) -> Result<Vec<Named>, Problem> {
    let heard =
        named.iter().map(|(given, _)| HeardConsent { consent_id: given.id.to_string(), version: given.version });
    let enterprises = named.iter().map(|(_, candidate)| candidate.enterprise_id.clone());
    let unheard = checks.ask(&heard.collect::<Vec<_>>(), &enterprises.collect::<Vec<_>>()).await?;
    let still = |given: Given| match unheard.consents.get(&given.id.to_string()) {
        Some(Newer { version, held }) => {
            (held.check(now).is_ok() && held.scope.score).then_some(Given { version: *version, ..given })
        }
        None => Some(given),
    };
    let disputed = |candidate: &Candidate| unheard.disputes.contains_key(&candidate.enterprise_id);
    let confirmed = named.into_iter().filter_map(|(given, candidate)| {
        Some((still(given)?, Candidate { disputed: disputed(&candidate), ..candidate }))
    });
    Ok(confirmed.collect())
}

/// Tells of those of whom it was not told today as they are shown; in the transaction that must be committed before anybody gets
/// the names.
pub async fn tell(
    conn: &mut PgConnection,
    institution_id: &str,
    product_id: Uuid,
    catalog_version: i64,
    named: &[Named],
    now: Timestamp,
) -> Result<(), Error> {
    if named.is_empty() {
        return Ok(());
    }
    let new = store::note_named(conn, business_date(now), product_id, named).await?;
    let told: Vec<NamedCandidate> = named
        .iter()
        .filter(|(given, _)| new.contains(&given.id))
        .map(|(given, named)| NamedCandidate {
            enterprise_id: named.enterprise_id.clone(),
            profile_version: named.profile_version,
            consent_id: given.id.to_string(),
            limit_fen: named.limit_fen,
            rate_ppm: named.rate_ppm,
            disputed: named.disputed,
        })
        .collect();
    let facts = told.chunks(CHUNK).map(|chunk| {
        let fact = CandidatesNamed {
            naming_id: Uuid::now_v7().to_string(),
            institution_id: institution_id.to_owned(),
            product_id: product_id.to_string(),
            at: Some(proto_time(now)),
            candidates: chunk.to_vec(),
            catalog_version,
        };
        // Each is an aggregate of its own: nothing comes before or after it.
        let aggregate = Aggregate { kind: "naming", id: &fact.naming_id, version: 1 };
        Prepared::new(aggregate, &fact.product_id, &fact, now)
    });
    outbox::append_all(conn, &facts.collect::<Result<Vec<_>, _>>()?).await?;
    Ok(())
}

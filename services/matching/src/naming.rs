//! Names candidates to an institution: those who let it offer them credit, and tells of each before the first name leaves.

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::clock::business_date;
use zhirong_proto::matching::v1::{Candidate, CandidatesNamed, NamedCandidate};
use zhirong_runtime::outbox::{self, Aggregate, Prepared};

use crate::{
    error::Error,
    grpc::proto_time,
    store::candidate::{self as store, Given},
};

/// Enterprises of one fact.
const CHUNK: usize = 500;

/// Leaves of a product's candidates those who let the institution offer them credit now, and tells of those of whom it was not
/// told today as they are shown; in the transaction that must be committed before anybody gets the names.
pub async fn name(
    conn: &mut PgConnection,
    institution_id: &str,
    product_id: Uuid,
    (catalog_version, candidates): (i64, Vec<Candidate>),
    now: Timestamp,
) -> Result<Vec<Candidate>, Error> {
    let consents = store::consenting(conn, institution_id, now).await?;
    let given = |candidate: &Candidate| consents.get(&candidate.enterprise_id).copied();
    let named: Vec<(Given, Candidate)> =
        candidates.into_iter().filter_map(|candidate| Some((given(&candidate)?, candidate))).collect();
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let new = store::note_named(conn, business_date(now), product_id, &named).await?;
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
    Ok(named.into_iter().map(|(_, candidate)| candidate).collect())
}

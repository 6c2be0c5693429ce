//! Many events in one statement, for who changes many things in one transaction.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::Fact;

use super::{Aggregate, event_id, subject};
use crate::{Error, telemetry};

/// An event that is ready to be written.
#[derive(Debug, Clone)]
pub struct Prepared {
    kind: &'static str,
    id: String,
    version: i64,
    event_id: Uuid,
    stream: &'static str,
    subject: String,
    event_type: &'static str,
    occurred_at: Timestamp,
    payload: Vec<u8>,
}

impl Prepared {
    /// See [`super::append`].
    ///
    /// # Errors
    /// [`Error::SubjectKey`].
    pub fn new<F: Fact>(aggregate: Aggregate<'_>, key: &str, fact: &F, now: Timestamp) -> Result<Self, Error> {
        Ok(Self {
            kind: aggregate.kind,
            id: aggregate.id.to_owned(),
            version: aggregate.version,
            event_id: event_id(now),
            stream: F::STREAM,
            subject: subject::<F>(key)?,
            event_type: F::TYPE,
            occurred_at: now,
            payload: fact.encode_to_vec(),
        })
    }
}

/// Writes events into the outbox, in the caller's transaction. Several of one aggregate stand in order of their versions.
///
/// # Errors
/// As [`super::append`]; the caller's transaction must be rolled back then.
pub async fn append_all(conn: &mut PgConnection, events: &[Prepared]) -> Result<(), Error> {
    // One statement raises the version of an aggregate once: a second event of it goes into the next round.
    let mut rounds: Vec<Vec<&Prepared>> = Vec::new();
    let mut seen: HashMap<(&str, &str), usize> = HashMap::new();
    for event in events {
        let place = seen.entry((event.kind, &event.id)).or_default();
        match rounds.get_mut(*place) {
            Some(round) => round.push(event),
            None => rounds.push(vec![event]),
        }
        *place = place.saturating_add(1);
    }
    for mut round in rounds {
        // Two transactions that report on the same aggregates wait for each other instead of dead-locking.
        round.sort_by_key(|event| (event.kind, event.id.as_str()));
        write(conn, &round).await?;
    }
    Ok(())
}

fn each<'a, T>(events: &[&'a Prepared], of: impl Fn(&'a Prepared) -> T) -> Vec<T> {
    events.iter().map(|event| of(event)).collect()
}

async fn write(conn: &mut PgConnection, events: &[&Prepared]) -> Result<(), Error> {
    let (kinds, ids, versions) = (
        each(events, |event| event.kind),
        each(events, |event| event.id.as_str()),
        each(events, |event| event.version),
    );
    raise(conn, events).await?;
    // A row from each array at a time; in FROM, PostgreSQL would first copy each into a table of its own.
    sqlx::query!(
        "INSERT INTO runtime.outbox
             (event_id, aggregate_kind, aggregate_id, aggregate_version, stream, subject, event_type, occurred_at, trace_parent, payload)
         SELECT unnest($4::uuid[]), unnest($1::text[]), unnest($2::text[]), unnest($3::bigint[]), unnest($5::text[]),
             unnest($6::text[]), unnest($7::text[]), unnest($8::timestamptz[]), $10, unnest($9::bytea[])",
        &kinds as _,
        &ids as _,
        &versions,
        &each(events, |event| event.event_id),
        &each(events, |event| event.stream) as _,
        &each(events, |event| event.subject.as_str()) as _,
        &each(events, |event| event.event_type) as _,
        &each(events, |event| jiff_sqlx::Timestamp::from(event.occurred_at)) as _,
        &each(events, |event| event.payload.as_slice()) as _,
        telemetry::trace::current_trace_parent(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gives aggregates the versions of these events. Those that begin are inserted as they are: a first version is never newer than a
/// known one, and a clause for conflicts would cost as much as the insert.
async fn raise(conn: &mut PgConnection, events: &[&Prepared]) -> Result<(), Error> {
    let (first, later): (Vec<&Prepared>, Vec<&Prepared>) = events.iter().partition(|event| event.version == 1);
    if !first.is_empty() {
        sqlx::query!(
            "INSERT INTO runtime.aggregate (kind, id, version)
             SELECT unnest($1::text[]), unnest($2::text[]), 1",
            &each(&first, |event| event.kind) as _,
            &each(&first, |event| event.id.as_str()) as _
        )
        .execute(&mut *conn)
        .await
        .map_err(|error| match &error {
            sqlx::Error::Database(refusal) if refusal.is_unique_violation() => taken(&first),
            _ => error.into(),
        })?;
    }
    if later.is_empty() {
        return Ok(());
    }
    let raised = sqlx::query!(
        "INSERT INTO runtime.aggregate AS a (kind, id, version)
         SELECT kind, id, version FROM unnest($1::text[], $2::text[], $3::bigint[]) AS n (kind, id, version)
         ON CONFLICT (kind, id) DO UPDATE SET version = EXCLUDED.version WHERE a.version < EXCLUDED.version
         RETURNING kind, id",
        &each(&later, |event| event.kind) as _,
        &each(&later, |event| event.id.as_str()) as _,
        &each(&later, |event| event.version)
    )
    .fetch_all(conn)
    .await?;
    let raised: HashSet<(&str, &str)> = raised.iter().map(|row| (row.kind.as_str(), row.id.as_str())).collect();
    let left: Vec<&Prepared> =
        later.into_iter().filter(|event| !raised.contains(&(event.kind, event.id.as_str()))).collect();
    if left.is_empty() { Ok(()) } else { Err(taken(&left)) }
}

/// One of these is not newer than what its aggregate has reported.
fn taken(events: &[&Prepared]) -> Error {
    let ids: Vec<&str> = events.iter().take(3).map(|event| event.id.as_str()).collect();
    let more = if events.len() > ids.len() { " or another" } else { "" };
    let (kind, version) = events.first().map_or(("", 0), |event| (event.kind, event.version));
    Error::VersionTaken { kind, id: format!("{}{more}", ids.join(" or ")), version }
}

//! Many events in one statement, for who changes many things in one transaction.

use std::collections::HashMap;

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

async fn write(conn: &mut PgConnection, events: &[&Prepared]) -> Result<(), Error> {
    fn each<'a, T>(events: &[&'a Prepared], of: impl Fn(&'a Prepared) -> T) -> Vec<T> {
        events.iter().map(|event| of(event)).collect()
    }
    let (kinds, ids, versions) = (
        each(events, |event| event.kind),
        each(events, |event| event.id.as_str()),
        each(events, |event| event.version),
    );
    let raised = sqlx::query!(
        "INSERT INTO runtime.aggregate AS a (kind, id, version)
         SELECT kind, id, version FROM unnest($1::text[], $2::text[], $3::bigint[]) AS n (kind, id, version)
         ON CONFLICT (kind, id) DO UPDATE SET version = EXCLUDED.version WHERE a.version < EXCLUDED.version
         RETURNING kind, id",
        &kinds as _,
        &ids as _,
        &versions
    )
    .fetch_all(&mut *conn)
    .await?;
    if raised.len() < events.len()
        && let Some(taken) = events.iter().find(|event| {
            raised.iter().all(|row| (row.kind.as_str(), row.id.as_str()) != (event.kind, event.id.as_str()))
        })
    {
        return Err(Error::VersionTaken { kind: taken.kind, id: taken.id.clone(), version: taken.version });
    }
    sqlx::query!(
        "INSERT INTO runtime.outbox
             (event_id, aggregate_kind, aggregate_id, aggregate_version, stream, subject, event_type, occurred_at, trace_parent, payload)
         SELECT event_id, kind, id, version, stream, subject, event_type, occurred_at, $10, payload
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::timestamptz[],
             $9::bytea[])
             AS n (kind, id, version, event_id, stream, subject, event_type, occurred_at, payload)",
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

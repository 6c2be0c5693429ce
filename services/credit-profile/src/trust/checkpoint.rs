//! Signs the end of the chain now and then, so that whoever can write the database can't write a chain of their own. Each is
//! told to the broker, so that whoever takes entries off the end, with their checkpoints, is found by what stands there.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use zhirong_kernel::clock::Clock;
use zhirong_proto::profile::v1::{AuditCheckpoint, AuditCheckpointed};
use zhirong_runtime::{
    Error as RuntimeError,
    broker::Broker,
    outbox::{self, Aggregate, OutboxWake},
    streams,
};

use super::{
    audit,
    keys::{Kind, SigningKeys},
    store,
};
use crate::{error::Error, profile::proto_time};

/// What is told of it is told of the trail as a whole.
const TRAIL: &str = "trail";

/// Signs checkpoints.
pub struct Checkpoints {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The keys.
    pub signing: Arc<SigningKeys>,
    /// Keeps what is told of them.
    pub broker: Broker,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
    /// The pause between two looks.
    pub interval: Duration,
}

impl Checkpoints {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut prepared = false;
        while !shutdown.is_cancelled() {
            // without a place at the broker it signs all the same
            if !prepared {
                prepared =
                    self.prepare().await.map_err(|error| report(&error, "checkpoints are not kept apart")).is_ok();
            }
            if let Err(error) = self.one().await {
                report(&error, "no checkpoint could be signed");
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(self.interval) => {}
            }
        }
    }

    /// Makes the stream that keeps them, and tells of the last one, should a version that told of none have signed it.
    async fn prepare(&self) -> Result<(), Error> {
        self.broker.keep(streams::AUDIT).await?;
        let mut tx = self.pool.begin().await?;
        if let Some(last) = store::last_checkpoint(&mut tx).await? {
            tell(&mut tx, last, self.clock.now()).await?;
        }
        tx.commit().await?;
        self.outbox.notify();
        Ok(())
    }

    /// Signs the end of the chain unless it is signed.
    async fn one(&self) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        let Some((sequence, hash)) = store::unsigned_end(&mut tx).await? else {
            return Ok(());
        };
        let now = self.clock.now();
        let at = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        let signature = self.signing.sign(Kind::Checkpoint, &audit::checkpoint_content(sequence, &hash, at));
        let checkpoint = AuditCheckpoint {
            sequence,
            hash,
            at: Some(proto_time(at)),
            public_key: self.signing.public_key().to_vec(),
            signature: signature.bytes,
            signing_key: signature.key,
        };
        if !store::add_checkpoint(&mut tx, &checkpoint, at).await? {
            return Ok(());
        }
        let hash = hex::encode(&checkpoint.hash);
        let told = tell(&mut tx, checkpoint, now).await?;
        tx.commit().await?;
        self.outbox.notify();
        tracing::info!(sequence, hash, "the audit trail was signed up to here");
        if !told {
            tracing::error!(sequence, "a later end of the audit trail was told before: entries were taken off it");
        }
        Ok(())
    }
}

/// Tells of a checkpoint, unless it or a later one was told.
async fn tell(conn: &mut PgConnection, checkpoint: AuditCheckpoint, now: Timestamp) -> Result<bool, Error> {
    let aggregate = Aggregate { kind: "audit_trail", id: TRAIL, version: checkpoint.sequence };
    let fact = AuditCheckpointed { checkpoint: Some(checkpoint) };
    match outbox::append(conn, aggregate, TRAIL, &fact, now).await {
        Ok(_) => Ok(true),
        Err(RuntimeError::VersionTaken { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn report(error: &Error, what: &'static str) {
    tracing::error!(%error, source = ?std::error::Error::source(error), "{what}; trying again");
}

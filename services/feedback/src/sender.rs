//! Sends what is due. The claim is committed before the provider is called, so that a crash at any moment leaves a message
//! that is asked about before it is sent again.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use zhirong_kernel::clock::Clock;
use zhirong_proto::feedback::v1::{SmsDelivered, SmsFailed};
use zhirong_runtime::{
    fault,
    outbox::{self, Aggregate, OutboxWake},
    seal::MasterKeys,
};

use crate::{
    channel::{Outgoing, SmsChannel},
    contact,
    error::Error,
    sms::{self, QueryOutcome, SendOutcome, State, Step},
    store::{self, sms::Claimed},
};

/// Messages claimed at once.
const BATCH: i64 = 20;
/// Looks for messages of other replicas and for claims that ran out.
const POLL: Duration = Duration::from_secs(1);

/// Sends messages through a channel.
pub struct Sender<C> {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way out.
    pub channel: C,
    /// What phones are sealed with.
    pub keys: Arc<MasterKeys>,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
    /// Wakes the sender.
    pub wake: Arc<Notify>,
    /// A sender that has not said what came of a message for so long is taken for dead.
    pub claim: SignedDuration,
}

impl<C: SmsChannel> Sender<C> {
    /// Runs until shutdown; the message under way is finished first.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            match self.send_due().await {
                Ok(0) => {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep(POLL) => {}
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, source = ?std::error::Error::source(&error), "sms sender failed; trying again");
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = tokio::time::sleep(POLL) => {}
                    }
                }
            }
        }
    }

    /// Sends what is due now; says how many were tried.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn send_due(&self) -> Result<usize, Error> {
        let mut conn = self.pool.acquire().await?;
        let claimed = store::sms::claim_due(&mut conn, self.clock.now(), self.claim, BATCH).await?;
        drop(conn);
        let tries = claimed.iter().map(|one| self.try_one(one));
        for done in futures::future::join_all(tries).await {
            done?;
        }
        Ok(claimed.len())
    }

    async fn try_one(&self, claimed: &Claimed) -> Result<(), Error> {
        let mut step = self.hand_over(claimed).await?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        if step.state == State::WaitingContact {
            // A contact that comes at the same moment finds the message waiting, or is found here.
            store::contact::lock(&mut tx, &claimed.enterprise_id).await?;
            if store::contact::phone(&mut tx, &claimed.enterprise_id).await?.is_some() {
                step.state = State::Queued;
            }
        }
        let Some(version) = store::sms::settle(&mut tx, claimed, &step, now).await? else {
            return Ok(());
        };
        let (sms_id, loan_id) = (claimed.sms_id.to_string(), claimed.loan_id.to_string());
        let aggregate = Aggregate { kind: "sms", id: &sms_id, version };
        match step.state {
            State::Sent => {
                let fact = SmsDelivered { sms_id: sms_id.clone(), loan_id };
                outbox::append(&mut tx, aggregate, &sms_id, &fact, now).await?;
            }
            State::Failed => {
                let fact =
                    SmsFailed { sms_id: sms_id.clone(), loan_id, reason: step.error.clone().unwrap_or_default() };
                outbox::append(&mut tx, aggregate, &sms_id, &fact, now).await?;
            }
            _ => {}
        }
        tx.commit().await?;
        self.outbox.notify();
        tracing::info!(sms_id, state = step.state.word(), attempts = claimed.attempts, "sms tried");
        Ok(())
    }

    async fn hand_over(&self, claimed: &Claimed) -> Result<Step, Error> {
        if claimed.ask_first {
            match self.channel.query(claimed.sms_id.uuid()).await {
                QueryOutcome::HasNot => {}
                known => return Ok(sms::after_asking(known, claimed.attempts)),
            }
        }
        let mut conn = self.pool.acquire().await?;
        let kept = store::contact::phone(&mut conn, &claimed.enterprise_id).await?;
        drop(conn);
        // The enterprise was erased meanwhile.
        let Some(kept) = kept else { return Ok(sms::without_contact()) };
        let phone = match contact::open(&self.keys, &claimed.enterprise_id, &kept) {
            Ok(phone) => phone,
            Err(error) => {
                tracing::error!(sms_id = %claimed.sms_id, enterprise = claimed.enterprise_id, %error, "an sms can't be sent");
                return Ok(sms::after_sending(SendOutcome::NotReached(error.to_string()), claimed.attempts));
            }
        };
        fault::point("sms_before_send");
        let message = Outgoing { sms_id: claimed.sms_id.uuid(), phone, text_zh: claimed.text_zh.clone() };
        let outcome = self.channel.send(&message).await;
        fault::point("sms_after_send");
        Ok(sms::after_sending(outcome, claimed.attempts))
    }
}

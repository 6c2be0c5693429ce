//! What an institution reads of its inbox: page by page, or as it comes.

use std::{pin::Pin, time::Duration};

use futures::Stream;
use jiff::Timestamp;
use tonic::Status;
use zhirong_kernel::id::InstitutionId;
use zhirong_proto::matching::v1::{InboxEntry, ListInboxRequest, ListInboxResponse, StreamInboxResponse};
use zhirong_runtime::{page, problem::Problem};

use super::{Matching, cut};
use crate::{checks::is_stale, disclosure, store::order as orders};

/// Most entries that are read at once to be sent.
const BATCH: i64 = 100;
/// Looks for entries that another replica has written.
const POLL: Duration = Duration::from_millis(500);
/// Entries on their way to an institution.
pub(super) type Entries = Pin<Box<dyn Stream<Item = Result<StreamInboxResponse, Status>> + Send>>;

impl Matching {
    /// Everything after a position, then each entry as it comes.
    pub(super) fn follow(self, institution: InstitutionId, after: i64) -> Entries {
        Box::pin(async_stream::stream! {
            let (mut position, mut batch) = (after, BATCH);
            while !self.shutdown.is_cancelled() {
                // Registered before the look, so that an entry written in between still wakes.
                let written = self.inbox.notified();
                let (entries, checked_at) = match self.entries(&institution, position, batch).await {
                    Ok(read) => read,
                    Err(problem) => {
                        yield Err(problem.into());
                        return;
                    }
                };
                if entries.is_empty() {
                    tokio::select! {
                        () = written => {}
                        () = tokio::time::sleep(POLL) => {}
                        () = self.shutdown.cancelled() => {}
                    }
                }
                // As many as the reader took in time, so that few are read for nothing.
                batch = batch.saturating_mul(2).min(BATCH);
                for (taken, entry) in (1..).zip(entries) {
                    // A full inbox must not hold up the shutdown either.
                    if self.shutdown.is_cancelled() {
                        break;
                    }
                    position = entry.position;
                    yield Ok(StreamInboxResponse { entry: Some(entry) });
                    if is_stale(checked_at, self.clock.now()) {
                        batch = taken;
                        break;
                    }
                }
            }
            yield Err(restarting().into());
        })
    }

    /// Entries with what may be seen of the profiles, and since when that stands.
    async fn entries(
        &self,
        institution: &InstitutionId,
        after: i64,
        most: i64,
    ) -> Result<(Vec<InboxEntry>, Timestamp), Problem> {
        let entries = orders::inbox(&mut *self.pool.acquire().await?, institution.as_str(), after, most).await?;
        let now = self.clock.now();
        let unheard = disclosure::unheard(&self.checks, &entries, now).await;
        let checked_at = self.clock.now();
        let (entries, read) = disclosure::release(entries, &unheard, now);
        if !read.is_empty() {
            // On its way to the trail before the institution has its answer.
            let mut tx = self.pool.begin().await?;
            let told = disclosure::told(&mut tx, read, now).await?;
            tx.commit().await?;
            if told {
                self.outbox.notify();
            }
        }
        Ok((entries, checked_at))
    }

    pub(super) async fn list_inbox(
        &self,
        institution: &InstitutionId,
        request: &ListInboxRequest,
    ) -> Result<ListInboxResponse, Problem> {
        let page = page::parse::<i64>(request.page_size, &request.page_token)?;
        let (found, _) = self.entries(institution, page.after.unwrap_or(0), page.size.saturating_add(1)).await?;
        let (entries, more) = cut(found, page.size);
        let next_page_token = match entries.last() {
            Some(last) if more => page::encode(&last.position)?,
            _ => String::new(),
        };
        Ok(ListInboxResponse { entries, next_page_token })
    }
}

fn restarting() -> Problem {
    Problem::unavailable("SHUTTING_DOWN", "the service restarts; open the inbox again from the last position")
        .zh("服务正在重启，请从上次位置重新连接")
}

//! Full reloads as operators see them, and the way out of a broken one.

use jiff::Timestamp;
use zhirong_proto::profile::v1::{self as pb, ReloadState};
use zhirong_runtime::{
    caller::Caller,
    idempotency::{self, Claim},
    page,
    problem::Problem,
};

use super::{Profiles, full};
use crate::{
    error::Error,
    profile::proto_time,
    store::{
        records::{self, Alone},
        reloads::{self, Cursor, Row, Which},
    },
};

impl Profiles {
    pub(super) async fn list_reloads(
        &self,
        request: pb::ListReloadsRequest,
    ) -> Result<pb::ListReloadsResponse, Problem> {
        let page = page::parse::<Cursor>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let which = Which { source: &request.source, category: &request.category, unfinished: request.unfinished_only };
        let rows = reloads::list(&mut conn, which, page.after, page.size).await?;
        let next_page_token = match rows.last() {
            Some(last) if full(rows.len(), page.size) => page::encode(&Cursor::from(last))?,
            _ => String::new(),
        };
        let now = self.clock.now();
        Ok(pb::ListReloadsResponse { reloads: rows.into_iter().map(|row| told(row, now)).collect(), next_page_token })
    }

    pub(super) async fn give_up_reload(
        &self,
        caller: &Caller,
        request: pb::GiveUpReloadRequest,
    ) -> Result<pb::GiveUpReloadResponse, Problem> {
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.profile.v1.CategoryService/GiveUpReload";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let (source, category) = (request.source.as_str(), request.category.as_str());
        let named = (source, category, request.reload_id.as_str());
        records::lock(&mut tx, [(source, category, Alone(true))]).await?;
        reloads::get(&mut tx, named).await?.ok_or(Error::ReloadNotFound)?;
        if !reloads::give_up(&mut tx, named, now).await? {
            return Err(Error::ReloadInForce.into());
        }
        let row = reloads::get(&mut tx, named).await?.ok_or(Error::ReloadNotFound)?;
        let response = pb::GiveUpReloadResponse { reload: Some(told(row, now)) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }
}

/// As it is told.
fn told(row: Row, now: Timestamp) -> pb::ReloadStatus {
    let state = match row.state.as_str() {
        "applying" => ReloadState::Applying,
        "in_force" => ReloadState::InForce,
        "outdone" => ReloadState::Outdone,
        "given_up" => ReloadState::GivenUp,
        _ => ReloadState::Receiving,
    };
    let seconds_since = |at: jiff_sqlx::Timestamp| now.duration_since(at.to_jiff()).as_secs().max(0);
    pb::ReloadStatus {
        source: row.source,
        category: row.category,
        reload_id: row.reload_id,
        state: state.into(),
        member_count: row.member_count,
        record_count: row.record_count,
        as_of: row.as_of.map(|at| proto_time(at.to_jiff())),
        began_at: Some(proto_time(row.began_at.to_jiff())),
        changed_at: Some(proto_time(row.changed_at.to_jiff())),
        age_s: seconds_since(row.began_at),
        silent_s: seconds_since(row.changed_at),
    }
}

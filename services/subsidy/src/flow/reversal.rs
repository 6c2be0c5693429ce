//! A grant is taken back: what is unpaid is free again, what was paid is claimed back and free once it has come back.

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{Fen, id::GrantId};
use zhirong_proto::subsidy::v1::GrantReversed;
use zhirong_runtime::fault;

use super::{Desk, queue, settlement::lock_grant};
use crate::{
    budget::Reason,
    error::Error,
    grant::{Grant, State, Target},
    store::{
        self,
        budget::{Owner, Paper},
        reversal::Reversal,
    },
    wire,
};

/// Asks that a grant be taken back.
///
/// # Errors
/// [`Error::GrantNotFound`], [`Error::GrantReversed`], [`Error::ReversalOpen`].
pub async fn request(
    conn: &mut PgConnection,
    desk: &Desk,
    grant_id: GrantId,
    (by, reason_zh): (&str, &str),
    now: Timestamp,
) -> Result<Reversal, Error> {
    let grant = store::grant::find(conn, grant_id).await?.ok_or(Error::GrantNotFound(grant_id))?;
    if grant.state == State::Reversed {
        return Err(Error::GrantReversed(grant_id));
    }
    let reversal_id = desk.ids.next();
    if !store::reversal::request(conn, reversal_id, grant_id, (by, reason_zh), now).await? {
        return Err(Error::ReversalOpen(grant_id));
    }
    store::reversal::lock(conn, reversal_id).await?.ok_or(Error::Stored("reversal"))
}

/// Decides on it.
///
/// # Errors
/// [`Error::ReversalNotFound`], [`Error::ReversalDecided`], [`Error::SamePerson`].
pub async fn decide(
    conn: &mut PgConnection,
    desk: &Desk,
    reversal_id: Uuid,
    (approve, by, reason_zh): (bool, &str, &str),
    now: Timestamp,
) -> Result<(Reversal, Grant), Error> {
    let reversal = store::reversal::lock(conn, reversal_id).await?.ok_or(Error::ReversalNotFound(reversal_id))?;
    if reversal.state != "requested" {
        return Err(Error::ReversalDecided(reversal_id));
    }
    if reversal.requested_by == by {
        return Err(Error::SamePersonDecides);
    }
    let state = if approve { "approved" } else { "declined" };
    store::reversal::decide(conn, reversal_id, state, (by, reason_zh), now).await?;
    let grant_id = GrantId::new(reversal.grant_id);
    if approve {
        take_back(conn, desk, grant_id, &reversal.reason_zh, now).await?;
    }
    let decided = store::reversal::lock(conn, reversal_id).await?.ok_or(Error::Stored("reversal"))?;
    let grant = store::grant::find(conn, grant_id).await?.ok_or(Error::GrantNotFound(grant_id))?;
    Ok((decided, grant))
}

async fn take_back(
    conn: &mut PgConnection,
    desk: &Desk,
    grant_id: GrantId,
    reason_zh: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let (mut till, approved) = lock_grant(conn, desk, grant_id, now).await?;
    let mut grants = store::grant::lock_of_loan(conn, approved.loan.loan_id).await?;
    let place = grants.iter_mut().find(|grant| grant.grant_id == grant_id);
    let grant = place.ok_or(Error::GrantNotFound(grant_id))?;
    let (loaded, claimed) = (grant.version, grant.money.paid);
    let on_its_way = store::grant::on_its_way(conn, grant_id).await?;
    grant.state = State::Reversed;
    till.bring(grant, Target::NOTHING, on_its_way)?;
    grant.changed();
    store::grant::update(conn, grant, loaded).await?;
    let fact =
        GrantReversed { grant: Some(wire::grant(grant)), claimed_fen: claimed.get(), reason_zh: reason_zh.to_owned() };
    till.tell(grant, &fact)?;
    fault::point("reversal_taking_back");
    queue::serve_all(conn, &mut till).await?;
    till.close(conn).await
}

/// Claimed money has come back; it is free for who waits.
///
/// # Errors
/// [`Error::GrantNotFound`], [`Error::MoreThanClaimed`].
pub async fn returned(
    conn: &mut PgConnection,
    desk: &Desk,
    grant_id: GrantId,
    (amount, paper): (Fen, Paper),
    now: Timestamp,
) -> Result<Grant, Error> {
    let (mut till, approved) = lock_grant(conn, desk, grant_id, now).await?;
    let mut grants = store::grant::lock_of_loan(conn, approved.loan.loan_id).await?;
    let place = grants.iter_mut().find(|grant| grant.grant_id == grant_id);
    let grant = place.ok_or(Error::GrantNotFound(grant_id))?;
    if amount > grant.money.clawed_back {
        return Err(Error::MoreThanClaimed { returned: amount, claimed: grant.money.clawed_back });
    }
    let loaded = grant.version;
    till.post(grant.budget_id, Reason::Return, amount, Owner::Grant(grant_id), Some(paper))?;
    grant.money.clawed_back = grant.money.clawed_back.checked_sub(amount)?;
    grant.changed();
    store::grant::update(conn, grant, loaded).await?;
    let grant = grant.clone();
    queue::serve_all(conn, &mut till).await?;
    till.close(conn).await?;
    fault::point("return_recorded");
    Ok(grant)
}

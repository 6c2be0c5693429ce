//! Settlement: what is due is put into a batch, reviewed by another person, handed to the bank as a file, and what the bank
//! answers is posted line by line.
//!
//! Nothing is paid twice or lost, wherever a process stops: each step is one transaction, a grant is on its way in one line at
//! a time, a line ends once, and a payment in the ledger names its line.

use std::collections::HashMap;

use jiff::{Timestamp, civil::Date};
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    Fen,
    clock::business_date,
    id::{GrantId, LineId, LoanId, PolicyId, SettlementId},
};
use zhirong_proto::subsidy::v1::{GrantPaid, GrantSettled};
use zhirong_runtime::{
    fault,
    outbox::{self, Aggregate, Prepared},
};

use super::{
    Desk,
    course::{self, Room, Voice},
    queue,
    till::Till,
};
use crate::{
    budget::Reason,
    error::Error,
    settlement::{Payment, Refusal, payment_file},
    store::{
        self,
        budget::Owner,
        settlement::{Batch, Due, Line, New},
    },
    wire,
};

/// Lines of one batch at most; what is left goes into the next batch.
const MOST_LINES: usize = 20_000;
/// Grants read at once.
const PAGE: i64 = 2000;
/// Lines told with one statement.
const TOLD_AT_ONCE: usize = 1000;

/// Computes a batch of what is due for the days up to `days.1`.
///
/// # Errors
/// [`Refusal`].
pub async fn compute(
    conn: &mut PgConnection,
    desk: &Desk,
    (days, policy): ((Date, Date), Option<PolicyId>),
    by: &str,
    now: Timestamp,
) -> Result<SettlementId, Error> {
    if business_date(now) <= days.1 {
        return Err(Refusal::PeriodNotOver(days.1).into());
    }
    store::settlement::one_at_a_time(conn).await?;
    let chosen = choose(conn, desk, policy, days.1).await?;
    // Of what was chosen, what is due now that the loans stand still.
    let loans = store::settlement::loans_of(conn, &chosen).await?;
    store::loan::hold(conn, &loans).await?;
    let due = store::settlement::due_of(conn, &chosen).await?;
    let amounts = amounts(conn, desk, &due, days.1).await?;
    let lines: Vec<_> =
        amounts.into_iter().map(|(found, amount)| (LineId::new(desk.ids.next()), found, amount)).collect();
    if lines.is_empty() {
        return Err(Refusal::NothingDue.into());
    }
    let batch_id = SettlementId::new(desk.ids.next());
    store::settlement::insert(conn, New { batch_id, days, policy, by }, &lines, now).await?;
    fault::point("settlement_computed");
    Ok(batch_id)
}

/// Grants of which something is due for the days up to one, in order of id, as many as a batch takes. Nothing is locked.
async fn choose(
    conn: &mut PgConnection,
    desk: &Desk,
    policy: Option<PolicyId>,
    last: Date,
) -> Result<Vec<Uuid>, Error> {
    let (mut chosen, mut after) = (Vec::new(), Uuid::nil());
    loop {
        let page = store::settlement::due_after(conn, policy, after, PAGE).await?;
        let Some(end) = page.last() else { return Ok(chosen) };
        after = end.grant_id;
        for (found, _) in amounts(conn, desk, &page, last).await? {
            chosen.push(found.grant_id);
            if chosen.len() >= MOST_LINES {
                return Ok(chosen);
            }
        }
    }
}

/// Those of which something is due for the days up to one, and how much.
async fn amounts<'a>(
    conn: &mut PgConnection,
    desk: &Desk,
    due: &'a [Due],
    last: Date,
) -> Result<Vec<(&'a Due, Fen)>, Error> {
    let by_then = due_by(conn, desk, due, last).await?;
    let mut found = Vec::with_capacity(due.len());
    for one in due {
        let whole = by_then.get(&one.grant_id).copied().unwrap_or(Fen::ZERO);
        let amount = whole.checked_sub(Fen::new(one.paid_fen))?.min(Fen::new(one.payable_fen));
        if amount.is_positive() {
            found.push((one, amount));
        }
    }
    Ok(found)
}

/// What is due of each grant with the events up to a day, that day included.
async fn due_by(conn: &mut PgConnection, desk: &Desk, due: &[Due], last: Date) -> Result<HashMap<Uuid, Fen>, Error> {
    let mut loans: Vec<Uuid> = due.iter().map(|found| found.loan_id).collect();
    loans.sort_unstable();
    loans.dedup();
    let events = store::loan::events(conn, &loans).await?;
    let mut grants = store::grant::of_loans(conn, &loans).await?;
    let after = last.tomorrow().unwrap_or(last);
    let mut found = HashMap::new();
    for approved in store::loan::find_all(conn, &loans).await? {
        let id = approved.loan.loan_id.uuid();
        let known: Vec<_> = events.get(&id).into_iter().flatten().copied().filter(|event| event.on <= last).collect();
        let own = grants.remove(&id).unwrap_or_default();
        // No more than is due by now, and of that what the interest paid by then makes due.
        let room = |grant| Ok(Room { had: Fen::ZERO, ..Room::kept(grant)? });
        let rooms = own.iter().map(room).collect::<Result<Vec<_>, Error>>()?;
        let standings = course::standings(conn, desk, &approved, (&own, &rooms), &known, after).await?;
        found.extend(standings.into_iter().map(|(grant, standing)| (grant, standing.due)));
    }
    Ok(found)
}

/// Approves a computed batch for payment, or discards it.
///
/// # Errors
/// [`Refusal`]; [`Error::SettlementNotFound`].
pub async fn review(
    conn: &mut PgConnection,
    batch_id: SettlementId,
    (approve, by, reason_zh): (bool, &str, &str),
    now: Timestamp,
) -> Result<(), Error> {
    let batch = lock(conn, batch_id).await?;
    if batch.state != "computed" {
        return Err(Refusal::NotComputed.into());
    }
    if batch.computed_by == by {
        return Err(Refusal::SamePerson.into());
    }
    let state = if approve { "reviewed" } else { "discarded" };
    store::settlement::review(conn, batch_id, state, (by, reason_zh), now).await?;
    fault::point("settlement_reviewing");
    if !approve {
        return Ok(store::settlement::drop_lines(conn, batch_id).await?);
    }
    // No money moves, so that no budget is locked; the loans' locks guard their grants.
    let lines = all_lines(conn, batch_id).await?;
    let grants: Vec<Uuid> = lines.iter().map(|line| line.grant_id).collect();
    let loans = store::settlement::loans_of(conn, &grants).await?;
    store::loan::hold(conn, &loans).await?;
    for some in lines.chunks(TOLD_AT_ONCE) {
        tell_settled(conn, batch_id, some, now).await?;
    }
    fault::point("settlement_reviewed");
    Ok(())
}

async fn tell_settled(
    conn: &mut PgConnection,
    batch_id: SettlementId,
    lines: &[Line],
    now: Timestamp,
) -> Result<(), Error> {
    let amounts: HashMap<Uuid, i64> = lines.iter().map(|line| (line.grant_id, line.amount_fen)).collect();
    let ids: Vec<Uuid> = lines.iter().map(|line| line.grant_id).collect();
    let mut events = Vec::with_capacity(lines.len());
    for grant in store::grant::count_change(conn, &ids).await? {
        let key = grant.grant_id.to_string();
        let fact = GrantSettled {
            grant: Some(wire::grant(&grant)),
            batch_id: batch_id.to_string(),
            amount_fen: amounts.get(&grant.grant_id.uuid()).copied().unwrap_or_default(),
        };
        let aggregate = Aggregate { kind: "grant", id: &key, version: grant.version };
        events.push(Prepared::new(aggregate, &key, &fact, now)?);
    }
    Ok(outbox::append_all(conn, &events).await?)
}

/// The payment file of a reviewed batch; always the same bytes.
///
/// # Errors
/// [`Refusal`]; [`Error::SettlementNotFound`].
pub async fn export(conn: &mut PgConnection, batch_id: SettlementId, now: Timestamp) -> Result<Vec<u8>, Error> {
    let batch = lock(conn, batch_id).await?;
    if !matches!(batch.state.as_str(), "reviewed" | "exported" | "closed") {
        return Err(Refusal::NotReviewed.into());
    }
    store::settlement::export(conn, batch_id, now).await?;
    fault::point("settlement_exported");
    let lenders: HashMap<GrantId, (String, String)> = store::settlement::lenders(conn, batch_id)
        .await?
        .into_iter()
        .map(|(grant, institution, reference)| (grant, (institution, reference)))
        .collect();
    let payments: Vec<Payment> = all_lines(conn, batch_id)
        .await?
        .into_iter()
        .map(|line| {
            let lender = lenders.get(&GrantId::new(line.grant_id)).cloned().unwrap_or_default();
            Payment {
                reference: line.line_id.to_string(),
                enterprise_id: line.enterprise_id,
                enterprise_name: line.enterprise_name,
                institution_id: lender.0,
                loan_reference: lender.1,
                amount: Fen::new(line.amount_fen),
            }
        })
        .collect();
    payment_file(&payments).map_err(|_| Error::Stored("settlement_line"))
}

/// What the bank did with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Paid, with the value date.
    Paid(Date),
    /// Failed, with the reason in Chinese.
    Failed(String),
}

/// Records what the bank did with lines of an exported batch; all of them, or none.
///
/// # Errors
/// [`Refusal`]; [`Error::SettlementNotFound`], [`Error::LineNotFound`].
pub async fn record(
    conn: &mut PgConnection,
    desk: &Desk,
    batch_id: SettlementId,
    results: &[(LineId, Outcome)],
    now: Timestamp,
) -> Result<(), Error> {
    let batch = lock(conn, batch_id).await?;
    if !matches!(batch.state.as_str(), "exported" | "closed") {
        return Err(Refusal::NotExported.into());
    }
    let ids: Vec<Uuid> = results.iter().map(|(line, _)| line.uuid()).collect();
    let lines: HashMap<Uuid, Line> = store::settlement::some_lines(conn, batch_id, &ids)
        .await?
        .into_iter()
        .map(|line| (line.line_id, line))
        .collect();
    let mut open = Vec::new();
    for (line_id, outcome) in results {
        let line = lines.get(&line_id.uuid()).ok_or(Error::LineNotFound(*line_id))?;
        match (line.state.as_str(), outcome) {
            ("open", _) => open.push((line, outcome)),
            ("paid", Outcome::Paid(on)) if line.paid_on.map(jiff_sqlx::Date::to_jiff) == Some(*on) => {}
            ("failed", Outcome::Failed(reason)) if *reason == line.reason_zh => {}
            _ => return Err(Refusal::LineEnded(line_id.to_string()).into()),
        }
    }
    let of: Vec<Line> = open.iter().map(|(line, _)| (*line).clone()).collect();
    let (mut till, loans) = lock_lines(conn, desk, &of, now).await?;
    for (line, outcome) in open {
        let line_id = LineId::new(line.line_id);
        match outcome {
            Outcome::Failed(reason) => store::settlement::end_line(conn, line_id, "failed", reason, None).await?,
            Outcome::Paid(on) => {
                store::settlement::end_line(conn, line_id, "paid", "", Some(*on)).await?;
                fault::point("settlement_paying");
                pay(conn, &mut till, line, (batch_id, *on)).await?;
            }
        }
    }
    // A grant that was taken back, or whose loan has come to less, goes on from here.
    course::recompute(conn, &mut till, &loans, Voice::Quiet).await?;
    queue::serve_all(conn, &mut till).await?;
    till.close(conn).await?;
    fault::point("settlement_recorded");
    store::settlement::close_when_done(conn, batch_id).await?;
    Ok(())
}

async fn pay(
    conn: &mut PgConnection,
    till: &mut Till<'_>,
    line: &Line,
    (batch_id, on): (SettlementId, Date),
) -> Result<(), Error> {
    let grant_id = GrantId::new(line.grant_id);
    let mut grant = store::grant::find(conn, grant_id).await?.ok_or(Error::GrantNotFound(grant_id))?;
    let (loaded, amount) = (grant.version, Fen::new(line.amount_fen));
    till.post(grant.budget_id, Reason::Pay, amount, Owner::Line(grant_id, LineId::new(line.line_id)), None)?;
    grant.money.payable = grant.money.payable.checked_sub(amount)?;
    grant.money.paid = grant.money.paid.checked_add(amount)?;
    grant.changed();
    store::grant::update(conn, &grant, loaded).await?;
    let fact = GrantPaid {
        grant: Some(wire::grant(&grant)),
        batch_id: batch_id.to_string(),
        amount_fen: amount.get(),
        paid_on: on.to_string(),
    };
    till.tell(&grant, &fact)
}

async fn lock(conn: &mut PgConnection, batch_id: SettlementId) -> Result<Batch, Error> {
    store::settlement::lock(conn, batch_id).await?.ok_or(Error::SettlementNotFound(batch_id))
}

/// Locks loans and budgets of lines, in the order everybody takes.
async fn lock_lines<'a>(
    conn: &mut PgConnection,
    desk: &'a Desk,
    lines: &[Line],
    now: Timestamp,
) -> Result<(Till<'a>, Vec<store::loan::Approved>), Error> {
    let grants: Vec<Uuid> = lines.iter().map(|line| line.grant_id).collect();
    let loans = store::settlement::loans_of(conn, &grants).await?;
    let locked = store::loan::lock_all(conn, &loans).await?;
    let budgets = store::grant::budgets_of_loans(conn, &loans).await?;
    Ok((Till::lock(conn, desk, &budgets, now).await?, locked))
}

async fn all_lines(conn: &mut PgConnection, batch_id: SettlementId) -> Result<Vec<Line>, Error> {
    Ok(store::settlement::lines(conn, batch_id, 0, i64::MAX).await?)
}

/// Locks the loan, the budgets and the till for one grant.
///
/// # Errors
/// [`Error::GrantNotFound`].
pub async fn lock_grant<'a>(
    conn: &mut PgConnection,
    desk: &'a Desk,
    grant_id: GrantId,
    now: Timestamp,
) -> Result<(Till<'a>, store::loan::Approved), Error> {
    let grant = store::grant::find(conn, grant_id).await?.ok_or(Error::GrantNotFound(grant_id))?;
    let loan_id: LoanId = grant.loan_id;
    let approved = store::loan::lock(conn, loan_id).await?.ok_or(Error::Stored("subsidy_grant.loan_id"))?;
    let budgets = store::grant::budgets_of(conn, loan_id).await?;
    Ok((Till::lock(conn, desk, &budgets, now).await?, approved))
}

//! The loss of a loan in default: split at once, claimed by the lender after the waiting period, reviewed and paid by different
//! persons, and what comes back later shared in the same proportions.

use std::collections::BTreeSet;

use jiff::{Timestamp, civil::Date};
use sqlx::PgConnection;
use zhirong_kernel::{
    Fen,
    clock::business_date,
    id::{CompensationId, InstitutionId, LoanId},
};
use zhirong_proto::{
    Fact,
    matching::v1::RiskBearer,
    subsidy::v1::{CompensationDecided, CompensationOpened, CompensationPaid, CompensationRecovered, Evidence},
};
use zhirong_runtime::outbox::{self, Aggregate};

use super::{Desk, queue, till::Till};
use crate::{
    budget::Reason,
    entitlement,
    error::Error,
    loss::{self, Bearer},
    policy::Benefit,
    store::{
        self,
        budget::{Owner, Paper},
        compensation::{Compensation, State},
        loan::Approved,
    },
    wire,
};

/// Why a compensation can't take a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such compensation, or it is another's.
    #[error("there is no compensation {0}")]
    NotFound(CompensationId),
    /// It is too early.
    #[error("the loss can be claimed from {0} on")]
    WaitingPeriod(Date),
    /// It was claimed or decided.
    #[error("the compensation was claimed already, or is decided")]
    NotOpen,
    /// It does not wait for its review.
    #[error("the compensation does not wait for a review")]
    NotClaimed,
    /// No policy has a pool for it, and it was opened before the pool's part went to the lender then.
    #[error("the shares name a policy pool, and no policy with a pool fitted the loan at its approval")]
    NoPoolPolicy,
    /// It was not approved.
    #[error("the compensation was not approved, or is paid")]
    NotApproved,
    /// It was paid.
    #[error("this part was paid already")]
    PartPaid,
    /// It is another's part, or the lender's own.
    #[error("this part is not yours to pay")]
    NotYourPart,
    /// Nobody pays what they approved.
    #[error("the pool's part is paid by another person than who approved it")]
    SamePerson,
}

/// Opens the compensation of a loan in default, if its risk is shared. `owed` is principal and interest. Whether a pool bears a
/// part is judged by what was known at the approval.
///
/// # Errors
/// [`Error::BrokenFact`] when the agreed shares can't be shared.
pub async fn open(
    conn: &mut PgConnection,
    desk: &Desk,
    approved: &Approved,
    defaulted_on: Date,
    owed: (Fen, Fen),
    now: Timestamp,
) -> Result<(), Error> {
    let loan = &approved.loan;
    let Some(shares) = shares(approved)? else { return Ok(()) };
    let published = desk.book.published(conn).await?;
    let policy = if names_pool(&shares) {
        let history = store::lpr::load(conn).await?;
        let id = loan.loan_id.uuid();
        let features = store::known::of_loans(conn, &[id]).await?.remove(&id);
        entitlement::pool(&published, history.as_ref(), loan, features.as_ref())?
    } else {
        None
    };
    let waiting_days = match policy.map(|policy| policy.spec.benefit) {
        Some(Benefit::RiskCompensation { waiting_days, .. }) => waiting_days,
        _ => 0,
    };
    let pool = policy.and_then(|policy| policy.spec.pool());
    let broken = |error: loss::Error| Error::BrokenFact(format!("loan {}: {error}", loan.loan_id));
    let loss = loss::lost(owed, pool).map_err(broken)?;
    let parts = loss::parts(owed, &shares, pool, loan.institution_id.as_str()).map_err(broken)?;
    let claimable_from = loss::claimable_from(defaulted_on, waiting_days)
        .ok_or_else(|| Error::BrokenFact(format!("loan {}: the day of the default is out of range", loan.loan_id)))?;
    let new = Compensation {
        compensation_id: CompensationId::new(desk.ids.next()),
        loan_id: loan.loan_id,
        enterprise_id: loan.enterprise_id.clone(),
        institution_id: loan.institution_id.to_string(),
        policy: policy.map(|policy| (policy.policy_id, policy.version)),
        budget_year: i32::from(defaulted_on.year()),
        state: State::Open,
        loss,
        recovered: Fen::ZERO,
        defaulted_on,
        claimable_from,
        evidence: Vec::new(),
        reviewed_by: None,
        review_zh: String::new(),
        calculation_zh: crate::explain::loss(owed, loss, &parts, pool),
        parts,
        budget_id: None,
        pool_reserved: Fen::ZERO,
        pool_paid: Fen::ZERO,
        pool_owed: Fen::ZERO,
        version: 1,
        opened_at: Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now),
    };
    store::compensation::insert(conn, &new).await?;
    tell(conn, &new, &CompensationOpened { compensation: Some(wire::compensation(&new)) }, now).await
}

/// Whether a pool bears a share.
#[must_use]
pub fn names_pool(shares: &[loss::Agreed]) -> bool {
    shares.iter().any(|(bearer, ..)| *bearer == Bearer::PolicyPool)
}

/// Who bears which share, as agreed; none when the lender alone stands for the loan.
///
/// # Errors
/// [`Error::BrokenFact`] when a share names nobody.
pub fn shares(approved: &Approved) -> Result<Option<Vec<loss::Agreed>>, Error> {
    let Some(guarantee) = &approved.guarantee else { return Ok(None) };
    if guarantee.risk_shares.is_empty() {
        let all = (Bearer::Guarantor, guarantee.guarantor_institution_id.clone(), zhirong_kernel::rate::WHOLE);
        return Ok(Some(vec![all]));
    }
    let known = guarantee.risk_shares.iter().map(|share| {
        let bearer = match share.bearer() {
            RiskBearer::PolicyPool => Bearer::PolicyPool,
            RiskBearer::Guarantor => Bearer::Guarantor,
            RiskBearer::Insurer => Bearer::Insurer,
            RiskBearer::Lender => Bearer::Lender,
            RiskBearer::Unspecified => {
                return Err(Error::BrokenFact(format!("loan {}: a share names nobody", approved.loan.loan_id)));
            }
        };
        Ok((bearer, share.institution_id.clone(), share.share_ppm))
    });
    known.collect::<Result<Vec<_>, _>>().map(Some)
}

/// The lender claims the loss.
///
/// # Errors
/// [`Refusal`].
pub async fn claim(
    conn: &mut PgConnection,
    id: CompensationId,
    lender: &InstitutionId,
    evidence: Vec<Evidence>,
    now: Timestamp,
) -> Result<Compensation, Error> {
    let mut found = lock(conn, id).await?;
    if found.institution_id != lender.as_str() {
        return Err(Refusal::NotFound(id).into());
    }
    if !matches!(found.state, State::Open | State::Refused) {
        return Err(Refusal::NotOpen.into());
    }
    if business_date(now) < found.claimable_from {
        return Err(Refusal::WaitingPeriod(found.claimable_from).into());
    }
    found.evidence = evidence;
    found.state = State::Claimed;
    save(conn, &mut found).await?;
    Ok(found)
}

/// The claim is approved, which sets the pool's part aside, or refused.
///
/// # Errors
/// [`Refusal`]; [`Error::Budget`] when the pool has not enough.
pub async fn review(
    conn: &mut PgConnection,
    desk: &Desk,
    id: CompensationId,
    (approve, by, reason_zh): (bool, &str, &str),
    now: Timestamp,
) -> Result<Compensation, Error> {
    let mut found = lock(conn, id).await?;
    if found.state != State::Claimed {
        return Err(Refusal::NotClaimed.into());
    }
    found.reviewed_by = Some(by.to_owned());
    reason_zh.clone_into(&mut found.review_zh);
    found.state = if approve { State::Approved } else { State::Refused };
    let pool = pool_net(&found)?;
    if approve && pool.is_positive() {
        let (policy, _) = found.policy.ok_or(Refusal::NoPoolPolicy)?;
        let wanted = BTreeSet::from([(policy, found.budget_year)]);
        let mut till = Till::lock_years(conn, desk, &wanted, &[], now).await?;
        let budget = till.of(policy, found.budget_year)?.budget_id;
        for reason in [Reason::Reserve, Reason::Accrue, Reason::FallDue] {
            till.post(budget, reason, pool, Owner::Compensation(id), None)?;
        }
        found.budget_id = Some(budget);
        found.pool_reserved = pool;
        till.close(conn).await?;
    }
    close_when_paid(&mut found);
    save(conn, &mut found).await?;
    tell(conn, &found, &CompensationDecided { compensation: Some(wire::compensation(&found)) }, now).await?;
    Ok(found)
}

/// Who records a payment.
#[derive(Debug, Clone, Copy)]
pub enum Payer<'a> {
    /// A member of the staff, for the pool.
    Staff(&'a str),
    /// An institution, for itself.
    Institution(&'a InstitutionId),
}

/// A party has paid its part.
///
/// # Errors
/// [`Refusal`].
pub async fn pay(
    conn: &mut PgConnection,
    desk: &Desk,
    (id, place): (CompensationId, usize),
    (payer, paid_on): (Payer<'_>, Date),
    now: Timestamp,
) -> Result<Compensation, Error> {
    let mut found = lock(conn, id).await?;
    let reviewed_by = found.reviewed_by.clone();
    let part = found.parts.get_mut(place).ok_or(Refusal::NotYourPart)?;
    match payer {
        Payer::Institution(institution)
            if part.bearer != Bearer::Lender && part.institution_id == institution.as_str() => {}
        Payer::Staff(person) if part.bearer == Bearer::PolicyPool => {
            if reviewed_by.as_deref() == Some(person) {
                return Err(Refusal::SamePerson.into());
            }
        }
        _ => return Err(Refusal::NotYourPart.into()),
    }
    if part.paid_on.is_some() {
        return Err(Refusal::PartPaid.into());
    }
    if found.state != State::Approved {
        return Err(Refusal::NotApproved.into());
    }
    part.paid_on = Some(paid_on);
    let (net, bearer) = (part.net()?, part.bearer);
    if bearer == Bearer::PolicyPool {
        pay_from_pool(conn, desk, &mut found, now).await?;
    }
    close_when_paid(&mut found);
    save(conn, &mut found).await?;
    let fact = CompensationPaid {
        compensation: Some(wire::compensation(&found)),
        part: i32::try_from(place).unwrap_or(i32::MAX),
        amount_fen: net.get(),
    };
    tell(conn, &found, &fact, now).await?;
    Ok(found)
}

/// The pool pays what is left after recoveries; the rest is free again.
async fn pay_from_pool(
    conn: &mut PgConnection,
    desk: &Desk,
    found: &mut Compensation,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(budget) = found.budget_id else { return Ok(()) };
    let net = pool_net(found)?;
    let owner = Owner::Compensation(found.compensation_id);
    let mut till = Till::lock(conn, desk, &[budget], now).await?;
    let spare = found.pool_reserved.checked_sub(net)?;
    if spare.is_positive() {
        for reason in [Reason::Undue, Reason::Unaccrue, Reason::Release] {
            till.post(budget, reason, spare, owner, None)?;
        }
    }
    if net.is_positive() {
        till.post(budget, Reason::Pay, net, owner, None)?;
    }
    found.pool_reserved = Fen::ZERO;
    found.pool_paid = net;
    queue::serve_all(conn, &mut till).await?;
    till.close(conn).await
}

/// Something came back on the loan.
///
/// # Errors
/// [`Error`].
pub async fn recover(
    conn: &mut PgConnection,
    desk: &Desk,
    loan: LoanId,
    amount: Fen,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(mut found) = store::compensation::lock_of_loan(conn, loan).await? else { return Ok(()) };
    let before = pool_recovered(&found)?;
    loss::recover(&mut found.parts, found.recovered, amount).map_err(|_| Error::Stored("compensation_part"))?;
    found.recovered = found.recovered.checked_add(amount)?;
    let owed = pool_recovered(&found)?.checked_sub(before)?;
    let paid = found.parts.iter().any(|part| part.bearer == Bearer::PolicyPool && part.paid_on.is_some());
    if let Some(budget) = found.budget_id.filter(|_| paid && owed.is_positive()) {
        let mut till = Till::lock(conn, desk, &[budget], now).await?;
        till.post(budget, Reason::ClawBack, owed, Owner::Compensation(found.compensation_id), None)?;
        found.pool_paid = found.pool_paid.checked_sub(owed)?;
        found.pool_owed = found.pool_owed.checked_add(owed)?;
        till.close(conn).await?;
    }
    save(conn, &mut found).await?;
    let fact = CompensationRecovered { compensation: Some(wire::compensation(&found)), recovered_fen: amount.get() };
    tell(conn, &found, &fact, now).await
}

/// The pool's part of a recovery has come back to the budget.
///
/// # Errors
/// [`Error::MoreThanClaimed`].
pub async fn returned(
    conn: &mut PgConnection,
    desk: &Desk,
    id: CompensationId,
    (amount, paper): (Fen, Paper),
    now: Timestamp,
) -> Result<Compensation, Error> {
    let mut found = lock(conn, id).await?;
    let budget = found.budget_id.filter(|_| amount <= found.pool_owed);
    let Some(budget) = budget else {
        return Err(Error::MoreThanClaimed { returned: amount, claimed: found.pool_owed });
    };
    let mut till = Till::lock(conn, desk, &[budget], now).await?;
    till.post(budget, Reason::Return, amount, Owner::Compensation(id), Some(paper))?;
    found.pool_owed = found.pool_owed.checked_sub(amount)?;
    queue::serve_all(conn, &mut till).await?;
    till.close(conn).await?;
    save(conn, &mut found).await?;
    Ok(found)
}

fn pool_net(found: &Compensation) -> Result<Fen, Error> {
    let pool = found.parts.iter().filter(|part| part.bearer == Bearer::PolicyPool);
    let nets = pool.map(loss::Part::net).collect::<Result<Vec<_>, _>>()?;
    Ok(Fen::sum(nets)?)
}

fn pool_recovered(found: &Compensation) -> Result<Fen, Error> {
    let pool = found.parts.iter().filter(|part| part.bearer == Bearer::PolicyPool);
    Ok(Fen::sum(pool.map(|part| part.recovered))?)
}

/// The lender's own part is never paid, and nobody pays nothing.
fn close_when_paid(found: &mut Compensation) {
    let done = |part: &loss::Part| part.bearer == Bearer::Lender || part.paid_on.is_some() || part.amount == Fen::ZERO;
    if found.state == State::Approved && found.parts.iter().all(done) {
        found.state = State::Paid;
    }
}

async fn lock(conn: &mut PgConnection, id: CompensationId) -> Result<Compensation, Error> {
    store::compensation::lock(conn, id).await?.ok_or_else(|| Refusal::NotFound(id).into())
}

async fn save(conn: &mut PgConnection, found: &mut Compensation) -> Result<(), Error> {
    let loaded = found.version;
    found.version = loaded.saturating_add(1);
    store::compensation::update(conn, found, loaded).await
}

async fn tell<F: Fact>(conn: &mut PgConnection, found: &Compensation, fact: &F, now: Timestamp) -> Result<(), Error> {
    let key = found.compensation_id.to_string();
    let aggregate = Aggregate { kind: "compensation", id: &key, version: found.version };
    outbox::append(conn, aggregate, &key, fact, now).await?;
    Ok(())
}

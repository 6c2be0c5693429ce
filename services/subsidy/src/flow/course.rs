//! What happens to a loan after its approval, and what it means for its grants: everything is computed anew from the events.

use std::collections::HashMap;

use jiff::{Timestamp, civil::Date};
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{Fen, clock::business_date, id::LoanId};
use zhirong_proto::subsidy::v1::{GrantAccrued, GrantActivated, GrantQueued, GrantReversed};

use super::{Desk, compensation, queue, till::Till};
use crate::{
    error::Error,
    explain::{self, Figures},
    grant::{Grant, State, Target},
    life::{self, Event, Standing, Terms, What},
    plan::{self, Basis},
    sharing::{self, Claim},
    store::{self, loan::Approved},
    wire,
};

/// A fact about a loan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Happened {
    /// The loan.
    pub loan_id: LoanId,
    /// Its version after it.
    pub version: i64,
    /// What.
    pub event: Event,
}

/// Applies a fact; one that was applied before changes nothing, one that comes before its predecessor waits.
///
/// # Errors
/// [`Error::Early`], [`Error::BrokenFact`].
pub async fn happen(conn: &mut PgConnection, desk: &Desk, fact: &Happened, now: Timestamp) -> Result<(), Error> {
    let Some(approved) = store::loan::lock(conn, fact.loan_id).await? else {
        return Err(Error::Early(format!("the approval of loan {} has not arrived", fact.loan_id)));
    };
    let known = approved.loan.version;
    if fact.version <= known {
        return Ok(());
    }
    if fact.version != known.saturating_add(1) {
        let reason = format!("loan {} is at version {known}; version {} is too early", fact.loan_id, fact.version);
        return Err(Error::Early(reason));
    }
    if let What::Disbursed { amount, .. } = fact.event.what
        && amount > approved.loan.amount
    {
        let reason =
            format!("loan {}: {amount} was paid out, more than the approved {}", fact.loan_id, approved.loan.amount);
        return Err(Error::BrokenFact(reason));
    }
    store::loan::happen(conn, fact.loan_id, fact.version, &fact.event).await?;
    match fact.event.what {
        What::Defaulted { principal, interest } => {
            compensation::open(conn, desk, &approved, fact.event.on, (principal, interest), now).await?;
        }
        What::Recovered { amount } => return compensation::recover(conn, desk, fact.loan_id, amount, now).await,
        _ => {}
    }
    let budgets = store::grant::budgets_of(conn, fact.loan_id).await?;
    if budgets.is_empty() {
        return Ok(());
    }
    let mut till = Till::lock(conn, desk, &budgets, now).await?;
    recompute(conn, &mut till, &[approved], Voice::Aloud).await?;
    queue::serve_all(conn, &mut till).await?;
    till.close(conn).await
}

/// Whether changes are told as facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// They are.
    Aloud,
    /// Merely days have passed.
    Quiet,
}

/// Brings the grants of locked loans to what the events say. Their budgets are locked in the till.
///
/// # Errors
/// When an amount can't be computed; [`Error::Database`].
pub async fn recompute(
    conn: &mut PgConnection,
    till: &mut Till<'_>,
    loans: &[Approved],
    voice: Voice,
) -> Result<(), Error> {
    let ids: Vec<Uuid> = loans.iter().map(|approved| approved.loan.loan_id.uuid()).collect();
    let mut events = store::loan::events(conn, &ids).await?;
    let day = business_date(till.now());
    for approved in loans {
        let events = events.remove(&approved.loan.loan_id.uuid()).unwrap_or_default();
        let mut grants = store::grant::lock_of_loan(conn, approved.loan.loan_id).await?;
        narrow(conn, till.desk(), &mut grants).await?;
        let rooms = grants.iter().map(|grant| room(till, grant)).collect::<Result<Vec<_>, _>>()?;
        let standings = standings(conn, till.desk(), approved, (&grants, &rooms), &events, day).await?;
        for grant in &mut grants {
            if let Some(standing) = standings.get(&grant.grant_id.uuid()) {
                follow(conn, till, approved, grant, standing, voice).await?;
            }
        }
    }
    Ok(())
}

/// What a grant is due already, and the most that it can come to be due.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Due already, paid or not.
    pub had: Fen,
    /// At most.
    pub most: Fen,
    /// Whether that is what its budget has, which may be less than it needs.
    pub is_of_budget: bool,
}

impl Room {
    /// The room of a grant that is to keep what it is due, and to get no more.
    ///
    /// # Errors
    /// When a sum does not fit.
    pub fn kept(grant: &Grant) -> Result<Self, Error> {
        let due = if grant.state == State::Reversed { Fen::ZERO } else { grant.due()? };
        Ok(Self { had: due, most: due, is_of_budget: false })
    }
}

/// The room of a grant whose budget is locked.
///
/// # Errors
/// When a sum does not fit.
pub fn room(till: &Till<'_>, grant: &Grant) -> Result<Room, Error> {
    if matches!(grant.state, State::Waiting | State::Reversed) {
        return Ok(Room { had: Fen::ZERO, most: Fen::ZERO, is_of_budget: false });
    }
    let most = grant.money.held()?.checked_add(till.budget(grant.budget_id)?.available)?;
    Ok(Room { had: grant.due()?, most, is_of_budget: true })
}

/// Lets no grant grow beyond what its enterprise may get of the year's budget beside its other grants there. The budgets are
/// locked. Where a grant is there already it stays.
///
/// # Errors
/// [`Error::Database`].
pub async fn narrow(conn: &mut PgConnection, desk: &Desk, grants: &mut [Grant]) -> Result<(), Error> {
    for grant in grants.iter_mut().filter(|grant| grant.state != State::Reversed) {
        let spec = desk.book.spec(conn, grant.policy_id, grant.policy_version).await?;
        let Some(yearly) = spec.cap_per_enterprise_year else { continue };
        let enterprise = [grant.enterprise_id.to_string()];
        let all = store::grant::of_enterprises(conn, &[grant.budget_id], &enterprise).await?;
        let all = Fen::sum(all.iter().map(|(.., planned)| Fen::new(*planned)))?;
        let beside = all.checked_sub(grant.planned)?;
        grant.cap = grant.cap.min(yearly.checked_sub(beside)?.max(grant.planned));
    }
    Ok(())
}

/// Where each grant of a loan stands at the beginning of a day; nothing before the loan is paid out. The grants come with their
/// rooms in the order in which they take of the loan's rate, and in that order they use the interest that was paid.
///
/// # Errors
/// When an amount can't be computed; [`Error::Database`].
pub async fn standings(
    conn: &mut PgConnection,
    desk: &Desk,
    approved: &Approved,
    (grants, rooms): (&[Grant], &[Room]),
    events: &[Event],
    day: Date,
) -> Result<HashMap<Uuid, Standing>, Error> {
    let mut claims = Vec::with_capacity(grants.len());
    for (grant, room) in grants.iter().zip(rooms) {
        let spec = desk.book.spec(conn, grant.policy_id, grant.policy_version).await?;
        let offered = plan::offered_rate(spec.benefit, grant.lpr, approved.loan.rate)?;
        let terms = Terms::new(&spec, offered, grant.taken, grant.cap, approved.loan.guarantee_fee);
        let Room { had, most, .. } = *room;
        // What is due of a fee rests on no interest.
        let had = if terms.rests_on_interest() { had } else { Fen::ZERO };
        claims.push(Claim { terms, had, most, waits: grant.state == State::Waiting });
    }
    let due = sharing::due(&claims, events, day)?;
    let mut found = HashMap::new();
    for (place, (grant, (claim, due_now))) in grants.iter().zip(claims.iter().zip(&due)).enumerate() {
        let Some(mut standing) = life::standing(&claim.terms, events, day, *due_now)? else { continue };
        let held_back = *due_now >= claim.most && rooms.get(place).is_some_and(|room| room.is_of_budget);
        if standing.ended && held_back {
            // Its loan has ended, and it would be due more if its budget had it.
            standing.planned = standing.planned.max(sharing::hoped(&claims, &due, place, events, day)?);
        }
        found.insert(grant.grant_id.uuid(), standing);
    }
    Ok(found)
}

/// Brings one grant of a locked loan, its budget locked in the till, to where it stands.
///
/// # Errors
/// When an amount can't be computed; [`Error::Database`].
pub async fn follow(
    conn: &mut PgConnection,
    till: &mut Till<'_>,
    approved: &Approved,
    grant: &mut Grant,
    standing: &Standing,
    voice: Voice,
) -> Result<(), Error> {
    let before = grant.clone();
    let loaded = grant.version;
    let waiting = grant.state == State::Waiting;
    grant.follow(standing, business_date(till.now()));
    if !(waiting && grant.state == State::Waiting) {
        let target = if grant.state == State::Reversed { Target::NOTHING } else { Target::from(standing) };
        let on_its_way = store::grant::on_its_way(conn, grant.grant_id).await?;
        till.bring(grant, target, on_its_way)?;
    }
    if !before.disbursed {
        let (text, amount) = recalculated(conn, till, approved, grant, standing).await?;
        (grant.calculation_zh, grant.explained) = (text, Some(amount));
    }
    let unchanged = Grant { accrued_until: grant.accrued_until, ..before.clone() } == *grant;
    grant.changed();
    store::grant::update(conn, grant, loaded).await?;
    if grant.short && !before.short {
        till.exhausted(grant.budget_id);
    }
    let claimed = grant.money.clawed_back.checked_sub(before.money.clawed_back)?;
    // Whoever must pay something back is told, also where the rest goes without saying.
    if (voice == Voice::Quiet && !claimed.is_positive()) || unchanged {
        return Ok(());
    }
    let wire = Some(wire::grant(grant));
    if claimed.is_positive() {
        let reason_zh = if grant.state == State::Reversed {
            "贴息已撤销，其后到账的款项应退回"
        } else {
            "贷款情况变化，已付贴息超出应付部分应退回"
        };
        till.tell(grant, &GrantReversed { grant: wire, claimed_fen: claimed.get(), reason_zh: reason_zh.to_owned() })?;
    } else if grant.state == State::Waiting {
        till.tell(grant, &GrantQueued { grant: wire })?;
    } else if !before.disbursed {
        till.tell(grant, &GrantActivated { grant: wire })?;
    } else {
        let earned = |grant: &Grant| Fen::sum([grant.money.accrued, grant.money.payable, grant.money.paid]);
        let fact = GrantAccrued {
            grant: wire,
            earned_change_fen: earned(grant)?.checked_sub(earned(&before)?)?.get(),
            payable_change_fen: grant.due()?.checked_sub(before.due()?)?.get(),
        };
        till.tell(grant, &fact)?;
    }
    Ok(())
}

/// The explanation on the real principal and dates, with the amount that it comes to.
async fn recalculated(
    conn: &mut PgConnection,
    till: &Till<'_>,
    approved: &Approved,
    grant: &Grant,
    standing: &Standing,
) -> Result<(String, Fen), Error> {
    let spec = till.desk().book.spec(conn, grant.policy_id, grant.policy_version).await?;
    let loan = &approved.loan;
    let events = store::loan::events(conn, &[loan.loan_id.uuid()]).await?;
    let paid_out = events.values().flatten().find_map(|event| match event.what {
        What::Disbursed { amount, .. } => Some(amount),
        _ => None,
    });
    let principal = paid_out.unwrap_or(loan.amount);
    let basis = Basis {
        principal,
        from: standing.from,
        term_months: loan.term_months,
        fee: loan.guarantee_fee,
        fee_taken: grant.taken,
    };
    let plan = plan::plan(&spec, grant.rate, grant.cap, basis)?;
    let figures = Figures {
        principal,
        disbursed: true,
        lpr: grant.lpr,
        lpr_year: business_date(grant.approved_at).year().saturating_sub(1),
        fee: loan.guarantee_fee,
    };
    Ok((explain::calculation(&spec, &plan, figures), plan.amount))
}

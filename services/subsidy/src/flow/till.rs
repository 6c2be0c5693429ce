//! Locked budgets and everything that one transaction does with their money: movements and facts are collected and written
//! together at the end.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{Fen, id::PolicyId};
use zhirong_proto::{
    Fact,
    subsidy::v1::{BudgetAppropriated, BudgetExhausted, BudgetFreed, BudgetLow, BudgetSpent},
};
use zhirong_runtime::outbox::{self, Aggregate, Prepared};

use super::Desk;
use crate::{
    budget::{Budget, Entry, Reason},
    error::Error,
    grant::{Grant, Target, rebalance},
    store::{
        self,
        budget::{Owner, Paper, Posting},
    },
    wire,
};

/// What is told of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Exhausted,
    Appropriated,
    Low,
    Spent,
    Freed,
}

/// See the module.
pub struct Till<'a> {
    desk: &'a Desk,
    now: Timestamp,
    budgets: BTreeMap<Uuid, Budget>,
    postings: Vec<Posting>,
    events: Vec<Prepared>,
    about: Vec<(Uuid, About)>,
    touched: BTreeSet<Uuid>,
    /// Whether it was seen under the lock that nobody waits.
    nobody_waits: bool,
}

impl<'a> Till<'a> {
    fn new(desk: &'a Desk, budgets: Vec<Budget>, now: Timestamp) -> Self {
        let budgets = budgets.into_iter().map(|budget| (budget.budget_id, budget)).collect();
        let (postings, events, about) = (Vec::new(), Vec::new(), Vec::new());
        Self { desk, now, budgets, postings, events, about, touched: BTreeSet::new(), nobody_waits: false }
    }

    /// Locks budgets by id.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn lock(
        conn: &mut PgConnection,
        desk: &'a Desk,
        budgets: &[Uuid],
        now: Timestamp,
    ) -> Result<Self, Error> {
        Ok(Self::new(desk, store::budget::lock_some(conn, budgets).await?, now))
    }

    /// Locks the budgets of policies for their years, making those that are missing, and with them those `beside` that the
    /// transaction needs later.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn lock_years(
        conn: &mut PgConnection,
        desk: &'a Desk,
        wanted: &BTreeSet<(PolicyId, i32)>,
        beside: &[Uuid],
        now: Timestamp,
    ) -> Result<Self, Error> {
        let pairs: Vec<_> = wanted.iter().copied().collect();
        let new_ids: Vec<Uuid> = pairs.iter().map(|_| desk.ids.next()).collect();
        let mut locked = store::budget::lock_all(conn, &pairs, &new_ids, beside).await?;
        locked.retain(|budget| wanted.contains(&(budget.policy_id, budget.year)));
        Ok(Self::new(desk, locked, now))
    }

    /// The budgets of policies for their years as they stand, not locked: what is decided on them holds when
    /// [`Till::lock_foreseen`] says so. None when one is missing, or somebody waits: then nothing can be foreseen.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn foresee(
        conn: &mut PgConnection,
        desk: &'a Desk,
        wanted: &BTreeSet<(PolicyId, i32)>,
        now: Timestamp,
    ) -> Result<Option<Self>, Error> {
        let wanted: Vec<_> = wanted.iter().copied().collect();
        let budgets = store::budget::look_at(conn, &wanted).await?;
        let ids: Vec<Uuid> = budgets.iter().map(|budget| budget.budget_id).collect();
        let foreseeable = budgets.len() == wanted.len() && store::queue::heads(conn, &ids).await?.is_empty();
        Ok(foreseeable.then(|| Self::new(desk, budgets, now)))
    }

    /// Locks the budgets that were only looked at, with those `beside` that the transaction needs later, and moves the money
    /// on what they hold now. False, and the transaction is to be rolled back, when nobody may say any more that each had
    /// `needed`, or somebody waits.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn lock_foreseen(
        &mut self,
        conn: &mut PgConnection,
        needed: &BTreeMap<Uuid, Fen>,
        beside: &[Uuid],
    ) -> Result<bool, Error> {
        let ids: Vec<Uuid> = self.budgets.keys().copied().collect();
        let locked = store::budget::lock_some(conn, &[&ids, beside].concat()).await?;
        for budget in locked {
            self.budgets.entry(budget.budget_id).and_modify(|looked_at| *looked_at = budget);
        }
        for (budget_id, needed) in needed {
            if self.budget(*budget_id)?.available < *needed {
                return Ok(false);
            }
        }
        if !store::queue::heads(conn, &ids).await?.is_empty() {
            return Ok(false);
        }
        for posting in &self.postings {
            let budget = self.budgets.get_mut(&posting.budget_id).ok_or(Error::Stored("budget.budget_id"))?;
            move_money(budget, posting.entry.reason, posting.entry.amount)?;
        }
        self.nobody_waits = true;
        Ok(true)
    }

    /// The instant of the transaction.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The desk.
    #[must_use]
    pub const fn desk(&self) -> &'a Desk {
        self.desk
    }

    /// The locked budgets.
    pub fn budgets(&self) -> impl Iterator<Item = &Budget> {
        self.budgets.values()
    }

    /// A locked budget.
    ///
    /// # Errors
    /// [`Error::Stored`] when it is not locked here.
    pub fn budget(&self, budget_id: Uuid) -> Result<&Budget, Error> {
        self.budgets.get(&budget_id).ok_or(Error::Stored("budget.budget_id"))
    }

    /// The budget of a policy for a year.
    ///
    /// # Errors
    /// [`Error::Stored`] when it is not locked here.
    pub fn of(&self, policy: PolicyId, year: i32) -> Result<&Budget, Error> {
        let mut all = self.budgets.values();
        all.find(|budget| budget.policy_id == policy && budget.year == year).ok_or(Error::Stored("budget.policy_id"))
    }

    /// Moves money.
    ///
    /// # Errors
    /// [`Error::Budget`].
    pub fn post(
        &mut self,
        budget_id: Uuid,
        reason: Reason,
        amount: Fen,
        owner: Owner,
        paper: Option<Paper>,
    ) -> Result<(), Error> {
        let budget = self.budgets.get_mut(&budget_id).ok_or(Error::Stored("budget.budget_id"))?;
        let entry = move_money(budget, reason, amount)?;
        let transaction_id = self.desk.ids.next();
        self.postings.push(Posting { transaction_id, budget_id, entry, owner, paper });
        self.touched.insert(budget_id);
        Ok(())
    }

    /// Brings the money of a grant to its target, as far as the budget has it; says whether it had not enough.
    ///
    /// # Errors
    /// [`Error::Budget`]; when a sum does not fit.
    pub fn bring(&mut self, grant: &mut Grant, target: Target, on_its_way: Fen) -> Result<bool, Error> {
        let available = self.budget(grant.budget_id)?.available;
        let change = rebalance(grant.money, target, on_its_way, available)?;
        for (reason, amount) in change.moves {
            self.post(grant.budget_id, reason, amount, Owner::Grant(grant.grant_id), None)?;
        }
        grant.hold(change.money)?;
        grant.short = change.short;
        Ok(change.short)
    }

    /// Tells a fact about a grant; its version must be a new one.
    ///
    /// # Errors
    /// [`Error::Runtime`].
    pub fn tell<F: Fact>(&mut self, grant: &Grant, fact: &F) -> Result<(), Error> {
        let key = grant.grant_id.to_string();
        self.tell_of(Aggregate { kind: "grant", id: &key, version: grant.version }, &key, fact)
    }

    /// Tells a fact about something else.
    ///
    /// # Errors
    /// [`Error::Runtime`].
    pub fn tell_of<F: Fact>(&mut self, aggregate: Aggregate<'_>, key: &str, fact: &F) -> Result<(), Error> {
        self.events.push(Prepared::new(aggregate, key, fact, self.now)?);
        Ok(())
    }

    /// Tells that a budget could not serve somebody in full.
    pub fn exhausted(&mut self, budget_id: Uuid) {
        self.about.push((budget_id, About::Exhausted));
    }

    /// Tells that the treasury has given money.
    pub fn appropriated(&mut self, budget_id: Uuid) {
        self.about.push((budget_id, About::Appropriated));
    }

    /// Writes the facts that were told so far; [`Till::close`] writes the rest.
    ///
    /// # Errors
    /// [`Error::Runtime`].
    pub async fn write_facts(&mut self, conn: &mut PgConnection) -> Result<(), Error> {
        outbox::append_all(conn, &std::mem::take(&mut self.events)).await?;
        Ok(())
    }

    /// Writes everything, after the grants.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Runtime`].
    pub async fn close(self, conn: &mut PgConnection) -> Result<(), Error> {
        self.close_with_budgets(conn).await.map(drop)
    }

    /// As [`Till::close`]; gives the budgets as they are then.
    ///
    /// # Errors
    /// As [`Till::close`].
    pub async fn close_with_budgets(mut self, conn: &mut PgConnection) -> Result<BTreeMap<Uuid, Budget>, Error> {
        store::budget::post_all(conn, &self.postings, self.now).await?;
        let waited_at = self.waited_at(conn).await?;
        let mut touched = std::mem::take(&mut self.touched);
        let kept = |budget: &Budget| budget.available.is_positive() && waited_at.contains(&budget.budget_id);
        touched.extend(self.budgets.values().filter(|of| of.kept != kept(of)).map(|of| of.budget_id));
        for budget_id in touched {
            let before = self.budget(budget_id)?;
            let now = Budget {
                low_told: before.is_low().map_err(|_| Error::Stored("budget.appropriated_fen"))?,
                funded_told: before.available.is_positive(),
                kept: kept(before),
                ..before.clone()
            };
            if now != *before {
                store::budget::keep_told(conn, &now).await?;
            }
            for about in worth_telling(before, &now) {
                let told = if about == About::Freed { About::Appropriated } else { about };
                if !self.about.contains(&(budget_id, told)) {
                    self.about.push((budget_id, about));
                }
            }
            self.budgets.insert(budget_id, now);
        }
        self.number_facts(conn).await?;
        self.write_facts(conn).await?;
        Ok(self.budgets)
    }

    /// The budgets at which somebody waits.
    async fn waited_at(&self, conn: &mut PgConnection) -> Result<BTreeSet<Uuid>, Error> {
        if self.nobody_waits {
            return Ok(BTreeSet::new());
        }
        let ids: Vec<Uuid> = self.budgets.keys().copied().collect();
        Ok(store::queue::heads(conn, &ids).await?.into_iter().map(|(budget_id, _)| budget_id).collect())
    }

    /// Facts about a budget count up by one, under its lock. All of a transaction tell the budget as it is in the end, so that
    /// the newest is true.
    async fn number_facts(&mut self, conn: &mut PgConnection) -> Result<(), Error> {
        let mut counts: BTreeMap<Uuid, i64> = BTreeMap::new();
        for (budget_id, _) in &self.about {
            let count = counts.entry(*budget_id).or_default();
            *count = count.saturating_add(1);
        }
        let mut next: BTreeMap<Uuid, i64> = BTreeMap::new();
        for (budget_id, count) in counts {
            let last = store::budget::count_facts(conn, budget_id, count).await?;
            next.insert(budget_id, last.saturating_sub(count));
        }
        for (budget_id, about) in std::mem::take(&mut self.about) {
            let version = next.entry(budget_id).or_default();
            *version = version.saturating_add(1);
            let (version, found) = (*version, self.budget(budget_id)?);
            let key = format!("{}-{}", found.policy_id, found.year);
            let aggregate = Aggregate { kind: "budget", id: &key, version };
            let (threshold_ppm, budget) = (found.low_at.get(), Some(wire::budget(found)));
            match about {
                About::Exhausted => self.tell_of(aggregate, &key, &BudgetExhausted { budget, version })?,
                About::Appropriated => self.tell_of(aggregate, &key, &BudgetAppropriated { budget, version })?,
                About::Low => self.tell_of(aggregate, &key, &BudgetLow { budget, version, threshold_ppm })?,
                About::Spent => self.tell_of(aggregate, &key, &BudgetSpent { budget, version })?,
                About::Freed => self.tell_of(aggregate, &key, &BudgetFreed { budget, version })?,
            }
        }
        Ok(())
    }
}

/// What a change of a budget makes worth telling.
fn worth_telling(before: &Budget, now: &Budget) -> Vec<About> {
    let comes_back = now.funded_told && !now.kept && (before.kept || !before.funded_told);
    let all = [
        (About::Low, now.low_told && !before.low_told),
        (About::Spent, before.funded_told && !now.funded_told),
        (About::Exhausted, now.kept && !before.kept),
        (About::Freed, comes_back),
    ];
    all.into_iter().filter_map(|(about, is_so)| is_so.then_some(about)).collect()
}

/// Tells that the budget of a policy for a year had not enough for what was refused. A refused transaction writes nothing, so that
/// this is one of its own, after it.
///
/// # Errors
/// [`Error::Database`], [`Error::Runtime`].
pub async fn tell_exhausted(
    conn: &mut PgConnection,
    desk: &Desk,
    (policy, year): (PolicyId, i32),
    now: Timestamp,
) -> Result<(), Error> {
    let mut till = Till::lock_years(conn, desk, &BTreeSet::from([(policy, year)]), &[], now).await?;
    let budget_id = till.of(policy, year)?.budget_id;
    till.exhausted(budget_id);
    till.close(conn).await
}

fn move_money(budget: &mut Budget, reason: Reason, amount: Fen) -> Result<Entry, Error> {
    let (policy, year) = (budget.policy_id, budget.year);
    budget.post(reason, amount).map_err(|error| Error::Budget { policy, year, error })
}

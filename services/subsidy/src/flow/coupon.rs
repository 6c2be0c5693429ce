//! Coupons are issued, used and expire.

use std::{collections::HashSet, sync::Arc, time::Duration};

use jiff::{Timestamp, civil::Date};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zhirong_kernel::{Clock, Uscc, clock::business_date, id::CouponId};
use zhirong_proto::{
    Fact,
    subsidy::v1::{CouponExpired, CouponIssued, CouponRedeemed},
};
use zhirong_runtime::outbox::{self, Aggregate, OutboxWake, Prepared};

use super::{Desk, till::Till};
use crate::{
    entitlement::Loan,
    error::Error,
    policy::{Published, Spec},
    store::{
        self,
        coupon::{Coupon, State},
    },
    wire,
};

/// Coupons written or expired with one statement.
const AT_ONCE: usize = 500;
/// Pause between two looks for coupons that have expired.
const PAUSE: Duration = Duration::from_secs(60);

/// What an issue is about.
#[derive(Debug, Clone, Copy)]
pub struct Issue<'a> {
    /// The policy version that pays.
    pub policy: &'a Published,
    /// Last day of use.
    pub valid_until: Date,
    /// Who issues them.
    pub by: &'a str,
    /// When.
    pub now: Timestamp,
}

/// Issues one coupon to each of the group that has none; says how many.
///
/// # Errors
/// [`Error::Database`], [`Error::Runtime`].
pub async fn issue(conn: &mut PgConnection, desk: &Desk, issue: Issue<'_>, group: &[Uscc]) -> Result<usize, Error> {
    let mut issued: usize = 0;
    for some in group.chunks(AT_ONCE) {
        let coupons: Vec<Coupon> = some
            .iter()
            .map(|enterprise| Coupon {
                coupon_id: CouponId::new(desk.ids.next()),
                policy_id: issue.policy.policy_id,
                policy_version: issue.policy.version,
                enterprise_id: enterprise.clone(),
                state: State::Held,
                valid_until: issue.valid_until,
                issued_at: issue.now,
                loan_id: None,
                version: 1,
            })
            .collect();
        let new: HashSet<Uuid> = store::coupon::insert_all(conn, &coupons, issue.by).await?.into_iter().collect();
        let events = coupons
            .iter()
            .filter(|coupon| new.contains(&coupon.coupon_id.uuid()))
            .map(|coupon| {
                let coupon = Some(wire::coupon(coupon, &issue.policy.spec));
                about(coupon.as_ref(), &CouponIssued { coupon: coupon.clone() }, issue.now)
            })
            .collect::<Result<Vec<_>, _>>()?;
        outbox::append_all(conn, &events).await?;
        issued = issued.saturating_add(new.len());
    }
    Ok(issued)
}

/// A coupon is used on a loan: the coupon as it is then; the fact goes with the till.
///
/// # Errors
/// [`Error::Runtime`].
pub fn redeemed(till: &mut Till<'_>, coupon: &Coupon, loan: &Loan) -> Result<Coupon, Error> {
    let version = coupon.version.saturating_add(1);
    let used = Coupon { state: State::Redeemed, loan_id: Some(loan.loan_id), version, ..coupon.clone() };
    let key = used.coupon_id.to_string();
    let fact = CouponRedeemed { coupon: Some(wire::bare_coupon(&used)) };
    till.tell_of(Aggregate { kind: "coupon", id: &key, version }, &key, &fact)?;
    Ok(used)
}

fn about<F: Fact>(
    coupon: Option<&zhirong_proto::subsidy::v1::Coupon>,
    fact: &F,
    now: Timestamp,
) -> Result<Prepared, Error> {
    let (id, version) = coupon.map_or(("", 0), |coupon| (coupon.coupon_id.as_str(), coupon.version));
    Ok(Prepared::new(Aggregate { kind: "coupon", id, version }, id, fact, now)?)
}

/// Expires coupons.
pub struct Expiry {
    /// The database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the relay of events.
    pub outbox: OutboxWake,
}

impl Expiry {
    /// Runs until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            match expire(&self.pool, self.clock.now()).await {
                Ok(0) => {}
                Ok(expired) => {
                    tracing::info!(expired, "coupons were not used in time");
                    self.outbox.notify();
                }
                Err(error) => tracing::warn!(%error, "coupons could not be expired; tried again"),
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

/// Expires what was not used by the day before an instant's business date; says how many.
///
/// # Errors
/// [`Error::Database`], [`Error::Runtime`].
pub async fn expire(pool: &PgPool, now: Timestamp) -> Result<usize, Error> {
    let mut expired: usize = 0;
    loop {
        let mut tx = pool.begin().await?;
        let most = i64::try_from(AT_ONCE).unwrap_or(i64::MAX);
        let some = store::coupon::expire_some(&mut tx, business_date(now), most).await?;
        let events = some
            .iter()
            .map(|coupon| {
                let coupon = Some(wire::bare_coupon(coupon));
                about(coupon.as_ref(), &CouponExpired { coupon: coupon.clone() }, now)
            })
            .collect::<Result<Vec<_>, _>>()?;
        outbox::append_all(&mut tx, &events).await?;
        tx.commit().await?;
        expired = expired.saturating_add(some.len());
        if some.len() < AT_ONCE {
            return Ok(expired);
        }
    }
}

/// Whether a policy gives coupons.
#[must_use]
pub const fn gives_coupons(spec: &Spec) -> bool {
    matches!(spec.benefit, crate::policy::Benefit::RateCoupon(_))
}

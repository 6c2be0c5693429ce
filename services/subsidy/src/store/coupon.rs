//! Coupons.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    Uscc,
    id::{CouponId, LoanId, PolicyId},
};

use crate::{entitlement::Loan, error::Error};

/// Where a coupon stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Can be used.
    Held,
    /// Used.
    Redeemed,
    /// Not used in time.
    Expired,
}

impl State {
    /// As in the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Redeemed => "redeemed",
            Self::Expired => "expired",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Held, Self::Redeemed, Self::Expired].into_iter().find(|state| state.word() == word)
    }
}

/// A coupon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coupon {
    /// The coupon.
    pub coupon_id: CouponId,
    /// The policy that pays.
    pub policy_id: PolicyId,
    /// Its version.
    pub policy_version: i32,
    /// Who holds it.
    pub enterprise_id: Uscc,
    /// Where it stands.
    pub state: State,
    /// Last day of its use.
    pub valid_until: Date,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The loan it was used on.
    pub loan_id: Option<LoanId>,
    /// Counts the changes.
    pub version: i64,
}

impl Coupon {
    /// Whether it may be used on a loan: its holder's, approved in time, also when the news of it comes after the coupon has
    /// expired.
    #[must_use]
    pub fn serves(&self, loan: &Loan) -> bool {
        self.state != State::Redeemed
            && self.enterprise_id == loan.enterprise_id
            && loan.approved_on() <= self.valid_until
    }
}

struct Row {
    coupon_id: Uuid,
    policy_id: Uuid,
    policy_version: i32,
    enterprise_id: String,
    state: String,
    valid_until: jiff_sqlx::Date,
    issued_at: jiff_sqlx::Timestamp,
    loan_id: Option<Uuid>,
    version: i64,
}

impl TryFrom<Row> for Coupon {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            coupon_id: CouponId::new(row.coupon_id),
            policy_id: PolicyId::new(row.policy_id),
            policy_version: row.policy_version,
            enterprise_id: row.enterprise_id.parse().map_err(|_| Error::Stored("coupon.enterprise_id"))?,
            state: State::from_word(&row.state).ok_or(Error::Stored("coupon.state"))?,
            valid_until: row.valid_until.to_jiff(),
            issued_at: row.issued_at.to_jiff(),
            loan_id: row.loan_id.map(LoanId::new),
            version: row.version,
        })
    }
}

macro_rules! coupons {
    ($tail:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT coupon_id, policy_id, policy_version, enterprise_id, state, valid_until AS "valid_until: _",
                      issued_at AS "issued_at: _", loan_id, version
               FROM coupon "# + $tail
            $(, $argument)*
        )
    };
}

/// Locks some coupons, in order of id.
pub async fn lock_some(conn: &mut PgConnection, coupons: &[Uuid]) -> Result<Vec<Coupon>, Error> {
    let rows = coupons!("WHERE coupon_id = ANY($1) ORDER BY coupon_id FOR UPDATE", coupons).fetch_all(conn).await?;
    rows.into_iter().map(Coupon::try_from).collect()
}

/// Keeps new coupons of one policy version; of a group, who has none of the policy. Gives the ids that are new.
pub async fn insert_all(conn: &mut PgConnection, coupons: &[Coupon], by: &str) -> Result<Vec<Uuid>, sqlx::Error> {
    fn each<T>(coupons: &[Coupon], of: impl Fn(&Coupon) -> T) -> Vec<T> {
        coupons.iter().map(of).collect()
    }
    sqlx::query_scalar!(
        "INSERT INTO coupon (coupon_id, policy_id, policy_version, enterprise_id, state, valid_until, issued_at, issued_by, version)
         SELECT n.coupon_id, n.policy_id, n.policy_version, n.enterprise_id, 'held', n.valid_until, n.issued_at, $7, n.version
         FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::date[], $6::timestamptz[], $8::bigint[])
             AS n (coupon_id, policy_id, policy_version, enterprise_id, valid_until, issued_at, version)
         ORDER BY n.enterprise_id
         ON CONFLICT (policy_id, enterprise_id) WHERE state <> 'expired' AND NOT used_late DO NOTHING RETURNING coupon_id",
        &each(coupons, |coupon| coupon.coupon_id.uuid()),
        &each(coupons, |coupon| coupon.policy_id.uuid()),
        &each(coupons, |coupon| coupon.policy_version),
        &each(coupons, |coupon| coupon.enterprise_id.to_string()),
        &each(coupons, |coupon| coupon.valid_until.to_sqlx()) as _,
        &each(coupons, |coupon| coupon.issued_at.to_sqlx()) as _,
        by,
        &each(coupons, |coupon| coupon.version)
    )
    .fetch_all(conn)
    .await
}

/// Keeps the use of locked coupons.
pub async fn redeem_all(conn: &mut PgConnection, coupons: &[Coupon]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = coupons.iter().map(|coupon| coupon.coupon_id.uuid()).collect();
    let loans: Vec<Option<Uuid>> = coupons.iter().map(|coupon| coupon.loan_id.map(LoanId::uuid)).collect();
    sqlx::query!(
        "UPDATE coupon c SET state = 'redeemed', used_late = (c.state = 'expired'), loan_id = n.loan_id, version = c.version + 1
         FROM unnest($1::uuid[], $2::uuid[]) AS n (coupon_id, loan_id) WHERE c.coupon_id = n.coupon_id",
        &ids,
        &loans as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Expires a bounded number of coupons whose last day is before a day; gives them as they are then.
pub async fn expire_some(conn: &mut PgConnection, day: Date, most: i64) -> Result<Vec<Coupon>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"UPDATE coupon SET state = 'expired', version = version + 1
           WHERE coupon_id IN (SELECT coupon_id FROM coupon WHERE state = 'held' AND valid_until < $1
                               ORDER BY coupon_id LIMIT $2 FOR UPDATE SKIP LOCKED)
           RETURNING coupon_id, policy_id, policy_version, enterprise_id, state, valid_until AS "valid_until: _",
                     issued_at AS "issued_at: _", loan_id, version"#,
        day.to_sqlx() as _,
        most
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Coupon::try_from).collect()
}

/// Coupons in order of issue, after a cursor; of one enterprise when given.
pub async fn list(
    conn: &mut PgConnection,
    enterprise: Option<&str>,
    after: Option<(Timestamp, Uuid)>,
    most: i64,
) -> Result<Vec<Coupon>, Error> {
    let (at, id) = after.unzip();
    let rows = coupons!(
        "WHERE ($1::text IS NULL OR enterprise_id = $1)
           AND ($2::timestamptz IS NULL OR (issued_at, coupon_id) > ($2, $3::uuid))
         ORDER BY issued_at, coupon_id LIMIT $4",
        enterprise,
        at.map(|at| at.to_sqlx()) as _,
        id,
        most
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Coupon::try_from).collect()
}

//! Loans and what happened to them, as far as subsidy needs it.

use std::collections::HashMap;

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    Fen, Ppm,
    id::{CouponId, LoanId},
};
use zhirong_proto::matching::v1::Guarantee;

use super::{known::Known, policy::ip_kinds};
use crate::{
    entitlement::Loan,
    error::Error,
    life::{Event, What},
};

/// An approved loan with what is kept beside it.
#[derive(Debug, Clone)]
pub struct Approved {
    /// The loan.
    pub loan: Loan,
    /// Who bears a loss; none when the lender alone stands for it.
    pub guarantee: Option<Guarantee>,
    /// The coupon named in the order.
    pub coupon: Option<CouponId>,
    /// The lender's own reference.
    pub bank_reference: String,
    /// What was known of the borrower when it placed the order, as the approval told it; none in facts of before they told it.
    /// It is kept with the loan, but read by [`super::known::of_loans`] alone: none in a loan that was read again.
    pub features: Option<Known>,
}

/// A new loan and how many policies it fits.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// The loan.
    pub approved: &'a Approved,
    /// How many policies it fits.
    pub fitting: usize,
}

/// Of some loans, those that are known.
pub async fn known(conn: &mut PgConnection, loans: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!("SELECT loan_id FROM loan WHERE loan_id = ANY($1)", loans).fetch_all(conn).await
}

/// Keeps new loans, all in one statement; of what was known of an enterprise that was erased since, nothing. One that another
/// transaction keeps at the same time is a unique violation: that is seldom, because the inbox lets an event through once, and a
/// clause for it would cost half as much as the insert.
pub async fn insert_all(conn: &mut PgConnection, loans: &[Judged<'_>]) -> Result<(), sqlx::Error> {
    let mut columns = Columns::default();
    for judged in loans {
        columns.push(judged);
    }
    sqlx::query!(
        "INSERT INTO loan (loan_id, enterprise_id, institution_id, product_id, product_tags, enterprise_class, amount_fen,
             rate_ppm, term_months, approved_at, fitting_policies, version, ip_kinds, guarantee, coupon_id, bank_reference,
             known, known_version)
         SELECT n.loan_id, n.enterprise_id, n.institution_id, n.product_id, string_to_array(n.tags, chr(31)), n.class, n.amount,
             n.rate, n.months, n.approved_at, n.fitting, n.version, string_to_array(n.ip_kinds, chr(31)), n.guarantee, n.coupon,
             n.reference, CASE WHEN e.enterprise_id IS NULL THEN n.known END,
             CASE WHEN e.enterprise_id IS NULL THEN n.known_version END
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::int[],
                  $10::timestamptz[], $11::int[], $12::bigint[], $13::text[], $14::bytea[], $15::uuid[], $16::text[], $17::bytea[],
                  $18::bigint[])
                  AS n (loan_id, enterprise_id, institution_id, product_id, tags, class, amount, rate, months, approved_at, fitting,
                        version, ip_kinds, guarantee, coupon, reference, known, known_version)
             LEFT JOIN erasure e ON e.enterprise_id = n.enterprise_id AND e.profile_version >= n.known_version
         ORDER BY n.loan_id",
        &columns.loan_id,
        &columns.enterprise_id,
        &columns.institution_id,
        &columns.product_id,
        &columns.tags,
        &columns.class,
        &columns.amount,
        &columns.rate,
        &columns.months,
        &columns.approved_at as _,
        &columns.fitting,
        &columns.version,
        &columns.ip_kinds,
        &columns.guarantee as _,
        &columns.coupon as _,
        &columns.reference,
        &columns.known as _,
        &columns.known_version as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

#[derive(Default)]
struct Columns {
    loan_id: Vec<Uuid>,
    enterprise_id: Vec<String>,
    institution_id: Vec<String>,
    product_id: Vec<Uuid>,
    tags: Vec<String>,
    class: Vec<String>,
    amount: Vec<i64>,
    rate: Vec<i64>,
    months: Vec<i32>,
    approved_at: Vec<jiff_sqlx::Timestamp>,
    fitting: Vec<i32>,
    version: Vec<i64>,
    ip_kinds: Vec<String>,
    guarantee: Vec<Option<Vec<u8>>>,
    coupon: Vec<Option<Uuid>>,
    reference: Vec<String>,
    known: Vec<Option<Vec<u8>>>,
    known_version: Vec<Option<i64>>,
}

impl Columns {
    fn push(&mut self, judged: &Judged<'_>) {
        let Approved { loan, guarantee, coupon, bank_reference, features } = judged.approved;
        self.loan_id.push(loan.loan_id.uuid());
        self.enterprise_id.push(loan.enterprise_id.to_string());
        self.institution_id.push(loan.institution_id.to_string());
        self.product_id.push(loan.product_id.uuid());
        // A tag holds no control character.
        self.tags.push(loan.product_tags.join("\u{1f}"));
        self.class.push(loan.enterprise_class.clone());
        self.amount.push(loan.amount.get());
        self.rate.push(loan.rate.get());
        self.months.push(loan.term_months);
        self.approved_at.push(loan.approved_at.to_sqlx());
        self.fitting.push(i32::try_from(judged.fitting).unwrap_or(i32::MAX));
        self.version.push(loan.version);
        self.ip_kinds.push(loan.ip_kinds.iter().map(|kind| kind.word()).collect::<Vec<_>>().join("\u{1f}"));
        self.guarantee.push(guarantee.as_ref().map(prost::Message::encode_to_vec));
        self.coupon.push(coupon.map(|coupon| coupon.uuid()));
        self.reference.push(bank_reference.clone());
        self.known.push(features.as_ref().map(|known| known.content.clone()));
        self.known_version.push(features.as_ref().map(|known| known.version));
    }
}

struct Row {
    loan_id: Uuid,
    enterprise_id: String,
    institution_id: String,
    product_id: Uuid,
    product_tags: Vec<String>,
    enterprise_class: String,
    amount_fen: i64,
    rate_ppm: i64,
    term_months: i32,
    approved_at: jiff_sqlx::Timestamp,
    ip_kinds: Vec<String>,
    guarantee: Option<Vec<u8>>,
    coupon_id: Option<Uuid>,
    bank_reference: String,
    version: i64,
}

impl TryFrom<Row> for Approved {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let guarantee = row.guarantee.as_deref().map(Guarantee::decode).transpose();
        let guarantee = guarantee.map_err(|_| Error::Stored("loan.guarantee"))?;
        Ok(Self {
            loan: Loan {
                loan_id: LoanId::new(row.loan_id),
                enterprise_id: row.enterprise_id.parse().map_err(|_| Error::Stored("loan.enterprise_id"))?,
                institution_id: row.institution_id.parse().map_err(|_| Error::Stored("loan.institution_id"))?,
                product_id: row.product_id.into(),
                product_tags: row.product_tags,
                enterprise_class: row.enterprise_class,
                amount: Fen::new(row.amount_fen),
                rate: Ppm::new(row.rate_ppm),
                term_months: row.term_months,
                approved_at: row.approved_at.to_jiff(),
                ip_kinds: ip_kinds(&row.ip_kinds)?,
                guarantee_fee: Fen::new(guarantee.as_ref().map_or(0, |found| found.fee_fen)),
                version: row.version,
            },
            guarantee,
            coupon: row.coupon_id.map(CouponId::new),
            bank_reference: row.bank_reference,
            features: None,
        })
    }
}

macro_rules! loans {
    ($tail:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT loan_id, enterprise_id, institution_id, product_id, product_tags, enterprise_class, amount_fen, rate_ppm,
                      term_months, approved_at AS "approved_at: _", ip_kinds, guarantee, coupon_id, bank_reference, version
               FROM loan "# + $tail
            $(, $argument)*
        )
    };
}

/// Locks a loan; none when its approval has not come.
pub async fn lock(conn: &mut PgConnection, loan_id: LoanId) -> Result<Option<Approved>, Error> {
    let row = loans!("WHERE loan_id = $1 FOR UPDATE", loan_id.uuid()).fetch_optional(conn).await?;
    row.map(Approved::try_from).transpose()
}

/// One loan, not locked.
pub async fn find(conn: &mut PgConnection, loan_id: LoanId) -> Result<Option<Approved>, Error> {
    let row = loans!("WHERE loan_id = $1", loan_id.uuid()).fetch_optional(conn).await?;
    row.map(Approved::try_from).transpose()
}

/// Some loans, not locked.
pub async fn find_all(conn: &mut PgConnection, loans: &[Uuid]) -> Result<Vec<Approved>, Error> {
    let rows = loans!("WHERE loan_id = ANY($1)", loans).fetch_all(conn).await?;
    rows.into_iter().map(Approved::try_from).collect()
}

/// Some loans, locked in order of id.
pub async fn lock_all(conn: &mut PgConnection, loans: &[Uuid]) -> Result<Vec<Approved>, Error> {
    let rows = loans!("WHERE loan_id = ANY($1) ORDER BY loan_id FOR UPDATE", loans).fetch_all(conn).await?;
    rows.into_iter().map(Approved::try_from).collect()
}

/// Locks some loans in order of id, without reading them.
pub async fn hold(conn: &mut PgConnection, loans: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!("SELECT loan_id FROM loan WHERE loan_id = ANY($1) ORDER BY loan_id FOR UPDATE", loans)
        .fetch_all(conn)
        .await
        .map(drop)
}

/// Loans approved from an instant until before another, in order, after a cursor.
pub async fn approved_between(
    conn: &mut PgConnection,
    (from, until): (Timestamp, Timestamp),
    after: Option<(Timestamp, Uuid)>,
    most: i64,
) -> Result<Vec<Approved>, Error> {
    let (at, id) = after.unzip();
    let rows = loans!(
        "WHERE approved_at >= $1 AND approved_at < $2
           AND ($3::timestamptz IS NULL OR (approved_at, loan_id) > ($3, $4::uuid))
         ORDER BY approved_at, loan_id LIMIT $5",
        from.to_sqlx() as _,
        until.to_sqlx() as _,
        at.map(|at| at.to_sqlx()) as _,
        id,
        most
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Approved::try_from).collect()
}

/// Keeps what happened to a locked loan and gives the loan its version.
pub async fn happen(conn: &mut PgConnection, loan_id: LoanId, version: i64, event: &Event) -> Result<(), sqlx::Error> {
    let (kind, principal, interest, rate, matures) = match event.what {
        What::Disbursed { amount, rate, matures_on } => ("disbursed", Some(amount), None, Some(rate), Some(matures_on)),
        What::Repaid { principal, interest } => ("repaid", Some(principal), Some(interest), None, None),
        What::Terms { rate, matures_on } => ("terms_changed", None, None, Some(rate), Some(matures_on)),
        What::Settled => ("settled", None, None, None, None),
        What::Renewed => ("renewed", None, None, None, None),
        What::Defaulted { principal, interest } => ("defaulted", Some(principal), Some(interest), None, None),
        What::Recovered { amount } => ("recovered", Some(amount), None, None, None),
    };
    sqlx::query!(
        "INSERT INTO loan_event (loan_id, version, kind, on_date, principal_fen, interest_fen, rate_ppm, matures_on)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        loan_id.uuid(),
        version,
        kind,
        event.on.to_sqlx() as _,
        principal.map(Fen::get),
        interest.map(Fen::get),
        rate.map(Ppm::get),
        matures.map(|date| date.to_sqlx()) as _
    )
    .execute(&mut *conn)
    .await?;
    let (disbursed, on) = match event.what {
        What::Disbursed { amount, .. } => (Some(amount.get()), Some(event.on)),
        _ => (None, None),
    };
    sqlx::query!(
        "UPDATE loan SET version = $2, disbursed_fen = coalesce($3, disbursed_fen), disbursed_on = coalesce($4, disbursed_on)
         WHERE loan_id = $1",
        loan_id.uuid(),
        version,
        disbursed,
        on.map(|date| date.to_sqlx()) as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What happened to some loans, in order.
pub async fn events(conn: &mut PgConnection, loans: &[Uuid]) -> Result<HashMap<Uuid, Vec<Event>>, Error> {
    let rows = sqlx::query!(
        r#"SELECT loan_id, kind, on_date AS "on_date: jiff_sqlx::Date", principal_fen, interest_fen, rate_ppm,
                  matures_on AS "matures_on: jiff_sqlx::Date"
           FROM loan_event WHERE loan_id = ANY($1) ORDER BY loan_id, version"#,
        loans
    )
    .fetch_all(conn)
    .await?;
    let mut found: HashMap<Uuid, Vec<Event>> = HashMap::new();
    for row in rows {
        let fen = |amount: Option<i64>| amount.map(Fen::new).ok_or(Error::Stored("loan_event.principal_fen"));
        let rate = || row.rate_ppm.map(Ppm::new).ok_or(Error::Stored("loan_event.rate_ppm"));
        let matures =
            || -> Result<Date, Error> { Ok(row.matures_on.ok_or(Error::Stored("loan_event.matures_on"))?.to_jiff()) };
        let what = match row.kind.as_str() {
            "disbursed" => What::Disbursed { amount: fen(row.principal_fen)?, rate: rate()?, matures_on: matures()? },
            "repaid" => What::Repaid { principal: fen(row.principal_fen)?, interest: fen(row.interest_fen)? },
            "terms_changed" => What::Terms { rate: rate()?, matures_on: matures()? },
            "settled" => What::Settled,
            "renewed" => What::Renewed,
            "defaulted" => What::Defaulted { principal: fen(row.principal_fen)?, interest: fen(row.interest_fen)? },
            "recovered" => What::Recovered { amount: fen(row.principal_fen)? },
            _ => return Err(Error::Stored("loan_event.kind")),
        };
        found.entry(row.loan_id).or_default().push(Event { on: row.on_date.to_jiff(), what });
    }
    Ok(found)
}

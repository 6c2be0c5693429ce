//! Policies and their versions.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::{
    Fen, Ppm,
    id::{PolicyId, ProductId},
    interest::DayCount,
    lpr::Tenor,
};

use crate::{
    error::Error,
    policy::{Benefit, IpKind, Published, Spec, Stacking, Who},
};

/// A version as it stands.
#[derive(Debug, Clone)]
pub struct Row {
    /// The policy.
    pub policy_id: Uuid,
    /// The version.
    pub version: i32,
    /// `draft`, `submitted`, `published` or `retired`.
    pub state: String,
    name_zh: String,
    source_document_zh: String,
    benefit: String,
    benefit_ppm: i64,
    required_product_tags: Vec<String>,
    enterprise_classes: Vec<String>,
    effective_from: jiff_sqlx::Date,
    effective_to: jiff_sqlx::Date,
    max_months: i32,
    cap_per_loan_fen: i64,
    principal_cap_fen: i64,
    day_count: i32,
    priority: i32,
    region_codes: Vec<String>,
    who: String,
    ip_kinds: Vec<String>,
    cap_per_enterprise_year_fen: Option<i64>,
    adds_up: bool,
    exclusive_groups: Vec<String>,
    least_days: i32,
    low_budget_ppm: i64,
    waiting_days: Option<i32>,
    interest_counts: Option<bool>,
    reference_rate: String,
    product_ids: Vec<Uuid>,
    /// Who wrote it.
    pub drafted_by: String,
}

impl Row {
    /// What it says.
    ///
    /// # Errors
    /// [`Error::Stored`].
    pub fn spec(&self) -> Result<Spec, Error> {
        let ppm = Ppm::new(self.benefit_ppm);
        Ok(Spec {
            name_zh: self.name_zh.clone(),
            source_document_zh: self.source_document_zh.clone(),
            benefit: match self.benefit.as_str() {
                "lpr_share" => Benefit::LprShare {
                    share: ppm,
                    tenor: match self.reference_rate.as_str() {
                        "one_year_lpr" => Tenor::OneYear,
                        "over_five_year_lpr" => Tenor::OverFiveYears,
                        _ => return Err(Error::Stored("policy_version.reference_rate")),
                    },
                },
                "fixed_rate" => Benefit::FixedRate(ppm),
                "interest_share" => Benefit::InterestShare(ppm),
                "guarantee_fee_share" => Benefit::GuaranteeFeeShare(ppm),
                "rate_coupon" => Benefit::RateCoupon(ppm),
                "risk_compensation" => Benefit::RiskCompensation {
                    waiting_days: self.waiting_days.ok_or(Error::Stored("policy_version.waiting_days"))?,
                    interest_counts: self.interest_counts.ok_or(Error::Stored("policy_version.interest_counts"))?,
                },
                _ => return Err(Error::Stored("policy_version.benefit")),
            },
            required_product_tags: self.required_product_tags.clone(),
            product_ids: self.product_ids.iter().copied().map(ProductId::new).collect(),
            enterprise_classes: self.enterprise_classes.clone(),
            effective_from: self.effective_from.to_jiff(),
            effective_to: self.effective_to.to_jiff(),
            max_months: self.max_months,
            cap_per_loan: Fen::new(self.cap_per_loan_fen),
            principal_cap: Fen::new(self.principal_cap_fen),
            day_count: match self.day_count {
                360 => DayCount::Actual360,
                365 => DayCount::Actual365,
                _ => return Err(Error::Stored("policy_version.day_count")),
            },
            priority: self.priority,
            region_codes: self.region_codes.clone(),
            ip_kinds: ip_kinds(&self.ip_kinds)?,
            cap_per_enterprise_year: self.cap_per_enterprise_year_fen.map(Fen::new),
            stacking: Stacking { adds_up: self.adds_up, exclusive_groups: self.exclusive_groups.clone() },
            least_days: self.least_days,
            low_budget: Ppm::new(self.low_budget_ppm),
            who: match self.who.as_str() {
                "" => None,
                text => Some(Who::compile(text).map_err(|_| Error::Stored("policy_version.who"))?),
            },
        })
    }
}

/// Reads stored words.
///
/// # Errors
/// [`Error::Stored`].
pub fn ip_kinds(words: &[String]) -> Result<Vec<IpKind>, Error> {
    words.iter().map(|word| IpKind::from_word(word).ok_or(Error::Stored("ip_kinds"))).collect()
}

macro_rules! versions {
    ($tail:tt $(, $argument:expr)*) => {
        sqlx::query_as!(
            Row,
            r#"SELECT policy_id, version, state, name_zh, source_document_zh, benefit, benefit_ppm, required_product_tags,
                      enterprise_classes, effective_from AS "effective_from: _", effective_to AS "effective_to: _", max_months,
                      cap_per_loan_fen, principal_cap_fen, day_count, priority, region_codes, who, ip_kinds,
                      cap_per_enterprise_year_fen, adds_up, exclusive_groups, least_days, low_budget_ppm, waiting_days,
                      interest_counts, reference_rate, product_ids, drafted_by
               FROM policy_version "# + $tail
            $(, $argument)*
        )
    };
}

/// Locks a policy; gives the published version, if there is one. None when there is no such policy.
pub async fn lock(conn: &mut PgConnection, policy: PolicyId) -> Result<Option<Option<i32>>, sqlx::Error> {
    sqlx::query_scalar!("SELECT current_version FROM policy WHERE policy_id = $1 FOR UPDATE", policy.uuid())
        .fetch_optional(conn)
        .await
}

/// Counts the versions of a policy up by one, making the policy if it is new; locks it.
pub async fn next_version(conn: &mut PgConnection, policy: PolicyId) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO policy AS p (policy_id, last_version) VALUES ($1, 1)
         ON CONFLICT (policy_id) DO UPDATE SET last_version = p.last_version + 1
         RETURNING last_version",
        policy.uuid()
    )
    .fetch_one(conn)
    .await
}

/// Keeps a draft.
pub async fn insert_draft(
    conn: &mut PgConnection,
    policy: PolicyId,
    version: i32,
    spec: &Spec,
    by: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let (benefit, waiting_days, interest_counts) = match spec.benefit {
        Benefit::LprShare { .. } => ("lpr_share", None, None),
        Benefit::FixedRate(_) => ("fixed_rate", None, None),
        Benefit::InterestShare(_) => ("interest_share", None, None),
        Benefit::GuaranteeFeeShare(_) => ("guarantee_fee_share", None, None),
        Benefit::RateCoupon(_) => ("rate_coupon", None, None),
        Benefit::RiskCompensation { waiting_days, interest_counts } => {
            ("risk_compensation", Some(waiting_days), Some(interest_counts))
        }
    };
    let reference_rate = match spec.benefit {
        Benefit::LprShare { tenor: Tenor::OverFiveYears, .. } => "over_five_year_lpr",
        _ => "one_year_lpr",
    };
    let product_ids: Vec<Uuid> = spec.product_ids.iter().map(|product| product.uuid()).collect();
    let ip_kinds: Vec<String> = spec.ip_kinds.iter().map(|kind| kind.word().to_owned()).collect();
    let day_count = match spec.day_count {
        DayCount::Actual360 => 360,
        DayCount::Actual365 => 365,
    };
    sqlx::query!(
        "INSERT INTO policy_version (policy_id, version, state, name_zh, source_document_zh, benefit, benefit_ppm,
             required_product_tags, enterprise_classes, effective_from, effective_to, max_months, cap_per_loan_fen,
             principal_cap_fen, day_count, priority, drafted_by, drafted_at, region_codes, who, ip_kinds,
             cap_per_enterprise_year_fen, adds_up, exclusive_groups, least_days, low_budget_ppm, waiting_days, interest_counts,
             reference_rate, product_ids)
         VALUES ($1, $2, 'draft', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
             $23, $24, $25, $26, $27, $28, $29)",
        policy.uuid(),
        version,
        spec.name_zh,
        spec.source_document_zh,
        benefit,
        spec.benefit.ppm().get(),
        &spec.required_product_tags,
        &spec.enterprise_classes,
        spec.effective_from.to_sqlx() as _,
        spec.effective_to.to_sqlx() as _,
        spec.max_months,
        spec.cap_per_loan.get(),
        spec.principal_cap.get(),
        day_count,
        spec.priority,
        by,
        now.to_sqlx() as _,
        &spec.region_codes,
        spec.who.as_ref().map_or("", Who::text),
        &ip_kinds,
        spec.cap_per_enterprise_year.map(Fen::get),
        spec.stacking.adds_up,
        &spec.stacking.exclusive_groups,
        spec.least_days,
        spec.low_budget.get(),
        waiting_days,
        interest_counts,
        reference_rate,
        &product_ids
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Retires the published version, if there is one, and publishes a draft, under the policy's lock.
pub async fn publish(
    conn: &mut PgConnection,
    policy: PolicyId,
    version: i32,
    by: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE policy_version SET state = 'retired', retired_at = $2 WHERE policy_id = $1 AND state = 'published'",
        policy.uuid(),
        now.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE policy_version SET state = 'published', published_by = $3, published_at = $4 WHERE policy_id = $1 AND version = $2",
        policy.uuid(),
        version,
        by,
        now.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("UPDATE policy SET current_version = $2 WHERE policy_id = $1", policy.uuid(), version)
        .execute(conn)
        .await?;
    Ok(())
}

/// One version.
pub async fn version(conn: &mut PgConnection, policy: PolicyId, version: i32) -> Result<Row, Error> {
    versions!("WHERE policy_id = $1 AND version = $2", policy.uuid(), version)
        .fetch_optional(conn)
        .await?
        .ok_or(Error::VersionNotFound(policy, version))
}

/// The published version of each policy, in order of id, after a cursor.
pub async fn list_published(conn: &mut PgConnection, after: Option<Uuid>, most: i64) -> Result<Vec<Row>, sqlx::Error> {
    versions!(
        "WHERE state = 'published' AND ($1::uuid IS NULL OR policy_id > $1) ORDER BY policy_id LIMIT $2",
        after,
        most
    )
    .fetch_all(conn)
    .await
}

/// Hands a draft in, or back.
pub async fn stand(conn: &mut PgConnection, policy: PolicyId, version: i32, state: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE policy_version SET state = $3 WHERE policy_id = $1 AND version = $2",
        policy.uuid(),
        version,
        state
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends the published version.
pub async fn end(conn: &mut PgConnection, policy: PolicyId, version: i32, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE policy_version SET state = 'retired', retired_at = $3, ended_at = $3 WHERE policy_id = $1 AND version = $2",
        policy.uuid(),
        version,
        now.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("UPDATE policy SET current_version = NULL WHERE policy_id = $1", policy.uuid()).execute(conn).await?;
    Ok(())
}

/// Every version that ever was published. What a version says never changes, so it is read and compiled once a process.
#[derive(Debug, Clone, Default)]
pub struct Book(Arc<Mutex<Specs>>);

type Specs = HashMap<(Uuid, i32), Arc<Spec>>;

impl Book {
    /// The versions as they stand.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Stored`].
    pub async fn published(&self, conn: &mut PgConnection) -> Result<Vec<Published>, Error> {
        let rows = sqlx::query!(
            r#"SELECT policy_id, version, published_at AS "published_at!: jiff_sqlx::Timestamp",
                      ended_at AS "ended_at: jiff_sqlx::Timestamp"
               FROM policy_version WHERE published_at IS NOT NULL ORDER BY policy_id, version"#
        )
        .fetch_all(&mut *conn)
        .await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            found.push(Published {
                policy_id: PolicyId::new(row.policy_id),
                version: row.version,
                spec: self.spec(conn, PolicyId::new(row.policy_id), row.version).await?,
                published_at: row.published_at.to_jiff(),
                ended_at: row.ended_at.map(jiff_sqlx::Timestamp::to_jiff),
            });
        }
        Ok(found)
    }

    /// What one version says.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Stored`].
    pub async fn spec(&self, conn: &mut PgConnection, policy_id: PolicyId, number: i32) -> Result<Arc<Spec>, Error> {
        let key = (policy_id.uuid(), number);
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(spec) = held {
            return Ok(spec);
        }
        let spec = Arc::new(version(conn, policy_id, number).await?.spec()?);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&spec));
        Ok(spec)
    }
}

/// Whether there is such a policy.
pub async fn exists(conn: &mut PgConnection, policy: PolicyId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM policy WHERE policy_id = $1) AS "exists!""#, policy.uuid())
        .fetch_one(conn)
        .await
}

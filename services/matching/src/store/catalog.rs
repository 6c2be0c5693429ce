//! The catalog as a whole, as it stands or as it was at a version.

use prost::Message as _;
use sqlx::PgConnection;
use zhirong_proto::{
    catalog::v1::{Adjustment, LprTable, Product, WorkingDayCalendar},
    subsidy::v1::Policy,
};

use crate::error::Error;

/// What an entry of the catalog is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An institution's Chinese name.
    Institution,
    /// A published product.
    Product,
    /// The LPR table.
    Lpr,
    /// The calendar.
    Calendar,
    /// A product's mean rating.
    Score,
    /// Better terms of a product for some.
    Adjustment,
    /// A subsidy policy.
    Policy,
    /// Whether the budget of a policy for a year has money left.
    Budget,
}

impl Kind {
    /// The word the database has for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Institution => "institution",
            Self::Product => "product",
            Self::Lpr => "lpr",
            Self::Calendar => "calendar",
            Self::Score => "score",
            Self::Adjustment => "adjustment",
            Self::Policy => "policy",
            Self::Budget => "budget",
        }
    }
}

/// One entry.
#[derive(Debug)]
pub enum Entry {
    /// An institution: id and Chinese name.
    Institution(String, String),
    /// A published product.
    Product(Box<Product>),
    /// The LPR table.
    Lpr(LprTable),
    /// The calendar.
    Calendar(WorkingDayCalendar),
    /// A product's id and its mean rating, ppm.
    Score(String, i64),
    /// Better terms of a product for some.
    Adjustment(Box<Adjustment>),
    /// A subsidy policy.
    Policy(Box<Policy>),
    /// A policy's id and a year whose budget has money left.
    Funded(String, i16),
}

/// Everything the calculator computes from, at one version.
#[derive(Debug)]
pub struct Loaded {
    /// The version.
    pub version: i64,
    /// What it consists of, in no order.
    pub entries: Vec<Entry>,
}

/// The version in force.
pub async fn version(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("SELECT version FROM catalog_version").fetch_one(conn).await
}

/// The catalog in force; in a transaction that sees one snapshot.
pub async fn load(conn: &mut PgConnection) -> Result<Loaded, Error> {
    let version = version(&mut *conn).await?;
    let rows = sqlx::query!(
        r#"SELECT 'institution' AS "kind!", institution_id AS "key!", convert_to(name_zh, 'UTF8') AS "content!" FROM institution
           UNION ALL SELECT 'product', product_id::text, content FROM product WHERE content IS NOT NULL
           UNION ALL SELECT name, '', content FROM reference
           UNION ALL SELECT 'score', product_id::text, convert_to(mean_level_ppm::text, 'UTF8') FROM product_score
           UNION ALL SELECT 'adjustment', adjustment_id::text, content FROM adjustment WHERE content IS NOT NULL
           UNION ALL SELECT 'policy', policy_id::text, content FROM subsidy_policy WHERE NOT ended
           UNION ALL SELECT 'budget', policy_id::text || ' ' || year::text, convert_to(CASE WHEN available THEN '1' ELSE '0' END, 'UTF8')
               FROM subsidy_budget"#
    )
    .fetch_all(conn)
    .await?;
    let entries = rows.into_iter().map(|row| entry(&row.kind, row.key, &row.content)).collect::<Result<_, _>>()?;
    Ok(Loaded { version, entries })
}

/// The catalog as it was at a version.
pub async fn load_at(conn: &mut PgConnection, version: i64) -> Result<Loaded, Error> {
    let current = self::version(&mut *conn).await?;
    if !(0..=current).contains(&version) {
        return Err(Error::VersionNotFound { of: "catalog", version });
    }
    let rows = sqlx::query!(
        r#"SELECT kind, key, content AS "content!" FROM (
               SELECT DISTINCT ON (kind, key) kind, key, content FROM catalog_log
               WHERE version <= $1 ORDER BY kind, key, version DESC) AS latest
           WHERE content IS NOT NULL"#,
        version
    )
    .fetch_all(conn)
    .await?;
    let entries = rows.into_iter().map(|row| entry(&row.kind, row.key, &row.content)).collect::<Result<_, _>>()?;
    Ok(Loaded { version, entries })
}

fn entry(kind: &str, key: String, content: &[u8]) -> Result<Entry, Error> {
    let broken = |key: &str| Error::Stored(format!("catalog entry {kind} {key}"));
    let text = |key: &str| std::str::from_utf8(content).map_err(|_| broken(key));
    Ok(match kind {
        "institution" => {
            let name_zh = text(&key)?.to_owned();
            Entry::Institution(key, name_zh)
        }
        "product" => Entry::Product(Box::new(Product::decode(content)?)),
        "adjustment" => Entry::Adjustment(Box::new(Adjustment::decode(content)?)),
        "lpr" => Entry::Lpr(LprTable::decode(content)?),
        "calendar" => Entry::Calendar(WorkingDayCalendar::decode(content)?),
        "score" => {
            let level = text(&key)?.parse().map_err(|_| broken(&key))?;
            Entry::Score(key, level)
        }
        "policy" => Entry::Policy(Box::new(Policy::decode(content)?)),
        "budget" => {
            let (policy_id, year) = key.split_once(' ').ok_or_else(|| broken(&key))?;
            // A budget without money counts like none.
            let year = if content == b"1" { year.parse().map_err(|_| broken(&key))? } else { 0 };
            Entry::Funded(policy_id.to_owned(), year)
        }
        other => return Err(Error::Stored(format!("catalog entry of kind {other}"))),
    })
}

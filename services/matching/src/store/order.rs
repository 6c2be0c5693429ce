//! Orders and the institutions' inboxes.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_kernel::id::OrderId;
use zhirong_proto::{
    catalog::v1::Product,
    matching::v1::Order,
    profile::v1::{Profile, Scope},
};

use super::erasure;
use crate::{
    consent::Held,
    error::Error,
    order::{is_closed, word},
};

/// An order with what it was computed on.
#[derive(Debug, Clone)]
pub struct OrderRow {
    /// The order as it stands.
    pub order: Order,
    /// The product it was computed on.
    pub product: Product,
    /// The profile it was computed on.
    pub profile: Profile,
}

/// Keeps a new order and puts it into the institution's inbox.
pub async fn insert(
    conn: &mut PgConnection,
    order_id: OrderId,
    row: &OrderRow,
    now: Timestamp,
    due: Date,
) -> Result<(), Error> {
    let erased_at = erasure::since(conn, &row.order.enterprise_id, now).await?;
    let profile = if erased_at.is_some() { erasure::reduced(row.profile.clone()) } else { row.profile.clone() };
    sqlx::query!(
        "INSERT INTO orders (order_id, enterprise_id, institution_id, state, version, content, product, profile, placed_at,
                             answer_due_on, profile_erased_at, coupon_id)
         VALUES ($1, $2, $3, 'routed', $4, $5, $6, $7, $8, $9, $10, $11)",
        order_id.uuid(),
        row.order.enterprise_id,
        row.order.institution_id,
        row.order.version,
        row.order.encode_to_vec(),
        row.product.encode_to_vec(),
        profile.encode_to_vec(),
        now.to_sqlx() as _,
        due.to_sqlx() as _,
        erased_at.map(|at| at.to_sqlx()) as _,
        row.order.coupon_id.parse::<Uuid>().ok()
    )
    .execute(&mut *conn)
    .await
    .map_err(|error| match &error {
        sqlx::Error::Database(refused) if refused.constraint() == Some("orders_coupon_in_use") => Error::CouponInUse,
        _ => error.into(),
    })?;
    add_to_inbox(conn, order_id.uuid(), &row.order).await
}

/// Keeps a change of a locked order and puts it into the institution's inbox.
pub async fn update(conn: &mut PgConnection, order_id: OrderId, order: &Order, now: Timestamp) -> Result<(), Error> {
    let closed_at = is_closed(order.state()).then(|| now.to_sqlx());
    sqlx::query!(
        "UPDATE orders SET state = $2, version = $3, content = $4, closed_at = $5 WHERE order_id = $1",
        order_id.uuid(),
        word(order.state()),
        order.version,
        order.encode_to_vec(),
        closed_at as _
    )
    .execute(&mut *conn)
    .await?;
    add_to_inbox(conn, order_id.uuid(), order).await
}

/// One statement: the head's lock is held until the commit, so that positions become visible in order.
pub(super) async fn add_to_inbox(conn: &mut PgConnection, order_id: Uuid, order: &Order) -> Result<(), Error> {
    sqlx::query!(
        "WITH head AS (
             INSERT INTO inbox_head AS head (institution_id, position) VALUES ($1, 1)
             ON CONFLICT (institution_id) DO UPDATE SET position = head.position + 1
             RETURNING position)
         INSERT INTO inbox_entry (institution_id, position, order_id, content) SELECT $1, position, $2, $3 FROM head",
        order.institution_id,
        order_id,
        order.encode_to_vec()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whose order or loan is looked for.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'a> {
    /// Anybody's.
    Anybody,
    /// This enterprise's.
    Enterprise(&'a str),
    /// This institution's.
    Institution(&'a str),
}

impl<'a> Owner<'a> {
    pub(super) fn enterprise(self) -> Option<&'a str> {
        if let Self::Enterprise(id) = self { Some(id) } else { None }
    }

    pub(super) fn institution(self) -> Option<&'a str> {
        if let Self::Institution(id) = self { Some(id) } else { None }
    }
}

/// An order of somebody; another's does not exist for them.
pub async fn find(conn: &mut PgConnection, order_id: OrderId, owner: Owner<'_>) -> Result<Order, Error> {
    let content = sqlx::query_scalar!(
        "SELECT content FROM orders WHERE order_id = $1
             AND ($2::text IS NULL OR enterprise_id = $2) AND ($3::text IS NULL OR institution_id = $3)",
        order_id.uuid(),
        owner.enterprise(),
        owner.institution()
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::OrderNotFound(order_id.uuid()))?;
    Ok(Order::decode(content.as_slice())?)
}

/// An order of somebody, locked.
pub async fn lock(conn: &mut PgConnection, order_id: OrderId, owner: Owner<'_>) -> Result<OrderRow, Error> {
    let row = sqlx::query!(
        "SELECT content, product, profile FROM orders WHERE order_id = $1
             AND ($2::text IS NULL OR enterprise_id = $2) AND ($3::text IS NULL OR institution_id = $3)
         FOR UPDATE",
        order_id.uuid(),
        owner.enterprise(),
        owner.institution()
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::OrderNotFound(order_id.uuid()))?;
    Ok(OrderRow {
        order: Order::decode(row.content.as_slice())?,
        product: Product::decode(row.product.as_slice())?,
        profile: Profile::decode(row.profile.as_slice())?,
    })
}

/// One open order whose time to answer is over, locked; what others work on is left to them.
pub async fn lock_overdue(conn: &mut PgConnection, today: Date) -> Result<Option<Order>, Error> {
    let content = sqlx::query_scalar!(
        "SELECT content FROM orders WHERE state IN ('routed', 'accepted') AND answer_due_on < $1
         ORDER BY answer_due_on LIMIT 1 FOR UPDATE SKIP LOCKED",
        today.to_sqlx() as _
    )
    .fetch_optional(conn)
    .await?;
    content.map(|content| Ok(Order::decode(content.as_slice())?)).transpose()
}

/// Where a list of orders goes on: time and id of the last one.
pub type Cursor = (Timestamp, Uuid);

/// Orders, newest first, after a cursor; each with its cursor.
pub async fn list(
    conn: &mut PgConnection,
    enterprise: Option<&str>,
    before: Option<Cursor>,
    most: i64,
) -> Result<Vec<(Cursor, Order)>, Error> {
    let (at, id) = before.unzip();
    let rows = sqlx::query!(
        r#"SELECT order_id, placed_at AS "placed_at: jiff_sqlx::Timestamp", content FROM orders
           WHERE ($1::text IS NULL OR enterprise_id = $1)
             AND ($2::timestamptz IS NULL OR (placed_at, order_id) < ($2, $3))
           ORDER BY placed_at DESC, order_id DESC LIMIT $4"#,
        enterprise,
        at.map(|at| at.to_sqlx()) as _,
        id,
        most
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| Ok(((row.placed_at.to_jiff(), row.order_id), Order::decode(row.content.as_slice())?)))
        .collect()
}

/// An entry of an inbox.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its position.
    pub position: i64,
    /// The order as it was.
    pub order: Order,
    /// The profile the order was computed on, whole; none once the order has ended without a loan, because the consent is
    /// given for the order.
    pub profile: Option<Profile>,
    /// Whether the order has ended without a loan by now.
    pub ended: bool,
    /// When the enterprise had its profile erased.
    pub erased_at: Option<Timestamp>,
    /// The order's consent as the profile service last told of it; none while nothing was heard of it.
    pub consent: Option<Held>,
    /// The version of it that was heard of; 0 for none.
    pub consent_version: i64,
}

/// Entries of an institution's inbox after a position.
pub async fn inbox(conn: &mut PgConnection, institution: &str, after: i64, most: i64) -> Result<Vec<Entry>, Error> {
    let rows = sqlx::query!(
        r#"SELECT entry.position, entry.content,
                  CASE WHEN orders.state IN ('routed', 'accepted', 'approved') AND orders.profile_erased_at IS NULL
                      THEN orders.profile END AS profile,
                  orders.state NOT IN ('routed', 'accepted', 'approved') AS "ended!",
                  orders.profile_erased_at AS "erased_at: jiff_sqlx::Timestamp",
                  held.scope AS "scope?", held.expires_at AS "expires_at?: jiff_sqlx::Timestamp", held.revoked AS "revoked?",
                  coalesce(held.version, 0) AS "consent_version!"
           FROM inbox_entry entry JOIN orders USING (order_id)
               LEFT JOIN order_consent held ON held.consent_id = entry.order_id
           WHERE entry.institution_id = $1 AND entry.position > $2 ORDER BY entry.position LIMIT $3"#,
        institution,
        after,
        most
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let consent = match (row.scope, row.expires_at, row.revoked) {
                (Some(scope), Some(expires_at), Some(revoked)) => {
                    Some(Held { scope: Scope::decode(scope.as_slice())?, expires_at: expires_at.to_jiff(), revoked })
                }
                _ => None,
            };
            Ok(Entry {
                consent,
                consent_version: row.consent_version,
                ended: row.ended,
                erased_at: row.erased_at.map(|at| at.to_jiff()),
                position: row.position,
                order: Order::decode(row.content.as_slice())?,
                profile: row.profile.as_deref().map(Profile::decode).transpose()?,
            })
        })
        .collect()
}

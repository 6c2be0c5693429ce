//! All SQL of consents, releases, codes and the audit trail.

mod checks;
mod handed;
mod institutions;
mod named;
mod objections;
mod persons;
mod trail;
mod turn;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;
use zhirong_proto::profile::v1 as pb;

use crate::{error::Error, profile::proto_time};

pub use self::{checks::*, handed::*, institutions::*, named::*, objections::*, persons::*, trail::*};

/// A consent as it is kept.
struct ConsentRow {
    consent_id: Uuid,
    enterprise_id: String,
    institution_id: String,
    purpose: i32,
    scope: Vec<u8>,
    expires_at: jiff_sqlx::Timestamp,
    revoked: bool,
    version: i64,
    granted_at: jiff_sqlx::Timestamp,
    changed_at: jiff_sqlx::Timestamp,
}

impl ConsentRow {
    fn message(self) -> Result<pb::Consent, Error> {
        let state = if self.revoked { pb::ConsentState::Revoked } else { pb::ConsentState::Granted };
        Ok(pb::Consent {
            consent_id: self.consent_id.to_string(),
            enterprise_id: self.enterprise_id,
            institution_id: self.institution_id,
            purpose: self.purpose,
            scope: Some(pb::Scope::decode(self.scope.as_slice())?),
            expires_at: Some(proto_time(self.expires_at.to_jiff())),
            state: state.into(),
            version: self.version,
            granted_at: Some(proto_time(self.granted_at.to_jiff())),
            changed_at: Some(proto_time(self.changed_at.to_jiff())),
        })
    }
}

/// A new consent.
pub struct NewConsent<'a> {
    /// Its id.
    pub id: Uuid,
    /// Who gives it.
    pub enterprise_id: &'a str,
    /// To whom.
    pub institution_id: &'a str,
    /// What for.
    pub purpose: pb::Purpose,
    /// What.
    pub scope: &'a pb::Scope,
    /// Until when.
    pub expires_at: Timestamp,
}

/// Keeps a new consent.
pub async fn add_consent(conn: &mut PgConnection, new: &NewConsent<'_>, now: Timestamp) -> Result<pb::Consent, Error> {
    sqlx::query_as!(
        ConsentRow,
        "INSERT INTO consent
             (consent_id, enterprise_id, institution_id, purpose, scope, expires_at, version, granted_at, changed_at)
         VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7)
         RETURNING consent_id, enterprise_id, institution_id, purpose, scope, expires_at, revoked, version, granted_at,
                   changed_at",
        new.id,
        new.enterprise_id,
        new.institution_id,
        i32::from(new.purpose),
        new.scope.encode_to_vec(),
        new.expires_at.to_sqlx() as _,
        now.to_sqlx() as _
    )
    .fetch_one(conn)
    .await?
    .message()
}

/// An enterprise's consent, locked: a release that goes by it waits, or has ended.
pub async fn consent_for_update(
    conn: &mut PgConnection,
    id: Uuid,
    enterprise_id: &str,
) -> Result<Option<pb::Consent>, Error> {
    turn::to_change(conn, id).await?;
    sqlx::query_as!(
        ConsentRow,
        "SELECT consent_id, enterprise_id, institution_id, purpose, scope, expires_at, revoked, version, granted_at,
                changed_at
         FROM consent WHERE consent_id = $1 AND enterprise_id = $2 FOR UPDATE",
        id,
        enterprise_id
    )
    .fetch_optional(conn)
    .await?
    .map(ConsentRow::message)
    .transpose()
}

/// Changes a consent and raises its version.
pub async fn change_consent(
    conn: &mut PgConnection,
    id: Uuid,
    scope: &pb::Scope,
    expires_at: Timestamp,
    revoked: bool,
    now: Timestamp,
) -> Result<pb::Consent, Error> {
    sqlx::query_as!(
        ConsentRow,
        "UPDATE consent SET scope = $2, expires_at = $3, revoked = $4, changed_at = $5, version = version + 1
         WHERE consent_id = $1
         RETURNING consent_id, enterprise_id, institution_id, purpose, scope, expires_at, revoked, version, granted_at,
                   changed_at",
        id,
        scope.encode_to_vec(),
        expires_at.to_sqlx() as _,
        revoked,
        now.to_sqlx() as _
    )
    .fetch_one(conn)
    .await?
    .message()
}

/// Live consents of an enterprise for an institution, newest first.
pub async fn live_consents(
    conn: &mut PgConnection,
    enterprise_id: &str,
    institution_id: &str,
    purpose: pb::Purpose,
    now: Timestamp,
) -> Result<Vec<pb::Consent>, Error> {
    sqlx::query_as!(
        ConsentRow,
        "SELECT consent_id, enterprise_id, institution_id, purpose, scope, expires_at, revoked, version, granted_at,
                changed_at
         FROM consent
         WHERE enterprise_id = $1 AND institution_id = $2 AND purpose = $3 AND NOT revoked
           AND expires_at > $4
         ORDER BY granted_at DESC, consent_id DESC LIMIT 100",
        enterprise_id,
        institution_id,
        i32::from(purpose),
        now.to_sqlx() as _
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(ConsentRow::message)
    .collect()
}

/// A consent, live or not; locked, so that it is not taken back before the release that goes by it is on the trail.
pub async fn consent_for_share(conn: &mut PgConnection, id: Uuid) -> Result<Option<pb::Consent>, Error> {
    turn::to_release(conn, id).await?;
    sqlx::query_as!(
        ConsentRow,
        "SELECT consent_id, enterprise_id, institution_id, purpose, scope, expires_at, revoked, version, granted_at,
                changed_at
         FROM consent WHERE consent_id = $1 FOR SHARE",
        id
    )
    .fetch_optional(conn)
    .await?
    .map(ConsentRow::message)
    .transpose()
}

/// Consents of an enterprise or to an institution, newest first, after a cursor.
pub async fn list_consents(
    conn: &mut PgConnection,
    enterprise_id: Option<&str>,
    institution_id: Option<&str>,
    after: Option<Uuid>,
    most: i64,
) -> Result<Vec<pb::Consent>, Error> {
    sqlx::query_as!(
        ConsentRow,
        "SELECT consent_id, enterprise_id, institution_id, purpose, scope, expires_at, revoked, version, granted_at,
                changed_at
         FROM consent
         WHERE ($1::text IS NULL OR enterprise_id = $1) AND ($2::text IS NULL OR institution_id = $2)
           AND ($3::uuid IS NULL OR consent_id < $3)
         ORDER BY consent_id DESC LIMIT $4",
        enterprise_id,
        institution_id,
        after,
        most
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(ConsentRow::message)
    .collect()
}

/// Keeps a code for a consent. Those expired for a day are forgotten: their signature alone tells that they are.
pub async fn add_code(
    conn: &mut PgConnection,
    code_id: Uuid,
    consent_id: Uuid,
    expires_at: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO enterprise_code (code_id, consent_id, expires_at) VALUES ($1, $2, $3)",
        code_id,
        consent_id,
        expires_at.to_sqlx() as _
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "DELETE FROM enterprise_code WHERE code_id IN
             (SELECT code_id FROM enterprise_code WHERE expires_at < $1::timestamptz - interval '1 day' LIMIT 100
              FOR UPDATE SKIP LOCKED)",
        expires_at.to_sqlx() as _
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A code, locked.
pub struct CodeRow {
    /// The consent it stands for.
    pub consent_id: Uuid,
    /// Who used it.
    pub used_by: Option<String>,
    /// By which request.
    pub used_request_id: Option<Uuid>,
}

/// A code, locked, so that of two who resolve it at the same time one comes second.
pub async fn code_for_update(conn: &mut PgConnection, code_id: Uuid) -> Result<Option<CodeRow>, sqlx::Error> {
    sqlx::query_as!(
        CodeRow,
        "SELECT consent_id, used_by, used_request_id FROM enterprise_code WHERE code_id = $1 FOR UPDATE",
        code_id
    )
    .fetch_optional(conn)
    .await
}

/// Uses a code up.
pub async fn use_code(
    conn: &mut PgConnection,
    code_id: Uuid,
    caller: &str,
    request_id: Uuid,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE enterprise_code SET used_by = $2, used_request_id = $3 WHERE code_id = $1",
        code_id,
        caller,
        request_id
    )
    .execute(conn)
    .await?;
    Ok(())
}

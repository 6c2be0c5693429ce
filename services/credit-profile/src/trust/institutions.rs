//! The institutions of the catalog, to which alone a consent can be given.

use sqlx::PgConnection;
use zhirong_kernel::InstitutionId;
use zhirong_proto::catalog::v1::InstitutionRegistered;
use zhirong_runtime::{
    inbox::{Delivery, Handler, Rejection, Subscription},
    streams,
};

use super::store;

/// Institutions.
pub const INSTITUTIONS: Subscription = Subscription {
    durable: "profile-institutions",
    stream: streams::CATALOG,
    subjects: &["zr.catalog.v1.institution.registered.>"],
};

/// Keeps institutions.
pub struct InstitutionHandler;

impl Handler for InstitutionHandler {
    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        let institution = delivery.decode::<InstitutionRegistered>()?.institution;
        let institution = institution.ok_or_else(|| Rejection::poison("`institution` is missing"))?;
        let id: InstitutionId = institution.institution_id.parse().map_err(Rejection::poison)?;
        Ok(store::put_institution(conn, id.as_str()).await?)
    }
}

//! LPR table and working-day calendar.

use prost::Message;
use tonic::{Request, Response, Status};
use zhirong_proto::catalog::v1::{
    GetReferenceRequest, GetReferenceResponse, LprTable, PublishCalendarRequest, PublishCalendarResponse,
    PublishLprTableRequest, PublishLprTableResponse, ReferencePublished, WorkingDayCalendar,
    reference_published::Reference, reference_service_server::ReferenceService,
};
use zhirong_runtime::{
    caller::Caller,
    idempotency::{self, Claim},
    outbox::{self, Aggregate},
    problem::Problem,
};

use super::{Catalog, refuse, snapshot};
use crate::{error::Error, store, validate};

#[tonic::async_trait]
impl ReferenceService for Catalog {
    async fn publish_lpr_table(
        &self,
        request: Request<PublishLprTableRequest>,
    ) -> Result<Response<PublishLprTableResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        let request = request.into_inner();
        let table = request.table.clone().unwrap_or_default();
        refuse(validate::lpr_table(&table))?;
        let method = "/zhirong.catalog.v1.ReferenceService/PublishLprTable";
        let response = self
            .publish(&caller, method, &request.request_id, &request, Reference::Lpr(table), |version| {
                PublishLprTableResponse { version }
            })
            .await?;
        Ok(Response::new(response))
    }

    async fn publish_calendar(
        &self,
        request: Request<PublishCalendarRequest>,
    ) -> Result<Response<PublishCalendarResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        let request = request.into_inner();
        let calendar = request.calendar.clone().unwrap_or_default();
        refuse(validate::calendar(&calendar))?;
        let method = "/zhirong.catalog.v1.ReferenceService/PublishCalendar";
        let response = self
            .publish(&caller, method, &request.request_id, &request, Reference::Calendar(calendar), |version| {
                PublishCalendarResponse { version }
            })
            .await?;
        Ok(Response::new(response))
    }

    async fn get_reference(
        &self,
        _request: Request<GetReferenceRequest>,
    ) -> Result<Response<GetReferenceResponse>, Status> {
        Ok(Response::new(self.get_reference().await?))
    }
}

impl Catalog {
    /// Puts reference data into force, unless the same are in force already.
    async fn publish<Q: Message, R: Message + Default>(
        &self,
        caller: &Caller,
        method: &'static str,
        request_id: &str,
        request: &Q,
        reference: Reference,
        respond: impl FnOnce(i64) -> R,
    ) -> Result<R, Problem> {
        let (name, content) = match &reference {
            Reference::Lpr(table) => ("lpr", table.encode_to_vec()),
            Reference::Calendar(calendar) => ("calendar", calendar.encode_to_vec()),
        };
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let slot = match idempotency::claim(&mut tx, caller, method, request_id, request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        store::lock_reference(&mut tx, name).await?;
        let before = store::reference(&mut tx, name).await?;
        let version = match before {
            Some(before) if before.content == content => before.version,
            before => {
                let version = before.map_or(0, |before| before.version).saturating_add(1);
                store::insert_reference(&mut tx, name, version, &content, &caller.subject, now).await?;
                let fact = ReferencePublished { version, reference: Some(reference) };
                let aggregate = Aggregate { kind: "reference", id: name, version };
                outbox::append(&mut tx, aggregate, name, &fact, now).await.map_err(Error::from)?;
                version
            }
        };
        let response = respond(version);
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn get_reference(&self) -> Result<GetReferenceResponse, Problem> {
        let mut tx = snapshot(&self.pool).await?;
        let lpr = store::reference(&mut tx, "lpr").await?;
        let calendar = store::reference(&mut tx, "calendar").await?;
        tx.commit().await?;
        let decode = |error: prost::DecodeError| Problem::from(Error::from(error));
        Ok(GetReferenceResponse {
            lpr: lpr.map(|row| LprTable::decode(row.content.as_slice())).transpose().map_err(decode)?,
            calendar: calendar
                .map(|row| WorkingDayCalendar::decode(row.content.as_slice()))
                .transpose()
                .map_err(decode)?,
        })
    }
}

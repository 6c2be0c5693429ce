//! Institutions.

use tonic::{Request, Response, Status};
use zhirong_proto::catalog::v1::{
    InstitutionRegistered, ListInstitutionsRequest, ListInstitutionsResponse, RegisterInstitutionRequest,
    RegisterInstitutionResponse, institution_service_server::InstitutionService,
};
use zhirong_runtime::{
    caller::Caller,
    idempotency::{self, Claim},
    outbox::{self, Aggregate},
    page,
    problem::Problem,
};

use super::{Catalog, cut, refuse};
use crate::{error::Error, store, validate};

#[tonic::async_trait]
impl InstitutionService for Catalog {
    async fn register_institution(
        &self,
        request: Request<RegisterInstitutionRequest>,
    ) -> Result<Response<RegisterInstitutionResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.register_institution(&caller, request.into_inner()).await?))
    }

    async fn list_institutions(
        &self,
        request: Request<ListInstitutionsRequest>,
    ) -> Result<Response<ListInstitutionsResponse>, Status> {
        Ok(Response::new(self.list_institutions(request.into_inner()).await?))
    }
}

impl Catalog {
    async fn register_institution(
        &self,
        caller: &Caller,
        request: RegisterInstitutionRequest,
    ) -> Result<RegisterInstitutionResponse, Problem> {
        let mut institution = request.institution.clone().unwrap_or_default();
        refuse(validate::institution(&institution))?;
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.InstitutionService/RegisterInstitution";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let (version, changed) = store::put_institution(&mut tx, &institution).await?;
        institution.version = version;
        if changed {
            let fact = InstitutionRegistered { institution: Some(institution.clone()) };
            let aggregate = Aggregate { kind: "institution", id: &institution.institution_id, version };
            outbox::append(&mut tx, aggregate, &institution.institution_id, &fact, now).await.map_err(Error::from)?;
        }
        let response = RegisterInstitutionResponse { institution: Some(institution) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(response)
    }

    async fn list_institutions(&self, request: ListInstitutionsRequest) -> Result<ListInstitutionsResponse, Problem> {
        let page = page::parse::<String>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let mut institutions =
            store::list_institutions(&mut conn, page.after.as_deref(), page.size.saturating_add(1)).await?;
        let more = cut(&mut institutions, page.size);
        let next_page_token = match institutions.last() {
            Some(last) if more => page::encode(&last.institution_id)?,
            _ => String::new(),
        };
        Ok(ListInstitutionsResponse { institutions, next_page_token })
    }
}

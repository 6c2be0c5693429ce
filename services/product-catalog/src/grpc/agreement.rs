//! Strategic agreements with institutions (战略合作协议).

use jiff::{ToSpan as _, civil::Date};
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::clock::business_date;
use zhirong_proto::catalog::v1::{
    Agreement, EndAgreementRequest, EndAgreementResponse, ListAgreementsRequest, ListAgreementsResponse,
    RegisterAgreementRequest, RegisterAgreementResponse, agreement_service_server::AgreementService,
};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    page,
    problem::Problem,
};

use super::{Catalog, cut, day, reason};
use crate::{
    error::Error,
    store::agreement::{self, New, Row},
    validate::{Violation, text},
};

#[tonic::async_trait]
impl AgreementService for Catalog {
    async fn register_agreement(
        &self,
        request: Request<RegisterAgreementRequest>,
    ) -> Result<Response<RegisterAgreementResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.register_agreement(&caller, request.into_inner()).await?))
    }

    async fn end_agreement(
        &self,
        request: Request<EndAgreementRequest>,
    ) -> Result<Response<EndAgreementResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.end_agreement(&caller, request.into_inner()).await?))
    }

    async fn list_agreements(
        &self,
        request: Request<ListAgreementsRequest>,
    ) -> Result<Response<ListAgreementsResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.list_agreements(&caller, request.into_inner()).await?))
    }
}

impl Catalog {
    async fn register_agreement(
        &self,
        caller: &Caller,
        request: RegisterAgreementRequest,
    ) -> Result<RegisterAgreementResponse, Problem> {
        let given = request.agreement.clone().unwrap_or_default();
        let days = term(&given)?;
        let id = match given.agreement_id.as_str() {
            "" => Uuid::now_v7(),
            given => agreement_id(given)?,
        };
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.AgreementService/RegisterAgreement";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let new = New {
            id,
            institution_id: &given.institution_id,
            name_zh: &given.name_zh,
            intent_fen: given.intent_fen,
            days,
        };
        if !agreement::insert(&mut tx, &new, &caller.subject, now).await? {
            return Err(Error::AgreementExists(id).into());
        }
        let response = RegisterAgreementResponse { agreement: Some(told(agreement::lock(&mut tx, id).await?)) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn end_agreement(
        &self,
        caller: &Caller,
        request: EndAgreementRequest,
    ) -> Result<EndAgreementResponse, Problem> {
        let id = agreement_id(&request.agreement_id)?;
        reason("reason", &request.reason, true)?;
        let now = self.clock.now();
        let today = business_date(now);
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.catalog.v1.AgreementService/EndAgreement";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let row = agreement::lock(&mut tx, id).await?;
        if row.ended_on.is_some() || row.ends_on.to_jiff() < today {
            return Err(Error::AgreementOver(id).into());
        }
        agreement::end(&mut tx, id, today, &caller.subject, &request.reason).await?;
        let response = EndAgreementResponse { agreement: Some(told(agreement::lock(&mut tx, id).await?)) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn list_agreements(
        &self,
        caller: &Caller,
        request: ListAgreementsRequest,
    ) -> Result<ListAgreementsResponse, Problem> {
        let page = page::parse::<Uuid>(request.page_size, &request.page_token)?;
        let institution = (!request.institution_id.is_empty()).then_some(request.institution_id.as_str());
        let visible_to = match caller.role {
            Role::Bank => Some(caller.institution()?.as_str()),
            _ => None,
        };
        let mut conn = self.pool.acquire().await?;
        let most = page.size.saturating_add(1);
        let mut rows = agreement::list(&mut conn, (institution, visible_to), page.after, most).await?;
        let more = cut(&mut rows, page.size);
        let next_page_token = match rows.last() {
            Some(last) if more => page::encode(&last.agreement_id)?,
            _ => String::new(),
        };
        Ok(ListAgreementsResponse { agreements: rows.into_iter().map(told).collect(), next_page_token })
    }
}

/// First and last day of an agreement that is as it must be.
fn term(agreement: &Agreement) -> Result<(Date, Date), Problem> {
    let (first, last) = (day(&agreement.signed_on), day(&agreement.ends_on));
    let longest = first.map(|first| first.saturating_add(30.years()));
    let violations: Vec<Violation> = [
        (text(&agreement.name_zh, 1, 128), "name_zh", "must have 1 to 128 characters"),
        (agreement.intent_fen > 0, "intent_fen", "must be positive"),
        (first.is_some(), "signed_on", "must be a day, YYYY-MM-DD"),
        (
            last.is_some() && (first.is_none() || (last >= first && last <= longest)),
            "ends_on",
            "must be a day, YYYY-MM-DD, from `signed_on` to 30 years after it",
        ),
    ]
    .into_iter()
    .filter(|(holds, ..)| !holds)
    .map(|(_, field, description)| Violation {
        field: format!("agreement.{field}"),
        description: description.to_owned(),
        is_rule: false,
    })
    .collect();
    match (first, last) {
        (Some(first), Some(last)) if violations.is_empty() => Ok((first, last)),
        _ => Err(super::refusal(violations)),
    }
}

fn agreement_id(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid("AGREEMENT_ID_INVALID", "the agreement's id is not a UUID")
            .field("agreement_id", "must be a UUID")
            .zh("协议编号格式有误")
    })
}

fn told(row: Row) -> Agreement {
    Agreement {
        agreement_id: row.agreement_id.to_string(),
        institution_id: row.institution_id,
        name_zh: row.name_zh,
        intent_fen: row.intent_fen,
        signed_on: row.signed_on.to_jiff().to_string(),
        ends_on: row.ends_on.to_jiff().to_string(),
        ended_on: row.ended_on.map(|on| on.to_jiff().to_string()).unwrap_or_default(),
        ended_reason: row.ended_reason,
    }
}

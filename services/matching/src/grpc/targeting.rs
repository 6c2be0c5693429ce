//! One product against every enterprise, and who agrees to be named.

use std::{
    collections::{BTreeSet, HashSet},
    pin::Pin,
    sync::Arc,
};

use futures::{Stream, StreamExt as _};
use jiff::{ToSpan as _, civil::Date};
use tonic::{Request, Response, Status};
use zhirong_kernel::{clock::business_date, id::InstitutionId, rule::Inputs};
use zhirong_proto::matching::v1::{
    self as pb, CandidateSummary, ListOfferConsentsRequest, ListOfferConsentsResponse, SetOfferConsentRequest,
    SetOfferConsentResponse, StreamCandidatesRequest, StreamCandidatesResponse, stream_candidates_response::Element,
    targeting_service_server::TargetingService,
};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    page,
    problem::Problem,
};

use super::{Matching, cut};
use crate::{
    adjust::{in_time, offered_to},
    error::Error,
    product::CompiledProduct,
    store::offer_consent,
    wish::USUAL_TERM_MONTHS,
};

type Candidates = Pin<Box<dyn Stream<Item = Result<StreamCandidatesResponse, Status>> + Send>>;

#[tonic::async_trait]
impl TargetingService for Matching {
    type StreamCandidatesStream = Candidates;

    async fn stream_candidates(
        &self,
        request: Request<StreamCandidatesRequest>,
    ) -> Result<Response<Candidates>, Status> {
        let caller = Caller::from_request(&request)?;
        let elements = self.candidates(&caller, &request.into_inner()).await?;
        let stream =
            futures::stream::iter(elements).map(|element| Ok(StreamCandidatesResponse { element: Some(element) }));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn set_offer_consent(
        &self,
        request: Request<SetOfferConsentRequest>,
    ) -> Result<Response<SetOfferConsentResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.set_offer_consent(&caller, request.into_inner()).await?))
    }

    async fn list_offer_consents(
        &self,
        request: Request<ListOfferConsentsRequest>,
    ) -> Result<Response<ListOfferConsentsResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.list_offer_consents(&caller, &request.into_inner()).await?))
    }
}

impl Matching {
    /// The summary, then who may be named, the largest limit first.
    async fn candidates(&self, caller: &Caller, request: &StreamCandidatesRequest) -> Result<Vec<Element>, Problem> {
        if request.min_limit_fen < 0 {
            return Err(Problem::invalid("REQUEST_INVALID", "the smallest limit is not an amount")
                .field("min_limit_fen", "must not be negative")
                .zh("最低额度有误"));
        }
        let catalog = self.snapshots.current();
        let product = catalog
            .products
            .get(&request.product_id)
            .filter(|product| owns(caller, product))
            .ok_or_else(|| Error::ProductNotFound(request.product_id.clone()))?;
        let today = business_date(self.clock.now());
        let inputs = Inputs {
            requested_fen: 0,
            term_months: USUAL_TERM_MONTHS.into(),
            lpr_1y_ppm: catalog.one_year_lpr(today)?.get(),
        };
        let named = self.who_may_be_named(caller, today).await?;
        let sets: BTreeSet<String> =
            in_time(&catalog, &request.product_id, today).map(|adjustment| adjustment.enterprise_tag.clone()).collect();
        let sets: Vec<String> = sets.into_iter().collect();
        let (computed, mut found, members) = {
            let (enterprises, engine) = (self.enterprises.clone(), Arc::clone(&product.engine));
            // A million profiles take some hundredths of a second, which would hold up other calls of this thread.
            tokio::task::spawn_blocking(move || {
                let (computed, found) = enterprises.candidates(&engine, inputs);
                (computed, found, enterprises.members(&sets))
            })
            .await
            .map_err(Problem::internal)?
        };
        for candidate in &mut found {
            let belongs = |set: &str| members.get(set).is_some_and(|members| members.contains(&candidate.id));
            let terms = (candidate.limit_fen, candidate.rate_ppm);
            let adjusted = offered_to(&catalog, product, belongs, today, terms);
            (candidate.limit_fen, candidate.rate_ppm) = (adjusted.limit_fen, adjusted.rate_ppm);
        }
        found.retain(|candidate| candidate.limit_fen >= request.min_limit_fen);
        found.sort_unstable_by(|a, b| (b.limit_fen, a.rate_ppm, a.id).cmp(&(a.limit_fen, b.rate_ppm, b.id)));
        let count = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
        let total_limit_fen = found.iter().fold(0_i64, |sum, candidate| sum.saturating_add(candidate.limit_fen));
        let eligible_enterprises = count(found.len());
        let candidates: Vec<Element> = found
            .into_iter()
            .map(|candidate| pb::Candidate {
                enterprise_id: String::from_utf8_lossy(&candidate.id).into_owned(),
                limit_fen: candidate.limit_fen,
                rate_ppm: candidate.rate_ppm,
                profile_version: candidate.version,
            })
            .filter(|candidate| named.as_ref().is_none_or(|named| named.contains(&candidate.enterprise_id)))
            .map(Element::Candidate)
            .collect();
        let summary = CandidateSummary {
            computed_enterprises: count(computed),
            eligible_enterprises,
            named_enterprises: count(candidates.len()),
            total_limit_fen,
            catalog_version: catalog.version,
        };
        Ok(std::iter::once(Element::Summary(summary)).chain(candidates).collect())
    }

    /// For a bank, those who let it; for staff, everybody, which is nothing to filter by.
    async fn who_may_be_named(&self, caller: &Caller, today: Date) -> Result<Option<HashSet<String>>, Problem> {
        if caller.role != Role::Bank {
            return Ok(None);
        }
        let mut conn = self.pool.acquire().await?;
        Ok(Some(offer_consent::consenting(&mut conn, caller.institution()?.as_str(), today).await?))
    }

    async fn set_offer_consent(
        &self,
        caller: &Caller,
        request: SetOfferConsentRequest,
    ) -> Result<SetOfferConsentResponse, Problem> {
        let enterprise = caller.enterprise()?.clone();
        let now = self.clock.now();
        let expires_on = check(&request, business_date(now))?;
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.matching.v1.TargetingService/SetOfferConsent";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let (institution, text) = (&request.institution_id, &request.text_version);
        let consent = offer_consent::set(&mut tx, enterprise.as_str(), institution, expires_on, text, now).await?;
        let response = SetOfferConsentResponse { consent: Some(consent) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn list_offer_consents(
        &self,
        caller: &Caller,
        request: &ListOfferConsentsRequest,
    ) -> Result<ListOfferConsentsResponse, Problem> {
        let page = page::parse::<String>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let most = page.size.saturating_add(1);
        let found = offer_consent::list(&mut conn, caller.enterprise()?.as_str(), page.after.as_deref(), most).await?;
        let (consents, more) = cut(found, page.size);
        let next_page_token = match consents.last() {
            Some(last) if more => page::encode(&last.institution_id)?,
            _ => String::new(),
        };
        Ok(ListOfferConsentsResponse { consents, next_page_token })
    }
}

/// A bank asks for its own products.
fn owns(caller: &Caller, product: &CompiledProduct) -> bool {
    caller.role != Role::Bank
        || caller.institution().is_ok_and(|institution| institution.as_str() == product.institution_id)
}

/// Checks a consent; gives its last day.
fn check(request: &SetOfferConsentRequest, today: Date) -> Result<Option<Date>, Problem> {
    let mut violations: Vec<(&'static str, String)> = Vec::new();
    if !request.institution_id.is_empty() && request.institution_id.parse::<InstitutionId>().is_err() {
        violations.push(("institution_id", "must be an institution, or empty for all".to_owned()));
    }
    if !(1..=32).contains(&request.text_version.chars().count()) {
        violations.push(("text_version", "must have 1 to 32 characters".to_owned()));
    }
    let latest = today.checked_add(1.year()).unwrap_or(today);
    let expires_on: Option<Date> = request.expires_on.parse().ok();
    if !request.expires_on.is_empty() && !expires_on.is_some_and(|day| (today..=latest).contains(&day)) {
        violations.push(("expires_on", format!("must be a date from {today} to {latest}, or empty")));
    }
    if violations.is_empty() {
        return Ok(expires_on);
    }
    let problem = Problem::invalid("CONSENT_INVALID", "the consent can't be taken; see the fields")
        .zh("授权内容有误，请逐项核对");
    Err(violations.into_iter().fold(problem, |problem, (field, why)| problem.field(field, why)))
}

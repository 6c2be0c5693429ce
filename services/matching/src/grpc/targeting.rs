//! One product against every enterprise.

use std::{collections::BTreeSet, pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{clock::business_date, rule::Inputs};
use zhirong_proto::matching::v1::{
    self as pb, CandidateSummary, StreamCandidatesRequest, StreamCandidatesResponse,
    stream_candidates_response::Element, targeting_service_server::TargetingService,
};
use zhirong_runtime::{
    caller::{Caller, Role},
    problem::Problem,
};

use super::Matching;
use crate::{
    adjust::{in_time, offered_to},
    error::Error,
    naming,
    product::CompiledProduct,
    store,
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
        let disputing = store::objection::disputing(&self.pool).await?;
        let candidates = found
            .into_iter()
            .map(|candidate| {
                let enterprise_id = String::from_utf8_lossy(&candidate.id).into_owned();
                pb::Candidate {
                    disputed: disputing.contains(&enterprise_id),
                    enterprise_id,
                    limit_fen: candidate.limit_fen,
                    rate_ppm: candidate.rate_ppm,
                    profile_version: candidate.version,
                }
            })
            .collect();
        let candidates = self.named(caller, &request.product_id, catalog.version, candidates).await?;
        let summary = CandidateSummary {
            computed_enterprises: count(computed),
            eligible_enterprises,
            named_enterprises: count(candidates.len()),
            total_limit_fen,
            catalog_version: catalog.version,
        };
        Ok(std::iter::once(Element::Summary(summary)).chain(candidates.into_iter().map(Element::Candidate)).collect())
    }

    /// For a bank, those who let it offer them credit; for staff, everybody.
    async fn named(
        &self,
        caller: &Caller,
        product_id: &str,
        catalog_version: i64,
        candidates: Vec<pb::Candidate>,
    ) -> Result<Vec<pb::Candidate>, Problem> {
        if caller.role != Role::Bank {
            return Ok(candidates);
        }
        let product = Uuid::parse_str(product_id).map_err(Problem::internal)?;
        let mut tx = self.pool.begin().await?;
        let institution = caller.institution()?.as_str();
        let shown = (catalog_version, candidates);
        let named = naming::name(&mut tx, institution, product, shown, self.clock.now()).await?;
        tx.commit().await?;
        self.outbox.notify();
        Ok(named)
    }
}

/// A bank asks for its own products.
fn owns(caller: &Caller, product: &CompiledProduct) -> bool {
    caller.role != Role::Bank
        || caller.institution().is_ok_and(|institution| institution.as_str() == product.institution_id)
}

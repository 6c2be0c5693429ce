//! One product against every enterprise.

use std::{collections::BTreeSet, pin::Pin, sync::Arc};

use futures::Stream;
use jiff::Timestamp;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_kernel::{InstitutionId, clock::business_date, rule::Inputs};
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
    checks::is_stale,
    error::Error,
    naming::{self, Named},
    product::CompiledProduct,
    store,
    wish::USUAL_TERM_MONTHS,
};

/// Names that leave between two looks at the consents.
const CHUNK: usize = 500;

type Candidates = Pin<Box<dyn Stream<Item = Result<StreamCandidatesResponse, Status>> + Send>>;

#[tonic::async_trait]
impl TargetingService for Matching {
    type StreamCandidatesStream = Candidates;

    async fn stream_candidates(
        &self,
        request: Request<StreamCandidatesRequest>,
    ) -> Result<Response<Candidates>, Status> {
        let caller = Caller::from_request(&request)?;
        let request = request.into_inner();
        let (summary, candidates) = self.candidates(&caller, &request).await?;
        if caller.role != Role::Bank {
            let count = i64::try_from(candidates.len()).unwrap_or(i64::MAX);
            let summary = CandidateSummary { named_enterprises: count, ..summary };
            let all = std::iter::once(first(summary)).chain(candidates.into_iter().map(element));
            return Ok(Response::new(Box::pin(futures::stream::iter(all.map(Ok)))));
        }
        let naming = Naming {
            matching: self.clone(),
            institution: caller.institution()?.clone(),
            product: Uuid::parse_str(&request.product_id).map_err(Problem::internal)?,
            catalog_version: summary.catalog_version,
        };
        Ok(Response::new(naming.stream(summary, candidates).await?))
    }
}

fn first(summary: CandidateSummary) -> StreamCandidatesResponse {
    StreamCandidatesResponse { element: Some(Element::Summary(summary)) }
}

fn element(candidate: pb::Candidate) -> StreamCandidatesResponse {
    StreamCandidatesResponse { element: Some(Element::Candidate(candidate)) }
}

/// Names candidates to a bank: those who let it offer them credit.
struct Naming {
    matching: Matching,
    institution: InstitutionId,
    product: Uuid,
    catalog_version: i64,
}

impl Naming {
    /// The summary, then the names. While they leave, whoever takes the consent back is named no longer.
    async fn stream(self, summary: CandidateSummary, candidates: Vec<pb::Candidate>) -> Result<Candidates, Problem> {
        let Matching { pool, checks, clock, .. } = &self.matching;
        let (now, institution) = (clock.now(), self.institution.as_str());
        let named = naming::consenting(pool, checks, institution, candidates, now).await?;
        let checked_at = clock.now();
        self.tell(&named, now).await?;
        let count = i64::try_from(named.len()).unwrap_or(i64::MAX);
        let summary = CandidateSummary { named_enterprises: count, ..summary };
        Ok(Box::pin(async_stream::stream! {
            yield Ok(first(summary));
            for chunk in named.chunks(CHUNK) {
                let mut chunk = chunk.to_vec();
                if is_stale(checked_at, self.matching.clock.now()) {
                    chunk = match self.again(chunk).await {
                        Ok(chunk) => chunk,
                        Err(problem) => {
                            yield Err(problem.into());
                            return;
                        }
                    };
                }
                for (_, candidate) in chunk {
                    yield Ok(element(candidate));
                }
            }
        }))
    }

    /// Those of some who still consent, with what they dispute by now; told before they leave.
    async fn again(&self, named: Vec<Named>) -> Result<Vec<Named>, Problem> {
        let now = self.matching.clock.now();
        let named = naming::confirmed(&self.matching.checks, named, now).await?;
        self.tell(&named, now).await?;
        Ok(named)
    }

    async fn tell(&self, named: &[Named], now: Timestamp) -> Result<(), Problem> {
        let mut tx = self.matching.pool.begin().await?;
        naming::tell(&mut tx, self.institution.as_str(), self.product, self.catalog_version, named, now).await?;
        tx.commit().await?;
        self.matching.outbox.notify();
        Ok(())
    }
}

impl Matching {
    /// Whom the product would take, the largest limit first, and the counts but for who is named.
    async fn candidates(
        &self,
        caller: &Caller,
        request: &StreamCandidatesRequest,
    ) -> Result<(CandidateSummary, Vec<pb::Candidate>), Problem> {
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
        let candidates: Vec<pb::Candidate> = found
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
        let summary = CandidateSummary {
            computed_enterprises: count(computed),
            eligible_enterprises,
            named_enterprises: 0,
            total_limit_fen,
            catalog_version: catalog.version,
        };
        Ok((summary, candidates))
    }
}

/// A bank asks for its own products.
fn owns(caller: &Caller, product: &CompiledProduct) -> bool {
    caller.role != Role::Bank
        || caller.institution().is_ok_and(|institution| institution.as_str() == product.institution_id)
}

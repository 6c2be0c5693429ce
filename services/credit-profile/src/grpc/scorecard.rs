//! Scorecards: written, tried, reviewed, and used once more on what was known.

use tonic::{Request, Response, Status};
use zhirong_proto::profile::v1::{
    Contribution, DraftScorecardRequest, DraftScorecardResponse, GivenScore, ListScorecardsRequest,
    ListScorecardsResponse, ListScoresRequest, ListScoresResponse, RecomputeScoreRequest, RecomputeScoreResponse,
    ReviewScorecardRequest, ReviewScorecardResponse, StreamScorecardTrialRequest, TryScorecardRequest,
    TryScorecardResponse, scorecard_service_server::ScorecardService,
};
use zhirong_runtime::{
    caller::Caller,
    idempotency::{self, Claim},
    page,
    problem::Problem,
};

use super::{
    Profiles, full,
    trial::{Trials, UnderWay},
    whose,
};
use crate::{
    error::Error,
    profile::{known, score_message, value_message},
    scorecard::{check, odds},
    store::scorecards,
};

#[tonic::async_trait]
impl ScorecardService for Profiles {
    async fn draft_scorecard(
        &self,
        request: Request<DraftScorecardRequest>,
    ) -> Result<Response<DraftScorecardResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.draft_scorecard(&caller, request.into_inner()).await?))
    }

    async fn try_scorecard(
        &self,
        request: Request<TryScorecardRequest>,
    ) -> Result<Response<TryScorecardResponse>, Status> {
        let trial = UnderWay::begin(&self.pool, request.into_inner().version).await?.end().await?;
        Ok(Response::new(TryScorecardResponse { trial: Some(trial) }))
    }

    type StreamScorecardTrialStream = Trials;

    async fn stream_scorecard_trial(
        &self,
        request: Request<StreamScorecardTrialRequest>,
    ) -> Result<Response<Trials>, Status> {
        Ok(Response::new(UnderWay::begin(&self.pool, request.into_inner().version).await?.told()))
    }

    async fn review_scorecard(
        &self,
        request: Request<ReviewScorecardRequest>,
    ) -> Result<Response<ReviewScorecardResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.review_scorecard(&caller, request.into_inner()).await?))
    }

    async fn list_scorecards(
        &self,
        request: Request<ListScorecardsRequest>,
    ) -> Result<Response<ListScorecardsResponse>, Status> {
        Ok(Response::new(self.list_scorecards(request.into_inner()).await?))
    }

    async fn list_scores(&self, request: Request<ListScoresRequest>) -> Result<Response<ListScoresResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.list_scores(&caller, &request.into_inner()).await?))
    }

    async fn recompute_score(
        &self,
        request: Request<RecomputeScoreRequest>,
    ) -> Result<Response<RecomputeScoreResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.recompute_score(&caller, request.into_inner()).await?))
    }
}

impl Profiles {
    async fn draft_scorecard(
        &self,
        caller: &Caller,
        request: DraftScorecardRequest,
    ) -> Result<DraftScorecardResponse, Problem> {
        let mut card = request.scorecard.clone().unwrap_or_default();
        let mut violations = check::violations(&card);
        if card.version != 0 {
            violations.push(("scorecard.version".to_owned(), "must be 0: the platform counts versions".to_owned()));
        }
        if !violations.is_empty() {
            let problem = Problem::invalid("SCORECARD_INVALID", "the scorecard can't be used; see the fields")
                .zh("评分卡有误，请逐项核对");
            return Err(violations.into_iter().fold(problem, |problem, (field, why)| problem.field(field, why)));
        }
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.profile.v1.ScorecardService/DraftScorecard";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        scorecards::lock(&mut tx).await?;
        card.version = scorecards::next_version(&mut tx).await?;
        scorecards::insert(&mut tx, &card, &caller.subject, now).await?;
        let drafted = scorecards::get(&mut tx, card.version).await?.told()?;
        let response = DraftScorecardResponse { scorecard: Some(drafted) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        Ok(response)
    }

    async fn review_scorecard(
        &self,
        caller: &Caller,
        request: ReviewScorecardRequest,
    ) -> Result<ReviewScorecardResponse, Problem> {
        let length = request.reason.chars().count();
        if length > 512 || (length == 0 && !request.approve) {
            return Err(Problem::invalid("REASON_INVALID", "a refusal needs a reason of 1 to 512 characters")
                .field("reason", "must have 1 to 512 characters")
                .zh("退回时请说明理由（1至512字）"));
        }
        let now = self.clock.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.profile.v1.ScorecardService/ReviewScorecard";
        let slot = match idempotency::claim(&mut tx, caller, method, &request.request_id, &request, now).await? {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        scorecards::lock(&mut tx).await?;
        let draft = scorecards::get(&mut tx, request.version).await?;
        if draft.state != "draft" {
            return Err(Error::ScorecardState { version: request.version, state: draft.state }.into());
        }
        if draft.drafted_by == caller.subject {
            return Err(Error::SamePerson.into());
        }
        let (version, approve) = (request.version, request.approve);
        scorecards::review(&mut tx, version, approve, &caller.subject, now, &request.reason).await?;
        let reviewed = scorecards::get(&mut tx, version).await?.told()?;
        let response = ReviewScorecardResponse { scorecard: Some(reviewed) };
        slot.complete(&mut tx, &response).await?;
        tx.commit().await?;
        self.stale.notify_one();
        Ok(response)
    }

    async fn list_scorecards(&self, request: ListScorecardsRequest) -> Result<ListScorecardsResponse, Problem> {
        let page = page::parse::<i32>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let rows = scorecards::list(&mut conn, page.after, page.size).await?;
        let next_page_token = match rows.last() {
            Some(last) if full(rows.len(), page.size) => page::encode(&last.version)?,
            _ => String::new(),
        };
        let scorecards = rows.into_iter().map(scorecards::Row::told).collect::<Result<_, _>>()?;
        Ok(ListScorecardsResponse { scorecards, next_page_token })
    }

    async fn list_scores(&self, caller: &Caller, request: &ListScoresRequest) -> Result<ListScoresResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let page = page::parse::<i64>(request.page_size, &request.page_token)?;
        let mut conn = self.pool.acquire().await?;
        let versions = scorecards::profile_versions(&mut conn, enterprise.as_str(), page.after, page.size).await?;
        let next_page_token = match versions.last() {
            Some(last) if full(versions.len(), page.size) => page::encode(&last.version)?,
            _ => String::new(),
        };
        let scores = versions.into_iter().map(|profile| GivenScore {
            profile_version: profile.version,
            computed_at: profile.computed_at,
            score: profile.score,
        });
        Ok(ListScoresResponse { scores: scores.collect(), next_page_token })
    }

    async fn recompute_score(
        &self,
        caller: &Caller,
        request: RecomputeScoreRequest,
    ) -> Result<RecomputeScoreResponse, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        let named = (request.profile_version != 0).then_some(request.profile_version);
        let mut conn = self.pool.acquire().await?;
        let profile = scorecards::profile_version(&mut conn, enterprise.as_str(), named).await?;
        let profile = profile.ok_or(Error::ProfileNotFound)?;
        let used = profile.score.as_ref().map_or(0, |score| score.scorecard_version);
        let card = match (request.scorecard_version, used) {
            (0, 0) => scorecards::in_force(&mut conn).await?,
            (0, used) => scorecards::get(&mut conn, used).await?.card()?,
            (named, _) => scorecards::get(&mut conn, named).await?.card()?,
        };
        let known = known(&profile);
        let score = card.score(&known).map(score_message);
        let said = card.card();
        let odds_milli = score
            .as_ref()
            .map_or(0, |score| odds::milli(score.points, said.base_points, said.base_odds, said.points_to_double_odds));
        let contributions = card
            .parts(&known)
            .into_iter()
            .map(|part| Contribution {
                feature: part.characteristic.feature.clone(),
                value: Some(value_message(part.value)),
                band: i32::try_from(part.band).unwrap_or(i32::MAX).saturating_add(1),
                band_points: part.band_points,
                weight_ppm: part.characteristic.weight_ppm,
                points: part.points,
            })
            .collect();
        Ok(RecomputeScoreResponse {
            profile_version: profile.version,
            scorecard_version: said.version,
            same: score == profile.score,
            score,
            recorded: profile.score,
            contributions,
            base_points: said.base_points,
            odds_milli,
        })
    }
}

//! A scorecard that is being tried on every profile.

use std::pin::Pin;

use futures::Stream;
use sqlx::{PgPool, Postgres, Transaction};
use tonic::Status;
use zhirong_proto::profile::v1::{
    ScorecardTrial, ScorecardTrialProgress, StreamScorecardTrialResponse, stream_scorecard_trial_response::Element,
};
use zhirong_runtime::problem::Problem;

use super::full;
use crate::{
    profile::known,
    scorecard::{Scorecard, trial::Trial},
    store::{self, scorecards},
};

/// Profiles that are read at a time.
const AT_ONCE: i64 = 500;

/// How far a trial has come, time and again, then its end.
pub(super) type Trials = Pin<Box<dyn Stream<Item = Result<StreamScorecardTrialResponse, Status>> + Send>>;

/// A trial. It reads page by page in one snapshot, so that it is of one moment and no row is locked.
pub(super) struct UnderWay {
    tx: Transaction<'static, Postgres>,
    tried: Scorecard,
    in_force: Scorecard,
    trial: Trial,
    after: Option<String>,
}

impl UnderWay {
    /// Begins the trial of this version.
    pub(super) async fn begin(pool: &PgPool, version: i32) -> Result<Self, Problem> {
        let mut tx = pool.begin().await?;
        store::one_snapshot(&mut tx).await?;
        let tried = scorecards::get(&mut tx, version).await?.card()?;
        let in_force = scorecards::in_force(&mut tx).await?;
        Ok(Self { tx, tried, in_force, trial: Trial::default(), after: None })
    }

    /// Goes on to its end.
    pub(super) async fn end(mut self) -> Result<ScorecardTrial, Problem> {
        while self.go_on().await? {}
        Ok(self.trial.finish(&self.tried, &self.in_force))
    }

    /// Goes on to its end, and tells after each page how far it has come.
    pub(super) fn told(mut self) -> Trials {
        Box::pin(async_stream::try_stream! {
            let of = store::count_profiles(&mut self.tx).await.map_err(Problem::from)?;
            while self.go_on().await? {
                let progress = ScorecardTrialProgress { profiles: self.trial.profiles(), of };
                yield StreamScorecardTrialResponse { element: Some(Element::Progress(progress)) };
            }
            let trial = self.trial.finish(&self.tried, &self.in_force);
            yield StreamScorecardTrialResponse { element: Some(Element::Trial(trial)) };
        })
    }

    /// Tries it on some more profiles; says whether there can be more.
    async fn go_on(&mut self) -> Result<bool, Problem> {
        let profiles = store::list_profiles(&mut self.tx, self.after.as_deref(), AT_ONCE).await?;
        for profile in &profiles {
            let known = known(profile);
            let (before, after) = (self.in_force.score(&known), self.tried.score(&known));
            self.trial.add(&profile.enterprise_id, before.as_ref(), after.as_ref());
        }
        self.after = profiles.last().map(|last| last.enterprise_id.clone());
        Ok(full(profiles.len(), AT_ONCE))
    }
}

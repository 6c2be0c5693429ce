//! A loan is judged by what its approval told of the borrower, whatever is known later, until the enterprise is erased.

use jiff::Timestamp;
use subsidy::{
    flow::approval,
    store::{known::Known, loan::Approved},
};
use zhirong_proto::{
    matching::v1::{Loan, LoanApproved},
    profile::v1::{EnterpriseErased, FeatureValue, Profile, ProfileUpdated, feature_value::Kind},
    subsidy::v1::{PolicySpec, TryPolicyRequest, TryPolicyResponse},
};
use zhirong_runtime::streams;
use zhirong_testkit::eventually;

use crate::{
    compensations::{amounts, pool_policy, shared},
    race::{approved, desk},
    support::{IP_FEN, PATIENCE, World, ip_policy, new_id, staff, uscc},
};

const SHARED_WITH_THE_POOL: [i64; 3] = [4_000_000, 4_000_000, 2_000_000];
const WITHOUT_THE_POOL: [i64; 3] = [0, 4_000_000, 6_000_000];

pub fn employs(number: i64) -> [(String, FeatureValue); 1] {
    [("employee_count".to_owned(), FeatureValue { kind: Some(Kind::Integer(number)), ..FeatureValue::default() })]
}

/// For who employs ten.
pub fn for_ten(spec: PolicySpec) -> PolicySpec {
    PolicySpec { who: "employee_count >= 10".to_owned(), ..spec }
}

impl World {
    /// An approval that tells how many the borrower employs, from a version of its profile.
    async fn approved_with(&self, loan: &Loan, employees: i64, profile_version: i64) {
        let fact = LoanApproved { loan: Some(loan.clone()), features: employs(employees).into(), profile_version };
        self.publish(&new_id(), &loan.loan_id, &fact).await;
        self.handled().await;
    }

    async fn profile(&self, enterprise_id: &str, employees: i64, version: i64) {
        let features = employs(employees).into();
        let profile = Profile { enterprise_id: enterprise_id.to_owned(), version, features, ..Profile::default() };
        self.publish(&new_id(), enterprise_id, &ProfileUpdated { profile: Some(profile) }).await;
        self.drained(streams::PROFILE, "subsidy-profiles").await;
    }

    async fn erasure(&self, enterprise_id: &str, profile_version: i64) {
        let fact = EnterpriseErased {
            enterprise_id: enterprise_id.to_owned(),
            profile_version,
            version: 1,
            ..EnterpriseErased::default()
        };
        self.publish(&new_id(), enterprise_id, &fact).await;
    }

    async fn erased(&self, enterprise_id: &str, profile_version: i64) {
        self.erasure(enterprise_id, profile_version).await;
        self.drained(streams::PROFILE, "subsidy-erasures").await;
    }

    async fn tried(&self, spec: PolicySpec) -> TryPolicyResponse {
        let (from, to) = ("2026-01-01".to_owned(), "2026-12-31".to_owned());
        let request = TryPolicyRequest { spec: Some(spec), from, to, ..TryPolicyRequest::default() };
        self.reviews().try_policy(staff("zhao", request)).await.unwrap().into_inner()
    }

    async fn kept(&self) -> Vec<i64> {
        let kept = "SELECT known_version FROM loan WHERE known IS NOT NULL ORDER BY known_version";
        sqlx::query_scalar(kept).fetch_all(&self.pool).await.unwrap()
    }
}

#[tokio::test]
async fn a_pool_bears_what_fitted_at_the_approval_whatever_is_known_at_the_default() {
    let world = World::with_lpr(1).await;
    world.policy(for_ten(pool_policy(0))).await;
    let (large, small, silent) = (shared(1), shared(2), shared(3));
    world.approved_with(&large, 10, 1).await;
    world.approved_with(&small, 9, 1).await;
    world.approve(&silent).await;
    world.handled().await;
    for (loan, employees) in [(&large, 1), (&small, 99), (&silent, 99)] {
        world.profile(&loan.enterprise_id, employees, 2).await;
    }
    // A trial goes by the same, of a subsidy as of a pool. An approval of before they told anything leaves the profile of the day.
    let mut expected = vec![large.loan_id.clone(), silent.loan_id.clone()];
    expected.sort_unstable();
    let fits = async |spec: PolicySpec| {
        let mut fits: Vec<_> = world.tried(for_ten(spec)).await.lines.into_iter().map(|line| line.loan_id).collect();
        fits.sort_unstable();
        fits
    };
    assert_eq!(fits(ip_policy()).await, expected);
    for (loan, expected) in
        [(&large, SHARED_WITH_THE_POOL), (&small, WITHOUT_THE_POOL), (&silent, SHARED_WITH_THE_POOL)]
    {
        let opened = world.defaulted(loan, 10_000_000, 0).await.unwrap();
        assert_eq!(amounts(&opened), expected, "{}", loan.enterprise_id);
    }
    assert_eq!(fits(pool_policy(0)).await, expected);
    assert!(world.dead_letters().await.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn what_was_told_of_an_erased_enterprise_goes_whichever_is_heard_of_first_and_its_grants_stay() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(for_ten(ip_policy())).await;
    world.appropriate(&policy, 2026, 10 * IP_FEN).await;
    world.policy(for_ten(pool_policy(0))).await;
    let (before, late, after, other) = (shared(1), shared(1), shared(1), shared(2));
    world.approved_with(&before, 10, 3).await;
    world.approved_with(&other, 10, 2).await;
    world.erased(&uscc(1), 4).await;
    assert_eq!(world.kept().await, [2], "another's stays");
    world.approved_with(&late, 10, 4).await;
    world.approved_with(&after, 10, 5).await;
    world.erased(&uscc(1), 0).await;
    assert_eq!(world.kept().await, [2, 5], "what comes of a later profile stays");
    assert_eq!(world.all_grants().await.len(), 4, "what was told while it was there decided");
    // What was erased is not known any more, and the profile of the day is.
    world.profile(&uscc(1), 1, 6).await;
    assert_eq!(amounts(&world.defaulted(&before, 10_000_000, 0).await.unwrap()), WITHOUT_THE_POOL);
    assert_eq!(amounts(&world.defaulted(&after, 10_000_000, 0).await.unwrap()), SHARED_WITH_THE_POOL);
    assert!(world.dead_letters().await.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn an_erasure_waits_for_approvals_that_are_being_written() {
    let world = World::with_lpr(1).await;
    let loan = Approved { features: Known::told(employs(10).into(), 1), ..approved(1) };
    let mut writing = world.pool.begin().await.unwrap();
    approval::approve_all(&mut writing, &desk(), &[loan], Timestamp::now()).await.unwrap();
    world.erasure(&uscc(1), 1).await;
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'";
    eventually(PATIENCE, "the erasure waits", || async { Ok((world.count(waiting).await == 1).then_some(())) })
        .await
        .unwrap();
    writing.commit().await.unwrap();
    world.drained(streams::PROFILE, "subsidy-erasures").await;
    assert!(world.kept().await.is_empty());
    assert_eq!(world.count("SELECT count(*) FROM loan").await, 1);
    world.stop().await;
}

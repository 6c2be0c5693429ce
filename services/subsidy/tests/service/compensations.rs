//! A loss is shared as agreed, claimed, reviewed, paid, and what comes back is shared in the same proportions.

use std::collections::BTreeMap;

use tonic::Code;
use zhirong_proto::{
    matching::v1::{Guarantee, Loan, LoanDefaulted, LoanRecovered, LoanState, RiskBearer, RiskShare},
    profile::v1::{FeatureValue, Profile, ProfileUpdated, feature_value::Kind},
    subsidy::v1::{
        Budget, BudgetExhausted, ClaimCompensationRequest, Compensation, CompensationDecided, CompensationOpened,
        CompensationPaid, CompensationRecovered, CompensationState, Evidence, ListCompensationsRequest,
        PayCompensationRequest, PolicySpec, RecordPoolReturnRequest, ReviewCompensationRequest, RiskCompensation,
        TryPolicyRequest, policy_spec::Benefit,
    },
};

use zhirong_runtime::streams;

use crate::support::{World, bank, ip_policy, loan, new_id, refusal, staff};

pub fn pool_policy(waiting_days: i32) -> PolicySpec {
    PolicySpec {
        name_zh: "示例风险补偿资金池".to_owned(),
        benefit: Some(Benefit::RiskCompensation(RiskCompensation { waiting_days, interest_counts: true })),
        required_product_tags: vec!["ip_pledge".to_owned()],
        ..ip_policy()
    }
}

fn share(bearer: RiskBearer, institution: &str, share_ppm: i64) -> RiskShare {
    RiskShare { bearer: bearer.into(), institution_id: institution.to_owned(), share_ppm }
}

/// Pool 40 %, guarantor 40 %, lender 20 %.
pub fn shared(number: usize) -> Loan {
    let guarantee = Guarantee {
        guarantor_institution_id: "sample-guarantor".to_owned(),
        risk_shares: vec![
            share(RiskBearer::PolicyPool, "", 400_000),
            share(RiskBearer::Guarantor, "sample-guarantor", 400_000),
            share(RiskBearer::Lender, "sample-bank", 200_000),
        ],
        ..Guarantee::default()
    };
    Loan { guarantee: Some(guarantee), ..loan(number) }
}

impl World {
    /// Approved, paid out on 1 March, in default on 1 June 2026 with so much owed.
    async fn lost(&self, loan: &Loan, principal: i64, interest: i64) -> Option<Compensation> {
        self.approve(loan).await;
        self.defaulted(loan, principal, interest).await
    }

    /// An approved loan is paid out on 1 March, in default on 1 June 2026 with so much owed.
    pub async fn defaulted(&self, loan: &Loan, principal: i64, interest: i64) -> Option<Compensation> {
        self.disburse(loan, loan.amount_fen, "2026-03-01").await;
        let lost = Loan { version: 3, state: LoanState::Defaulted.into(), outstanding_fen: principal, ..loan.clone() };
        let fact =
            LoanDefaulted { loan: Some(lost), defaulted_on: "2026-06-01".to_owned(), overdue_interest_fen: interest };
        self.publish(&new_id(), &loan.loan_id, &fact).await;
        self.handled().await;
        self.compensation_of(loan).await
    }

    async fn recovered(&self, loan: &Loan, version: i64, recovered_fen: i64) {
        let fact = LoanRecovered {
            loan: Some(Loan { version, ..loan.clone() }),
            recovered_fen,
            recovered_on: "2026-08-01".to_owned(),
        };
        self.publish(&new_id(), &loan.loan_id, &fact).await;
        self.handled().await;
    }

    async fn compensation_of(&self, loan: &Loan) -> Option<Compensation> {
        let request = staff("zhao", ListCompensationsRequest::default());
        let all = self.compensations().list_compensations(request).await.unwrap().into_inner().compensations;
        all.into_iter().find(|found| found.loan_id == loan.loan_id)
    }

    async fn claim(&self, found: &Compensation, who: &str) -> Result<Compensation, tonic::Status> {
        let evidence = vec![Evidence { document_zh: "判决书".to_owned(), sha256: "ab".repeat(32) }];
        let request =
            ClaimCompensationRequest { request_id: new_id(), compensation_id: found.compensation_id.clone(), evidence };
        let answer = self.compensations().claim_compensation(bank(who, request)).await?;
        Ok(answer.into_inner().compensation.unwrap())
    }

    async fn decide(&self, found: &Compensation, who: &str, approve: bool) -> Result<Compensation, tonic::Status> {
        let request = ReviewCompensationRequest {
            request_id: new_id(),
            compensation_id: found.compensation_id.clone(),
            approve,
            reason_zh: "依据材料".to_owned(),
        };
        let answer = self.compensations().review_compensation(staff(who, request)).await?;
        Ok(answer.into_inner().compensation.unwrap())
    }
}

fn pay(found: &Compensation, part: i32) -> PayCompensationRequest {
    let compensation_id = found.compensation_id.clone();
    PayCompensationRequest { request_id: new_id(), compensation_id, part, paid_on: "2026-07-01".to_owned() }
}

pub fn amounts(found: &Compensation) -> Vec<i64> {
    found.parts.iter().map(|part| part.amount_fen).collect()
}

#[tokio::test]
async fn a_loss_is_shared_claimed_reviewed_paid_and_recovered() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(pool_policy(30)).await;
    let loan = shared(1);
    let opened = world.lost(&loan, 10_000_000, 1).await.unwrap();
    assert_eq!((opened.loss_fen, amounts(&opened)), (10_000_001, vec![4_000_001, 4_000_000, 2_000_000]));
    assert_eq!((opened.state(), opened.claimable_from.as_str()), (CompensationState::Open, "2026-07-01"));
    assert!(opened.calculation_zh.contains("政策风险池40.00%承担40,000.01元"), "{}", opened.calculation_zh);
    assert_eq!(refusal(world.decide(&opened, "zhao", true).await).reason, "COMPENSATION_NOT_CLAIMED");
    assert_eq!(refusal(world.claim(&opened, "another-bank").await).reason, "COMPENSATION_NOT_FOUND");
    let claimed = world.claim(&opened, "sample-bank").await.unwrap();
    assert_eq!(refusal(world.claim(&opened, "sample-bank").await).reason, "COMPENSATION_NOT_OPEN");
    assert!(world.announced::<BudgetExhausted>().await.is_empty());
    let poor = refusal(world.decide(&claimed, "zhao", true).await);
    assert_eq!((poor.code, poor.reason.as_str()), (Code::ResourceExhausted, "BUDGET_EXHAUSTED"));
    // The refusal has written nothing but that.
    let told = world.announced::<BudgetExhausted>().await.pop().unwrap();
    let empty = Budget { policy_id: policy.policy_id.clone(), year: 2026, ..Budget::default() };
    assert_eq!((told.budget, told.version), (Some(empty), 1));
    assert_eq!(world.compensation_of(&loan).await.unwrap(), claimed);
    assert!(world.announced::<CompensationDecided>().await.is_empty());
    world.appropriate(&policy, 2026, 5_000_000).await;
    let approved = world.decide(&claimed, "zhao", true).await.unwrap();
    assert_eq!(approved.state(), CompensationState::Approved);
    assert_eq!(world.budget(&policy).await.payable_fen, 4_000_001);

    let mut api = world.compensations();
    assert_eq!(refusal(api.pay_compensation(staff("zhao", pay(&approved, 0))).await).reason, "SAME_PERSON");
    assert_eq!(refusal(api.pay_compensation(staff("qian", pay(&approved, 1))).await).reason, "NOT_YOUR_PART");
    assert_eq!(refusal(api.pay_compensation(bank("sample-bank", pay(&approved, 2))).await).reason, "NOT_YOUR_PART");
    // Something comes back before the pool pays: it pays the less.
    world.recovered(&loan, 4, 1_000_001).await;
    let request = pay(&approved, 0);
    let half = api.pay_compensation(staff("qian", request.clone())).await.unwrap().into_inner().compensation.unwrap();
    let replay = api.pay_compensation(staff("qian", request)).await.unwrap().into_inner().compensation.unwrap();
    assert_eq!((half.state(), &replay), (CompensationState::Approved, &half));
    assert_eq!(refusal(api.pay_compensation(staff("qian", pay(&approved, 0))).await).reason, "PART_PAID");
    let answer = api.pay_compensation(bank("sample-guarantor", pay(&approved, 1))).await.unwrap();
    assert_eq!(answer.into_inner().compensation.unwrap().state(), CompensationState::Paid);
    let budget = world.budget(&policy).await;
    assert_eq!((budget.paid_fen, budget.available_fen), (4_000_001 - 400_001, 5_000_000 - 3_600_000));

    // The rest comes back, and more than was lost: the pool gets its part and no more.
    world.recovered(&loan, 5, 20_000_000).await;
    let back = world.compensation_of(&loan).await.unwrap();
    let recovered: Vec<i64> = back.parts.iter().map(|part| part.recovered_fen).collect();
    assert_eq!(recovered, amounts(&back));
    assert_eq!(world.budget(&policy).await.clawed_back_fen, 3_600_000);
    let returned = |amount_fen| RecordPoolReturnRequest {
        request_id: new_id(),
        compensation_id: back.compensation_id.clone(),
        amount_fen,
        document_zh: "追偿款回单".to_owned(),
    };
    assert_eq!(refusal(api.record_pool_return(staff("zhao", returned(3_600_001))).await).reason, "MORE_THAN_CLAIMED");
    api.record_pool_return(staff("zhao", returned(3_600_000))).await.unwrap();
    assert_eq!(world.budget(&policy).await.available_fen, 5_000_000);
    assert_eq!(world.announced::<CompensationOpened>().await.len(), 1);
    assert_eq!(world.announced::<CompensationDecided>().await.len(), 1);
    assert_eq!(world.announced::<CompensationPaid>().await.len(), 2);
    assert_eq!(world.announced::<CompensationRecovered>().await.len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn the_pool_has_a_cap_and_a_refused_claim_may_come_again() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(PolicySpec { cap_per_loan_fen: 1_000_000, ..pool_policy(0) }).await;
    world.appropriate(&policy, 2026, 1_000_000).await;
    let loan = shared(1);
    let opened = world.lost(&loan, 10_000_000, 0).await.unwrap();
    assert_eq!(amounts(&opened), [1_000_000, 4_000_000, 5_000_000], "above the cap it stays with the lender");
    // A cap on the principal is the pool's alone, too; a trial on what was lost says the same.
    let spec = PolicySpec { principal_cap_fen: 2_000_000, priority: 1, ..pool_policy(0) };
    let request = TryPolicyRequest {
        spec: Some(spec.clone()),
        from: "2026-01-01".to_owned(),
        to: "2026-12-31".to_owned(),
        most_lines: 0,
    };
    let tried = world.reviews().try_policy(staff("zhao", request)).await.unwrap().into_inner();
    assert_eq!((tried.loans, tried.grants, tried.total_fen, tried.years[0].year), (1, 1, 800_000, 2026));
    assert!(tried.lines[0].calculation_zh.contains("按本金上限20,000.00元计"), "{}", tried.lines[0].calculation_zh);
    world.policy(spec).await;
    let bounded = world.lost(&shared(2), 10_000_000, 0).await.unwrap();
    assert_eq!(amounts(&bounded), [800_000, 4_000_000, 5_200_000]);
    let claimed = world.claim(&opened, "sample-bank").await.unwrap();
    let refused = world.decide(&claimed, "zhao", false).await.unwrap();
    assert_eq!(refused.state(), CompensationState::Refused);
    let again = world.claim(&refused, "sample-bank").await.unwrap();
    assert_eq!(world.decide(&again, "zhao", true).await.unwrap().state(), CompensationState::Approved);
    world.stop().await;
}

#[tokio::test]
async fn an_insurer_stands_for_a_pledge_without_any_pool_and_a_waiting_period_is_kept() {
    let world = World::with_lpr(1).await;
    let insured = Loan {
        guarantee: Some(Guarantee {
            guarantor_institution_id: "sample-insurer".to_owned(),
            risk_shares: vec![
                share(RiskBearer::Insurer, "sample-insurer", 800_000),
                share(RiskBearer::Lender, "sample-bank", 200_000),
            ],
            ..Guarantee::default()
        }),
        ..loan(1)
    };
    let opened = world.lost(&insured, 40_000_000, 500_000).await.unwrap();
    assert_eq!((opened.policy_id.as_str(), amounts(&opened)), ("", vec![32_000_000, 8_000_000]));
    let claimed = world.claim(&opened, "sample-bank").await.unwrap();
    let approved = world.decide(&claimed, "zhao", true).await.unwrap();
    let paid = world.compensations().pay_compensation(bank("sample-insurer", pay(&approved, 0))).await.unwrap();
    assert_eq!(paid.into_inner().compensation.unwrap().state(), CompensationState::Paid);
    for (institution, seen) in [("sample-insurer", 1), ("sample-bank", 1), ("another-bank", 0)] {
        let request = bank(institution, ListCompensationsRequest::default());
        let answer = world.compensations().list_compensations(request).await.unwrap().into_inner();
        assert_eq!(answer.compensations.len(), seen, "{institution}");
    }

    let employs = async |loan: &Loan, employees: i64| {
        let count = FeatureValue { kind: Some(Kind::Integer(employees)), ..FeatureValue::default() };
        let profile = Profile {
            enterprise_id: loan.enterprise_id.clone(),
            version: 1,
            features: BTreeMap::from([("employee_count".to_owned(), count)]),
            ..Profile::default()
        };
        world.publish(&new_id(), &loan.enterprise_id, &ProfileUpdated { profile: Some(profile) }).await;
        world.drained(streams::PROFILE, "subsidy-profiles").await;
    };
    // No policy has a pool: the lender bears its part, and the guarantor pays all the same. Nor has one for this enterprise.
    employs(&shared(5), 9).await;
    let who = "employee_count >= 10".to_owned();
    for (number, policy) in [(4, None), (5, Some(PolicySpec { who, ..pool_policy(0) }))] {
        if let Some(spec) = policy {
            world.policy(spec).await;
        }
        let opened = world.lost(&shared(number), 10_000_000, 7).await.unwrap();
        assert_eq!((opened.policy_id.as_str(), amounts(&opened)), ("", vec![0, 4_000_000, 6_000_000]));
        assert!(opened.calculation_zh.contains("没有适用的风险池政策"), "{}", opened.calculation_zh);
        let claimed = world.claim(&opened, "sample-bank").await.unwrap();
        let approved = world.decide(&claimed, "zhao", true).await.unwrap();
        let paid = world.compensations().pay_compensation(bank("sample-guarantor", pay(&approved, 1))).await.unwrap();
        assert_eq!(paid.into_inner().compensation.unwrap().state(), CompensationState::Paid);
    }
    let known = shared(6);
    employs(&known, 10).await;
    let fits = world.lost(&known, 10_000_000, 7).await.unwrap();
    assert_eq!(amounts(&fits), [4_000_003, 4_000_003, 2_000_001]);

    world.policy(PolicySpec { priority: 1, ..pool_policy(3660) }).await;
    let waiting = shared(2);
    employs(&waiting, 10).await;
    let waits = world.lost(&waiting, 100, 0).await.unwrap();
    assert_eq!(refusal(world.claim(&waits, "sample-bank").await).reason, "WAITING_PERIOD");
    assert!(world.lost(&loan(3), 100, 0).await.is_none(), "the lender alone stands for it");
    world.stop().await;
}

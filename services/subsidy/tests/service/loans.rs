//! What approvals and disbursements do, in whatever order and number they arrive.

use zhirong_proto::{
    catalog::v1::{LprChange, LprTable, ReferencePublished, reference_published::Reference},
    matching::v1::{Loan, LoanApproved, LoanDisbursed},
    profile::v1::{FeatureValue, Profile, ProfileUpdated, feature_value::Kind},
    subsidy::v1::{
        BudgetExhausted, Grant, GrantActivated, GrantQueued, GrantReserved, GrantState, PolicySpec, ReferenceRate,
        TryPolicyRequest,
    },
};
use zhirong_runtime::streams;
use zhirong_testkit::eventually;

use crate::support::{
    GENERAL_FEN, IP_FEN, PATIENCE, World, disbursed, general_policy, ip_policy, loan, lpr_share, new_id, staff, uscc,
};

#[tokio::test]
async fn an_approved_loan_gets_the_policy_that_gives_most_without_an_application() {
    let world = World::with_lpr(1).await;
    let (ip, general) = (world.policy(ip_policy()).await, world.policy(general_policy()).await);
    for policy in [&ip, &general] {
        world.appropriate(policy, 2026, 1_000_000_000).await;
    }
    let pledge = loan(1);
    let credit = Loan { product_tags: vec!["tax".to_owned()], ..loan(2) };
    let large = Loan { product_tags: vec![], enterprise_class: "large".to_owned(), ..loan(3) };
    for loan in [&pledge, &credit, &large] {
        world.approve(loan).await;
    }
    world.handled().await;

    let grant = world.grant_of(&pledge).await;
    assert_eq!(
        (grant.policy_id.as_str(), grant.planned_fen, grant.state()),
        (ip.policy_id.as_str(), IP_FEN, GrantState::Reserved)
    );
    assert_eq!((grant.subsidy_rate_ppm, grant.principal_fen, grant.budget_year), (18_000, 100_000_000, 2026));
    assert_eq!((grant.from.as_str(), grant.until.as_str(), grant.version), ("2026-03-01", "2027-03-01", 1));
    for part in
        ["按2025年末一年期LPR（3.00%）的60.00%贴息", "1,000,000.00元", "共365天", "贴息18,250.00元", "资金已预留"]
    {
        assert!(grant.explanation_zh.contains(part), "{}", grant.explanation_zh);
    }
    let other = world.grant_of(&credit).await;
    assert_eq!((other.policy_id.as_str(), other.planned_fen), (general.policy_id.as_str(), GENERAL_FEN));
    assert_eq!(world.all_grants().await.len(), 2);
    assert_eq!(
        world.count("SELECT count(*) FROM loan WHERE fitting_policies = 0").await,
        1,
        "no policy fits the large enterprise"
    );

    let reserved = world.announced::<GrantReserved>().await;
    assert!(reserved.iter().any(|fact| fact.grant.as_ref() == Some(&grant)));
    let budget = world.budget(&ip).await;
    assert_eq!((budget.reserved_fen, budget.available_fen), (IP_FEN, 1_000_000_000 - IP_FEN));
    world.stop().await;
}

#[tokio::test]
async fn a_policy_pays_of_the_rate_that_it_names_and_waits_while_that_is_not_known() {
    let world = World::start(1).await;
    let over_five = PolicySpec {
        benefit: Some(lpr_share(600_000, ReferenceRate::OverFiveYearLpr)),
        name_zh: "中长期贷款贴息".to_owned(),
        ..ip_policy()
    };
    let drafted = world.policy(over_five.clone()).await;
    assert_eq!(drafted.spec, Some(over_five.clone()));
    world.appropriate(&drafted, 2026, 1_000_000_000).await;
    let pledge = loan(1);
    world.approve(&pledge).await;
    let trial = TryPolicyRequest {
        spec: Some(over_five),
        from: "2026-01-01".to_owned(),
        to: "2026-03-31".to_owned(),
        ..TryPolicyRequest::default()
    };

    // The table has no such rate, or ends before the day: nobody gets anything, and nothing is guessed from the other rate.
    let broken = LprTable {
        changes: vec![LprChange { published_on: "2025-05-20".to_owned(), one_year_ppm: 30_000, five_year_ppm: 0 }],
        known_through: "2025-12-31".to_owned(),
    };
    world.publish(&new_id(), "lpr", &ReferencePublished { version: 1, reference: Some(Reference::Lpr(broken)) }).await;
    world.drained(streams::CATALOG, "subsidy-reference").await;
    let refused = world.dead_letters().await;
    assert!(refused[0].contains("the over-five-year LPR of 2025-05-20, 0 ppm, is not between"), "{refused:?}");
    world.publish_lpr(2, &[("2024-10-21", 31_000)], "2025-06-30").await;
    world.drained(streams::CATALOG, "subsidy-reference").await;
    assert!(world.all_grants().await.is_empty());

    world.publish_lpr(3, &[("2024-10-21", 31_000), ("2025-05-20", 30_000)], "2025-12-31").await;
    world.handled().await;
    // 1 000 000 CNY × 60 % × 3.5 % × 365 / 360.
    let grant = world.grant_of(&pledge).await;
    assert_eq!((grant.planned_fen, grant.subsidy_rate_ppm), (2_129_167, 21_000));
    assert!(grant.explanation_zh.contains("按2025年末五年期以上LPR（3.50%）的60.00%贴息"), "{}", grant.explanation_zh);
    let tried = world.reviews().try_policy(staff("zhao", trial)).await.unwrap().into_inner();
    assert_eq!(tried.total_fen, 2_129_167, "a trial agrees with the grant");

    // Paid out, it goes on by the same rate.
    world.disburse(&pledge, 100_000_000, "2026-03-01").await;
    world.handled().await;
    assert_eq!(world.grant_of(&pledge).await.planned_fen, 2_129_167);
    world.stop().await;
}

#[tokio::test]
async fn a_disbursement_fixes_the_grant_and_the_rest_goes_to_who_waits() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, IP_FEN).await;
    let (first, small) = (loan(1), Loan { amount_fen: 40_000_000, ..loan(2) });
    for loan in [&first, &small] {
        world.approve(loan).await;
        world.handled().await;
    }
    assert_eq!(world.grant_of(&small).await.state(), GrantState::Waiting);
    world.disburse(&first, 60_000_000, "2026-03-05").await;
    world.handled().await;

    let active = world.grant_of(&first).await;
    assert_eq!((active.state(), active.planned_fen, active.principal_fen), (GrantState::Active, 1_095_000, 60_000_000));
    assert_eq!((active.from.as_str(), active.until.as_str(), active.version), ("2026-03-05", "2027-03-05", 2));
    assert!(active.explanation_zh.contains("实际放款600,000.00元"), "{}", active.explanation_zh);
    assert_eq!(world.announced::<GrantActivated>().await, [GrantActivated { grant: Some(active) }]);
    let served = world.grant_of(&small).await;
    assert_eq!((served.state(), served.planned_fen), (GrantState::Reserved, 730_000));
    let budget = world.budget(&policy).await;
    assert_eq!((budget.available_fen, budget.reserved_fen + budget.accrued_fen), (0, IP_FEN));
    world.stop().await;
}

#[tokio::test]
async fn what_was_reserved_is_the_ceiling_when_more_days_need_more_than_is_left() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(PolicySpec { max_months: 6, ..ip_policy() }).await;
    // 1 March to 1 September has 184 days: 9 200.00; 31 March to 30 September has 183, 15 March to 15 September 184.
    let (rich, poor) = (loan(1), loan(2));
    // approved on 1 February: 181 days, 9 050.00
    let february =
        |loan: Loan| Loan { approved_at: Some(prost_types::Timestamp { seconds: 1_769_911_200, nanos: 0 }), ..loan };
    let (rich, poor) = (february(rich), february(poor));
    let short = poor.clone();
    world.appropriate(&policy, 2026, 2 * 905_000 + 15_000).await;
    for loan in [&rich, &poor] {
        world.approve(loan).await;
    }
    world.handled().await;
    world.disburse(&rich, 100_000_000, "2026-03-15").await;
    world.handled().await;
    world.disburse(&poor, 100_000_000, "2026-03-15").await;
    world.handled().await;

    let (rich, poor) = (world.grant_of(&rich).await, world.grant_of(&poor).await);
    assert_eq!((rich.planned_fen, poor.planned_fen), (920_000, 905_000));
    assert!(poor.explanation_zh.contains("以已预留的9,050.00元为限"), "{}", poor.explanation_zh);
    assert_eq!(world.announced::<BudgetExhausted>().await.len(), 1);
    // It is said once, however often it is computed.
    let loan = &short;
    world.repay(loan, 3, (0, 10_000), "2026-04-15").await;
    world.repay(loan, 4, (0, 10_000), "2026-05-15").await;
    world.handled().await;
    let today = jiff::Timestamp::now();
    for days in [1, 2] {
        let later = today.checked_add(jiff::Span::new().hours(24 * days)).unwrap();
        assert_eq!(world.accrue(later).await, 2);
    }
    let poor = world.grant_of(loan).await;
    assert_eq!(poor.explanation_zh.matches("年度资金余额不足").count(), 1, "{}", poor.explanation_zh);
    assert_eq!(world.announced::<BudgetExhausted>().await.len(), 1);
    assert_eq!(world.budget(&policy).await.available_fen, 0);
    world.stop().await;
}

#[tokio::test]
async fn a_waiting_grant_whose_loan_is_paid_out_waits_on_and_becomes_active_when_money_comes() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    let waiting = loan(1);
    world.approve(&waiting).await;
    world.disburse(&waiting, 50_000_000, "2026-03-02").await;
    world.handled().await;
    let grant = world.grant_of(&waiting).await;
    assert_eq!((grant.state(), grant.planned_fen, grant.version), (GrantState::Waiting, IP_FEN / 2, 2));
    let queued: Vec<_> =
        world.announced::<GrantQueued>().await.into_iter().map(|fact| fact.grant.unwrap().planned_fen).collect();
    assert_eq!(queued, [IP_FEN, IP_FEN / 2]);

    world.appropriate(&policy, 2026, IP_FEN).await;
    let grant = world.grant_of(&waiting).await;
    assert_eq!((grant.state(), grant.version), (GrantState::Active, 4));
    assert_eq!(world.announced::<GrantReserved>().await[0].grant.as_ref().unwrap().version, 3);
    assert_eq!(world.announced::<GrantActivated>().await[0].grant.as_ref(), Some(&grant));
    world.stop().await;
}

#[tokio::test]
async fn duplicated_and_shuffled_facts_give_the_same_end_state() {
    let world = World::with_lpr(3).await;
    let (ip, general) = (world.policy(ip_policy()).await, world.policy(general_policy()).await);
    for policy in [&ip, &general] {
        world.appropriate(policy, 2026, 1_000_000_000).await;
    }
    let loans: Vec<Loan> = (0..24)
        .map(|number| Loan {
            product_tags: if number % 3 == 0 { vec![] } else { vec!["ip_pledge".to_owned()] },
            ..loan(number)
        })
        .collect();
    // Disbursements first, everything three times, under the same id and under a new one.
    for round in 0..3 {
        for (number, loan) in loans.iter().enumerate().rev() {
            let id = |kind: &str| if round == 2 { new_id() } else { format!("{kind}-{}", loan.loan_id) };
            let paid = disbursed(loan, 100_000_000 - i64::try_from(number).unwrap() * 1_000_000, "2026-03-09");
            world.publish(&id("disbursed"), &loan.loan_id, &LoanDisbursed { loan: Some(paid) }).await;
            world
                .publish(
                    &id("approved"),
                    &loan.loan_id,
                    &LoanApproved { loan: Some(loan.clone()), ..LoanApproved::default() },
                )
                .await;
        }
    }
    world.handled().await;
    assert!(world.dead_letters().await.is_empty());
    let grants = world.all_grants().await;
    assert_eq!(grants.len(), loans.len());
    for (number, loan) in loans.iter().enumerate() {
        let grant: &Grant = grants.iter().find(|grant| grant.loan_id == loan.loan_id).unwrap();
        let (policy, rate) = if number % 3 == 0 { (&general, 10_000) } else { (&ip, 18_000) };
        let exact = i128::from(grant.principal_fen) * rate * 365;
        let rounded = (2 * exact + 360_000_000) / 720_000_000;
        assert_eq!((grant.state(), &grant.policy_id, grant.version), (GrantState::Active, &policy.policy_id, 2));
        assert_eq!(i128::from(grant.planned_fen), rounded, "{number}");
    }
    assert_eq!(world.announced::<GrantReserved>().await.len(), loans.len());
    assert_eq!(world.announced::<GrantActivated>().await.len(), loans.len());
    let planned: i64 = grants.iter().map(|grant| grant.planned_fen).sum();
    let (ip, general) = (world.budget(&ip).await, world.budget(&general).await);
    assert_eq!(ip.reserved_fen + ip.accrued_fen + general.reserved_fen + general.accrued_fen, planned);
    world.stop().await;
}

#[tokio::test]
async fn a_loan_waits_for_the_lpr_and_only_if_a_policy_needs_it() {
    let world = World::start(1).await;
    let (ip, general) = (world.policy(ip_policy()).await, world.policy(general_policy()).await);
    for policy in [&ip, &general] {
        world.appropriate(policy, 2026, 1_000_000_000).await;
    }
    let (pledge, credit) = (loan(1), Loan { product_tags: vec![], ..loan(2) });
    world.approve(&pledge).await;
    world.approve(&credit).await;
    eventually(PATIENCE, "the other loan is granted", || async {
        Ok((world.all_grants().await.len() == 1).then_some(()))
    })
    .await
    .unwrap();
    // A table that ends before the year's end does not tell.
    world.publish_lpr(1, &[("2024-10-21", 31_000)], "2025-06-30").await;
    world.drained(streams::CATALOG, "subsidy-reference").await;
    assert_eq!(world.all_grants().await.len(), 1);
    // The newer table arrives before an older one: the newer stays.
    world.publish_lpr(3, &[("2024-10-21", 31_000), ("2025-05-20", 30_000)], "2025-12-31").await;
    world.publish_lpr(2, &[("2024-10-21", 31_000)], "2025-12-31").await;
    world.drained(streams::CATALOG, "subsidy-reference").await;
    world.handled().await;
    assert_eq!(world.grant_of(&pledge).await.planned_fen, IP_FEN);
    assert_eq!(world.count("SELECT version FROM lpr_table").await, 3);
    assert!(world.dead_letters().await.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn facts_that_break_a_rule_are_set_aside_with_their_reason() {
    let world = World::with_lpr(1).await;
    world.policy(ip_policy()).await;
    world.publish(&new_id(), "none", &LoanApproved::default()).await;
    world.approve(&Loan { enterprise_id: "9133".to_owned(), ..loan(1) }).await;
    world.approve(&Loan { amount_fen: 0, ..loan(2) }).await;
    world.approve(&Loan { term_months: 0, ..loan(3) }).await;
    world.approve(&Loan { approved_at: Some(prost_types::Timestamp::default()), ..loan(6) }).await;
    world.approve(&Loan { enterprise_class: "\0".to_owned(), ..loan(7) }).await;
    let paid = loan(4);
    world.approve(&paid).await;
    world.handled().await;
    world.disburse(&paid, paid.amount_fen + 1, "2026-03-02").await;
    world.disburse(&Loan { loan_id: new_id(), ..loan(5) }, 0, "2026-03-02").await;
    world.publish_lpr(9, &[("2025-05-20", 30_000), ("2024-10-21", 31_000)], "2025-12-31").await;
    world.handled().await;
    world.drained(streams::CATALOG, "subsidy-reference").await;
    let mut reasons = world.dead_letters().await;
    reasons.sort();
    let expected = [
        "2024-10-21 must come after 2025-05-20",
        "`loan.amount_fen` must be positive",
        "`loan.approved_at` must be in the years 2019 to 2100",
        "`loan.disbursed_fen` must be positive",
        "`loan.enterprise_id` a unified social credit code has 18 characters, this has 4",
        "`loan.product_tags` and the class must not hold a control character",
        "`loan.term_months` must be between 1 and 600",
        "`loan` is missing",
    ];
    assert_eq!(reasons[..8], expected, "{reasons:?}");
    assert!(reasons[8].contains("more than the approved 1,000,000.00"), "{reasons:?}");
    world.stop().await;
}

fn feature(name: &str, number: i64) -> (String, FeatureValue) {
    (name.to_owned(), FeatureValue { kind: Some(Kind::Integer(number)), ..FeatureValue::default() })
}

#[tokio::test]
async fn a_loan_is_judged_on_what_was_known_when_it_was_ordered_in_whatever_order_the_news_arrives() {
    let world = World::with_lpr(1).await;
    let who = "employee_count >= 10".to_owned();
    let policy = world.policy(PolicySpec { who, ..ip_policy() }).await;
    world.appropriate(&policy, 2026, 100 * IP_FEN).await;
    let profile = async |number: usize, employees: i64| {
        let profile = Profile {
            enterprise_id: uscc(number),
            name: "示例企业".to_owned(),
            version: 1,
            features: [feature("employee_count", employees)].into(),
            ..Profile::default()
        };
        world.publish(&new_id(), &uscc(number), &ProfileUpdated { profile: Some(profile) }).await;
        world.drained(streams::PROFILE, "subsidy-profiles").await;
    };
    let told = async |loan: &Loan, employees: i64| {
        let features = [feature("employee_count", employees)].into();
        let fact = LoanApproved { loan: Some(loan.clone()), features, profile_version: 1 };
        world.publish(&new_id(), &loan.loan_id, &fact).await;
        world.handled().await;
    };
    // What the approval tells counts: without a profile, and against one that says otherwise today.
    let (first, second, third) = (loan(1), loan(2), loan(3));
    told(&first, 10).await;
    profile(2, 1).await;
    told(&second, 10).await;
    profile(3, 99).await;
    told(&third, 9).await;
    profile(1, 1).await;
    let mut granted: Vec<_> = world.all_grants().await.into_iter().map(|grant| grant.loan_id).collect();
    granted.sort_unstable();
    let mut expected = vec![first.loan_id, second.loan_id];
    expected.sort_unstable();
    assert_eq!(granted, expected);
    // A fact of before approvals told it waits for the profile; one that fits no such policy does not.
    let (old, plain) = (loan(4), Loan { product_tags: vec![], ..loan(5) });
    world.approve(&old).await;
    world.approve(&plain).await;
    eventually(PATIENCE, "the loan that asks for nothing is known", || async {
        Ok((world.count("SELECT count(*) FROM loan").await == 4).then_some(()))
    })
    .await
    .unwrap();
    profile(4, 10).await;
    world.handled().await;
    assert_eq!(world.grant_of(&old).await.planned_fen, IP_FEN);
    assert!(world.dead_letters().await.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn a_condition_on_the_lpr_waits_for_it() {
    let world = World::start(1).await;
    let who = "lpr_1y_ppm <= 30000".to_owned();
    let policy = world.policy(PolicySpec { who, ..general_policy() }).await;
    world.appropriate(&policy, 2026, 100 * IP_FEN).await;
    let loan = loan(1);
    world.approve(&loan).await;
    world.publish_lpr(1, &[("2025-05-20", 30_000)], "2025-12-31").await;
    world.handled().await;
    assert_eq!(world.all_grants().await.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_policy_that_names_products_is_for_loans_of_them_alone() {
    let world = World::with_lpr(1).await;
    let (own, other) = (loan(1), loan(2));
    let spec = PolicySpec { product_ids: vec![own.product_id.clone()], ..ip_policy() };
    let policy = world.policy(spec.clone()).await;
    assert_eq!(policy.spec, Some(spec));
    world.appropriate(&policy, 2026, 100 * IP_FEN).await;
    for loan in [&own, &other] {
        world.approve(loan).await;
    }
    world.handled().await;
    let grants = world.all_grants().await;
    assert_eq!(grants.iter().map(|grant| &grant.loan_id).collect::<Vec<_>>(), [&own.loan_id]);
    world.stop().await;
}

//! Rate coupons: issued to a group, used once on a loan, expired.

use zhirong_proto::{
    matching::v1::Loan,
    profile::v1::{FeatureValue, Profile, ProfileUpdated, feature_value::Kind},
    subsidy::v1::{
        Coupon, CouponExpired, CouponHolders, CouponIssued, CouponRedeemed, CouponState, IssueCouponsRequest,
        ListCouponsRequest, PolicySpec, RateCoupon, issue_coupons_request::Group, policy_spec::Benefit,
    },
};
use zhirong_runtime::streams;

use crate::support::{World, enterprise, general_policy, loan, new_id, refusal, staff, uscc};

/// Half a percent for who holds a coupon, until the end of 2100.
pub fn coupon_policy() -> PolicySpec {
    PolicySpec {
        name_zh: "示例利率优惠券".to_owned(),
        benefit: Some(Benefit::RateCoupon(RateCoupon { rate_cut_ppm: 5_000 })),
        enterprise_classes: vec![],
        effective_to: "2100-12-31".to_owned(),
        adds_up: true,
        ..general_policy()
    }
}

pub fn issue(policy_id: &str, group: Group) -> IssueCouponsRequest {
    let valid_until = "2100-06-30".to_owned();
    IssueCouponsRequest { request_id: new_id(), policy_id: policy_id.to_owned(), group: Some(group), valid_until }
}

pub fn holders(numbers: &[usize]) -> Group {
    Group::Holders(CouponHolders { enterprise_ids: numbers.iter().map(|number| uscc(*number)).collect() })
}

impl World {
    pub async fn coupons_of(&self, number: usize) -> Vec<Coupon> {
        let own = uscc(number);
        let request = enterprise(&own, ListCouponsRequest::default());
        self.coupons().list_coupons(request).await.unwrap().into_inner().coupons
    }
}

#[tokio::test]
async fn a_coupon_is_issued_once_and_used_once() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(coupon_policy()).await;
    world.appropriate(&policy, 2026, 100_000_000).await;
    let request = issue(&policy.policy_id, holders(&[1, 2]));
    let first = world.coupons().issue_coupons(staff("zhao", request.clone())).await.unwrap().into_inner();
    assert_eq!((first.issued, first.had_one), (2, 0));
    let replay = world.coupons().issue_coupons(staff("zhao", request)).await.unwrap().into_inner();
    assert_eq!(replay, first);
    let more = issue(&policy.policy_id, holders(&[2, 3]));
    let second = world.coupons().issue_coupons(staff("zhao", more)).await.unwrap().into_inner();
    assert_eq!((second.issued, second.had_one), (1, 1));
    assert_eq!(world.announced::<CouponIssued>().await.len(), 3);

    let coupon = world.coupons_of(1).await.remove(0);
    assert_eq!((coupon.state(), coupon.rate_cut_ppm), (CouponState::Held, 5_000));
    let with = |number: usize, coupon: &Coupon| Loan { coupon_id: coupon.coupon_id.clone(), ..loan(number) };
    let (own, again, stolen) = (with(1, &coupon), with(1, &coupon), with(2, &coupon));
    for loan in [&stolen, &own, &again, &loan(3)] {
        world.approve(loan).await;
        world.handled().await;
    }
    // Two loans that name one coupon and arrive together: one of them uses it.
    let second = world.coupons_of(3).await.remove(0);
    for loan in [&with(3, &second), &with(3, &second)] {
        world.approve(loan).await;
    }
    world.handled().await;
    let of_third = |grant: &&zhirong_proto::subsidy::v1::Grant| grant.enterprise_id == uscc(3);
    assert_eq!(world.all_grants().await.iter().filter(of_third).count(), 1);
    assert_eq!(world.coupons_of(3).await[0].state(), CouponState::Redeemed);
    assert!(world.dead_letters().await.is_empty());
    let mut grants = world.all_grants().await;
    grants.retain(|grant| grant.enterprise_id != uscc(3));
    assert_eq!(grants.len(), 1, "not another's, not twice, not without naming it");
    // 1 000 000 CNY × 0.5 % × 365 / 360.
    assert_eq!((grants[0].loan_id.as_str(), grants[0].planned_fen), (own.loan_id.as_str(), 506_944));
    assert!(grants[0].explanation_zh.contains("使用利率优惠券，年利率优惠0.50%"), "{}", grants[0].explanation_zh);
    let used = world.coupons_of(1).await.remove(0);
    assert_eq!((used.state(), used.loan_id.as_str()), (CouponState::Redeemed, own.loan_id.as_str()));
    assert_eq!(world.announced::<CouponRedeemed>().await.len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn a_group_can_be_told_by_a_condition() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(coupon_policy()).await;
    for number in 1..=6_i64 {
        let value = FeatureValue { kind: Some(Kind::Integer(number)), ..FeatureValue::default() };
        let profile = Profile {
            enterprise_id: uscc(usize::try_from(number).unwrap()),
            name: format!("示例企业{number}"),
            version: 1,
            features: [("employee_count".to_owned(), value)].into(),
            ..Profile::default()
        };
        world.publish(&new_id(), &profile.enterprise_id.clone(), &ProfileUpdated { profile: Some(profile) }).await;
    }
    world.drained(streams::PROFILE, "subsidy-profiles").await;
    let who = |text: &str| issue(&policy.policy_id, Group::Who(text.to_owned()));
    let issued = world.coupons().issue_coupons(staff("zhao", who("employee_count > 4"))).await.unwrap().into_inner();
    assert_eq!(issued.issued, 2);
    // The LPR of today, once a table reaches it: a condition that asks for it waits, another does not.
    let by_lpr = |ppm: i64| who(&format!("employee_count == 2 && lpr_1y_ppm == {ppm}"));
    let unknown = refusal(world.coupons().issue_coupons(staff("zhao", by_lpr(29_000))).await);
    assert_eq!(unknown.reason, "LPR_UNKNOWN");
    world.publish_lpr(2, &[("2025-05-20", 30_000), ("2026-01-20", 29_000)], "2100-12-31").await;
    world.drained(streams::CATALOG, "subsidy-reference").await;
    for (ppm, reason) in [(0, "GROUP_EMPTY"), (30_000, "GROUP_EMPTY")] {
        assert_eq!(refusal(world.coupons().issue_coupons(staff("zhao", by_lpr(ppm))).await).reason, reason);
    }
    let issued = world.coupons().issue_coupons(staff("zhao", by_lpr(29_000))).await.unwrap().into_inner();
    assert_eq!(issued.issued, 1);
    let empty = refusal(world.coupons().issue_coupons(staff("zhao", who("employee_count > 9"))).await);
    assert_eq!(empty.reason, "GROUP_EMPTY");
    let wrong = refusal(world.coupons().issue_coupons(staff("zhao", who("no_such_feature > 9"))).await);
    assert_eq!((wrong.reason.as_str(), wrong.fields), ("COUPONS_INVALID", vec!["who".to_owned()]));
    let late = IssueCouponsRequest { valid_until: "2101-01-01".to_owned(), ..who("employee_count > 1") };
    assert_eq!(refusal(world.coupons().issue_coupons(staff("zhao", late)).await).fields, ["valid_until"]);
    let other = world.policy(general_policy()).await;
    let none = refusal(world.coupons().issue_coupons(staff("zhao", issue(&other.policy_id, holders(&[1])))).await);
    assert_eq!(none.reason, "NOT_A_COUPON_POLICY");
    world.stop().await;
}

#[tokio::test]
async fn what_is_not_used_in_time_expires_and_another_may_be_issued() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(coupon_policy()).await;
    world.coupons().issue_coupons(staff("zhao", issue(&policy.policy_id, holders(&[1, 2])))).await.unwrap();
    let later = "2100-07-01T00:00:00Z".parse().unwrap();
    assert_eq!(subsidy::flow::coupon::expire(&world.pool, later).await.unwrap(), 2);
    assert_eq!(subsidy::flow::coupon::expire(&world.pool, later).await.unwrap(), 0);
    assert_eq!(world.announced::<CouponExpired>().await.len(), 2);
    let expired = world.coupons_of(1).await.remove(0);
    assert_eq!(expired.state(), CouponState::Expired);
    let again = world.coupons().issue_coupons(staff("zhao", issue(&policy.policy_id, holders(&[1])))).await.unwrap();
    assert_eq!(again.into_inner().issued, 1);
    // A loan that was approved too late gets nothing; the news of one that was approved in time may come when it likes.
    let late = prost_types::Timestamp { seconds: 4_118_169_600, nanos: 0 };
    let with = |loan: Loan| Loan { coupon_id: expired.coupon_id.clone(), ..loan };
    world.approve(&with(Loan { approved_at: Some(late), ..loan(1) })).await;
    world.handled().await;
    assert!(world.all_grants().await.is_empty());
    world.approve(&with(loan(1))).await;
    world.handled().await;
    assert_eq!(world.all_grants().await.len(), 1);
    let states: Vec<_> = world.coupons_of(1).await.iter().map(Coupon::state).collect();
    assert_eq!(states, [CouponState::Redeemed, CouponState::Held]);
    world.stop().await;
}

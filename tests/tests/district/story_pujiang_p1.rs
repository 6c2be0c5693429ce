//! Interest subsidy on loans with pledged patents or trademarks: 50 % to 80 % of the one-year LPR of the end of the year before.

use std::collections::BTreeSet;

use anyhow::Result;
use tonic_types::StatusExt as _;
use zhirong_kernel::id::InstitutionId;
use zhirong_proto::{
    feedback::v1::SmsKind,
    matching::v1::{ApproveLoanRequest, IpKind, IpPledge},
    subsidy::v1::{
        DraftPolicyRequest, GrantState, ListGrantsRequest, LprShare, PolicySpec,
        grant_service_client::GrantServiceClient, policy_service_client::PolicyServiceClient, policy_spec::Benefit,
    },
};
use zhirong_tests::{
    district::{District, eventually},
    finance::{
        BANK, Wanted, enterprises, grants, grants_of, lend, new_id, pay_out, policy, policy_spec, product, year_of,
    },
    liandu,
};

fn share(share_ppm: i64) -> Benefit {
    Benefit::LprShare(LprShare { share_ppm, ..LprShare::default() })
}

/// 80 % for who pledges a patent or a trademark.
fn spec() -> PolicySpec {
    PolicySpec {
        ip_kinds: vec![IpKind::Patent.into(), IpKind::Trademark.into()],
        region_codes: vec!["330726".to_owned()],
        ..policy_spec("示例知识产权质押贴息八成", "ip_story", share(800_000))
    }
}

fn pledging(wanted: Wanted, kind: IpKind) -> Wanted {
    let pledge =
        IpPledge { kind: kind.into(), registration_number: format!("SAMPLE-{}", new_id()), ..IpPledge::default() };
    Wanted { approval: ApproveLoanRequest { ip_pledges: vec![pledge], ..wanted.approval.clone() }, ..wanted }
}

#[tokio::test(flavor = "multi_thread")]
async fn story_pujiang_p1_ip_pledge_interest_subsidy() -> Result<()> {
    let district = District::start().await?;
    let product = product(&district, "普惠知产质押贷", &["ip_story"], 40_000).await?;
    let policy = policy(&district, spec(), 500_000_000).await?;
    // Outside 50 % to 80 %, or for copyright, there is no such policy.
    let mut policies = PolicyServiceClient::new(district.as_staff().await?);
    for (wrong, field) in [
        (PolicySpec { benefit: Some(share(499_999)), ..spec() }, "spec.lpr_share.share_ppm"),
        (PolicySpec { benefit: Some(share(800_001)), ..spec() }, "spec.lpr_share.share_ppm"),
        (PolicySpec { ip_kinds: vec![IpKind::Copyright.into()], ..spec() }, "spec.ip_kinds"),
    ] {
        let draft = DraftPolicyRequest { request_id: new_id(), policy_id: String::new(), spec: Some(wrong) };
        let refused = policies.draft_policy(draft).await.unwrap_err();
        assert_eq!(refused.get_error_details().bad_request().unwrap().field_violations[0].field, field);
    }

    let local = enterprises(&district, "330726", "large", 4).await?;
    let elsewhere = enterprises(&district, "330782", "large", 1).await?;
    let wanted = [
        pledging(Wanted::new(&local[0], 500_000_000, 40_000), IpKind::Patent),
        pledging(Wanted::new(&local[1], 300_000_000, 40_000), IpKind::Trademark),
        pledging(Wanted::new(&local[2], 300_000_000, 40_000), IpKind::Copyright),
        Wanted::new(&local[3], 300_000_000, 40_000),
        pledging(Wanted::new(&elsewhere[0], 300_000_000, 40_000), IpKind::Patent),
        // A rate below 80 % of the LPR bounds the subsidy.
        pledging(Wanted::new(&local[3], 100_000_000, 20_000), IpKind::Patent),
    ];
    let loans = lend(&district, &product, &wanted).await?;
    let granted = grants_of(&district, &policy, 3).await?;
    assert_eq!(grants(&district).await?.len(), 3, "not for copyright, not without a pledge, not elsewhere");
    let of = |number: usize| granted.iter().find(|grant| grant.loan_id == loans[number].loan_id).unwrap();
    // The LPR of the end of the year before stands in the explanation; the rate is 80 % of it.
    let rate = of(0).subsidy_rate_ppm;
    assert!((20_000..40_000).contains(&rate) && rate % 4 == 0, "{rate}");
    assert!(of(0).explanation_zh.contains("的80.00%贴息"), "{}", of(0).explanation_zh);
    assert_eq!(of(0).planned_fen, year_of(500_000_000, rate));
    assert_eq!(of(1).planned_fen, year_of(300_000_000, rate));
    assert_eq!((of(5).subsidy_rate_ppm, of(5).planned_fen), (20_000, year_of(100_000_000, 20_000)));

    // The lender's core system hears of the grants of its loans, another bank's does not.
    let seen = async |bank: &str| -> Result<BTreeSet<String>> {
        let bank = district.as_bank(&bank.parse::<InstitutionId>()?).await?;
        let grants = GrantServiceClient::new(bank).list_grants(ListGrantsRequest::default()).await?.into_inner().grants;
        Ok(grants.into_iter().map(|grant| grant.grant_id).collect())
    };
    assert_eq!(seen(BANK).await?, granted.iter().map(|grant| grant.grant_id.clone()).collect());
    assert!(seen("sample-gongmao-bank").await?.is_empty());
    // Each enterprise is told once, without having applied.
    let notices = eventually("the enterprises are told", || async {
        let notices = liandu::messages(&district, SmsKind::GrantNotice).await?;
        Ok((notices.len() == granted.len()).then_some(notices))
    })
    .await?;
    let told: BTreeSet<&String> = notices.iter().map(|notice| &notice.loan_id).collect();
    assert_eq!(told, granted.iter().map(|grant| &grant.loan_id).collect());

    pay_out(&district, &loans[..1]).await?;
    eventually("the grant is active", || async {
        let active = grants_of(&district, &policy, 3).await?;
        Ok(active.iter().any(|grant| grant.state() == GrantState::Active).then_some(()))
    })
    .await?;
    district.stop().await
}

//! Who sees which grants, and the figures of a period.

use tonic::Code;
use zhirong_proto::{
    matching::v1::Loan,
    subsidy::v1::{
        GetGrantRequest, GetSubsidyOutcomeRequest, GetSubsidyOutcomeResponse, ListGrantChangesRequest,
        ListGrantsRequest,
    },
};
use zhirong_testkit::eventually;

use crate::support::{
    GENERAL_FEN, IP_FEN, PATIENCE, World, bank, call, enterprise, general_policy, ip_policy, loan, refusal, staff, uscc,
};

fn list(enterprise_id: &str, page_size: i32, page_token: &str) -> ListGrantsRequest {
    ListGrantsRequest {
        page_size,
        page_token: page_token.to_owned(),
        enterprise_id: enterprise_id.to_owned(),
        loan_id: String::new(),
    }
}

#[tokio::test]
async fn an_enterprise_sees_its_own_and_staff_see_all_in_pages() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 1_000_000_000).await;
    let (own, other) = (uscc(1), uscc(2));
    for (number, whose) in [(1, &own), (2, &other), (3, &own)] {
        world.approve(&Loan { enterprise_id: whose.clone(), ..loan(number) }).await;
        world.handled().await;
    }
    let mine = world.grants().list_grants(enterprise(&own, list("", 0, ""))).await.unwrap().into_inner().grants;
    assert_eq!(mine.len(), 2);
    assert!(mine.iter().all(|grant| grant.enterprise_id == own));
    let foreign = refusal(world.grants().list_grants(enterprise(&own, list(&other, 0, ""))).await);
    assert_eq!((foreign.code, foreign.reason.as_str()), (Code::PermissionDenied, "NOT_YOURS"));

    let first = world.grants().list_grants(staff("zhao", list("", 2, ""))).await.unwrap().into_inner();
    let rest =
        world.grants().list_grants(staff("zhao", list("", 2, &first.next_page_token))).await.unwrap().into_inner();
    assert_eq!((first.grants.len(), rest.grants.len(), rest.next_page_token.as_str()), (2, 1, ""));
    let of_other = world.grants().list_grants(staff("zhao", list(&other, 0, ""))).await.unwrap().into_inner().grants;
    assert_eq!(of_other, [first.grants[1].clone()], "in order of creation");

    assert_eq!(refusal(world.grants().list_grants(staff("zhao", list("9133", 0, ""))).await).reason, "USCC_INVALID");
    assert_eq!(refusal(world.grants().list_grants(staff("zhao", list("", -1, ""))).await).reason, "PAGE_SIZE_INVALID");
    world.stop().await;
}

#[tokio::test]
async fn a_bank_sees_the_grants_of_its_own_loans() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 1_000_000_000).await;
    let lent_by = |number, institution: &str| Loan { institution_id: institution.to_owned(), ..loan(number) };
    let loans = [lent_by(1, "sample-one-bank"), lent_by(2, "sample-two-bank"), lent_by(3, "sample-one-bank")];
    for loan in &loans {
        world.approve(loan).await;
        world.handled().await;
    }
    let asked = async |institution: &str, request: ListGrantsRequest| {
        let bank = [("zr-role", "bank"), ("zr-subject", "core"), ("zr-institution", institution)];
        world.grants().list_grants(call(request, &bank)).await
    };
    let of_loan = |loan_id: &str| ListGrantsRequest { loan_id: loan_id.to_owned(), ..list("", 0, "") };
    let told = async |institution: &str, request: ListGrantsRequest| -> Vec<String> {
        let grants = asked(institution, request).await.unwrap().into_inner().grants;
        grants.into_iter().map(|grant| grant.loan_id).collect()
    };
    let ids = loans.each_ref().map(|loan| loan.loan_id.clone());
    assert_eq!(told("sample-one-bank", list("", 0, "")).await, [ids[0].clone(), ids[2].clone()]);
    assert_eq!(told("sample-two-bank", list("", 0, "")).await, [ids[1].clone()]);
    assert_eq!(told("sample-one-bank", of_loan(&ids[2])).await, [ids[2].clone()]);
    // Whether another bank's loan is subsidised, or there at all, is not told.
    assert!(told("sample-one-bank", of_loan(&ids[1])).await.is_empty());
    assert_eq!(refusal(asked("sample-one-bank", of_loan("1")).await).reason, "ID_INVALID");
    world.stop().await;
}

#[tokio::test]
async fn the_report_counts_grants_enterprises_and_amounts_apart_from_who_waits() {
    let world = World::with_lpr(1).await;
    let (ip, general) = (world.policy(ip_policy()).await, world.policy(general_policy()).await);
    world.appropriate(&ip, 2026, 2 * IP_FEN).await;
    world.appropriate(&general, 2026, GENERAL_FEN).await;
    let same = uscc(7);
    for number in 0..4 {
        world.approve(&Loan { enterprise_id: same.clone(), ..loan(number) }).await;
        world.handled().await;
    }
    let report = |from: &str, to: &str| {
        let (mut reports, request) =
            (world.reports(), GetSubsidyOutcomeRequest { from: from.to_owned(), to: to.to_owned() });
        async move { reports.get_subsidy_outcome(staff("zhao", request)).await }
    };
    let outcome = report("2020-01-01", "2100-12-31").await.unwrap().into_inner();
    assert_eq!((outcome.grants, outcome.enterprises, outcome.planned_fen), (3, 1, 2 * IP_FEN + GENERAL_FEN));
    assert_eq!((outcome.waiting, outcome.waiting_fen), (1, IP_FEN));
    let mut expected = [(ip.policy_id, 2, 2 * IP_FEN), (general.policy_id, 1, GENERAL_FEN)];
    expected.sort();
    let found: Vec<_> =
        outcome.policies.iter().map(|line| (line.policy_id.clone(), line.grants, line.planned_fen)).collect();
    assert_eq!(found, expected);
    let before = report("2020-01-01", "2020-12-31").await.unwrap().into_inner();
    assert_eq!(before, GetSubsidyOutcomeResponse::default());

    assert_eq!(refusal(report("x", "2026-13-01").await).fields, ["from", "to"]);
    assert_eq!(refusal(report("2026-02-02", "2026-02-01").await).fields, ["to"]);
    world.stop().await;
}

#[tokio::test]
async fn a_bank_keeps_up_with_its_grants_and_misses_none() {
    let world = World::with_lpr(1).await;
    let policy = world.policy(ip_policy()).await;
    world.appropriate(&policy, 2026, 1_000_000_000).await;
    let lent_by = |number, institution: &str| Loan { institution_id: institution.to_owned(), ..loan(number) };
    let (first, second) = (lent_by(1, "sample-one-bank"), lent_by(2, "sample-two-bank"));
    for loan in [&first, &second] {
        world.approve(loan).await;
        world.handled().await;
    }
    let changes = async |page_token: &str| {
        let request = ListGrantChangesRequest { page_size: 0, page_token: page_token.to_owned() };
        let answer = world.grants().list_grant_changes(bank("sample-one-bank", request)).await.unwrap().into_inner();
        let told: Vec<_> = answer.grants.into_iter().map(|grant| (grant.loan_id, grant.version)).collect();
        (told, answer.next_page_token)
    };
    // What was written is told once no transaction of the whole server may come before it: other tests have theirs too.
    let (told, after_first) = eventually(PATIENCE, "the first grant is told", async || {
        Ok(Some(changes("").await).filter(|(told, _)| !told.is_empty()))
    })
    .await
    .unwrap();
    assert_eq!(told, [(first.loan_id.clone(), 1)], "of its own loan alone");
    assert_eq!(changes(&after_first).await, (vec![], after_first.clone()));

    // A change that began earlier and commits later is not passed over.
    let mut slow = world.pool.begin().await.unwrap();
    let third = lent_by(3, "sample-one-bank");
    sqlx::query("SELECT pg_current_xact_id()").execute(&mut *slow).await.unwrap();
    world.approve(&third).await;
    world.handled().await;
    assert!(changes(&after_first).await.0.is_empty(), "somebody may still come before it");
    sqlx::query("UPDATE subsidy_grant SET calculation_zh = calculation_zh").execute(&mut *slow).await.unwrap();
    slow.commit().await.unwrap();
    let (told, _) = eventually(PATIENCE, "both grants are told", async || {
        Ok(Some(changes(&after_first).await).filter(|(told, _)| told.len() == 2))
    })
    .await
    .unwrap();
    let mut loans: Vec<_> = told.into_iter().map(|(loan, _)| loan).collect();
    loans.sort_unstable();
    let mut expected = vec![first.loan_id.clone(), third.loan_id.clone()];
    expected.sort_unstable();
    assert_eq!(loans, expected);

    let outlived = zhirong_runtime::page::encode(&(i64::MAX, uuid::Uuid::nil())).unwrap();
    let request = ListGrantChangesRequest { page_size: 0, page_token: outlived };
    let refused = refusal(world.grants().list_grant_changes(bank("sample-one-bank", request)).await);
    assert_eq!(refused.reason, "PAGE_TOKEN_OUTLIVED");

    // One grant by its id: its own bank's and its own enterprise's, nobody else's.
    let id = world.grant_of(&first).await.grant_id;
    let get = |grant_id: &str| GetGrantRequest { grant_id: grant_id.to_owned() };
    let found = world.grants().get_grant(bank("sample-one-bank", get(&id))).await.unwrap().into_inner().grant.unwrap();
    assert_eq!(found, world.grant_of(&first).await);
    world.grants().get_grant(enterprise(&uscc(1), get(&id))).await.unwrap();
    world.grants().get_grant(staff("zhao", get(&id))).await.unwrap();
    for hidden in [
        refusal(world.grants().get_grant(bank("sample-two-bank", get(&id))).await),
        refusal(world.grants().get_grant(enterprise(&uscc(2), get(&id))).await),
        refusal(world.grants().get_grant(staff("zhao", get(&crate::support::new_id()))).await),
    ] {
        assert_eq!((hidden.code, hidden.reason.as_str()), (Code::NotFound, "GRANT_NOT_FOUND"));
    }
    world.stop().await;
}

//! Who sees what, on a real database and broker: consent, release, code, and the trail that records all of it.

use std::sync::Arc;

use jiff::SignedDuration;
use prost::Message as _;
use tonic::Code;
use zhirong_kernel::clock::{Clock as _, SystemClock};
use zhirong_proto::profile::v1::{
    AuditEntry, AuditKind, ConsentState, GetReleaseRequest, IssueEnterpriseCodeRequest, ListConsentsRequest,
    ListDisclosuresRequest, NarrowConsentRequest, Purpose, Release, ResolveEnterpriseCodeRequest, RevokeConsentRequest,
    Scope, audit_service_client::AuditServiceClient, consent_service_client::ConsentServiceClient,
    enterprise_code_service_client::EnterpriseCodeServiceClient, release_service_client::ReleaseServiceClient,
};
use zhirong_testkit::{ManualClock, eventually};

use crate::trusted::{named, whole};
use crate::world::{PATIENCE, World, as_bank, as_enterprise, as_staff, enterprise, id, reason};

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_leaves_within_consent_only_and_each_attempt_is_on_the_trail() {
    let world = World::trusted().await;
    let uscc = enterprise(1);
    world.known(&uscc, 3).await;

    let refused = world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::PermissionDenied, "CONSENT_REQUIRED".to_owned()));
    let consent = world.grant(&uscc, "bank-a", Purpose::LoanApplication, named(&["patent"]), 3600).await;
    let release = world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap();
    let profile = release.profile.clone().unwrap();
    assert_eq!(profile.features.keys().collect::<Vec<_>>(), ["patent_count"], "and neither tax nor score");
    assert!(profile.score.is_none());
    assert_eq!(release.consent_id, consent.consent_id);

    // Another bank, another purpose, more than was allowed: each is refused.
    for (bank, purpose, scope) in [
        ("bank-b", Purpose::LoanApplication, None),
        ("bank-a", Purpose::LoanManagement, None),
        ("bank-a", Purpose::LoanApplication, Some(named(&["patent", "tax"]))),
        ("bank-a", Purpose::LoanApplication, Some(whole())),
    ] {
        let refused = world.release(&uscc, bank, purpose, scope).await.unwrap_err();
        assert_eq!(reason(&refused), "CONSENT_REQUIRED", "{bank} {purpose:?}");
    }
    // A refusal tells nothing of whether the enterprise is known.
    let unknown = world.release(&enterprise(99), "bank-a", Purpose::LoanApplication, None).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (refused.code(), refused.message()));

    let trail = world.trail().await;
    let kinds: Vec<AuditKind> = trail.iter().map(AuditEntry::kind).collect();
    use AuditKind::{Refused, Released};
    assert_eq!(kinds, [Refused, Released, Refused, Refused, Refused, Refused, Refused]);
    assert_eq!(trail[1].release_id, release.release_id);
    assert_eq!(trail[1].content_sha256.len(), 32);
    assert!(trail.iter().filter(|entry| entry.kind() == Refused).all(|entry| entry.reason == "CONSENT_REQUIRED"));
    assert_eq!(trail.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), (1..=7).collect::<Vec<_>>());

    // The enterprise sees who wanted what of it, and nothing of others.
    let mine = AuditServiceClient::new(world.channel.clone())
        .list_disclosures(as_enterprise(&uscc, ListDisclosuresRequest::default()))
        .await
        .unwrap()
        .into_inner()
        .entries;
    assert_eq!(mine.len(), 6);
    assert!(mine.iter().all(|entry| entry.enterprise_id == uscc.as_str()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_narrowed_or_revoked_holds_no_longer_from_the_answer_on() {
    let world = World::trusted().await;
    let uscc = enterprise(2);
    world.known(&uscc, 3).await;
    let consent = world.grant(&uscc, "bank-a", Purpose::LoanApplication, whole(), 3600).await;
    assert!(world.release(&uscc, "bank-a", Purpose::LoanApplication, Some(whole())).await.is_ok());

    let mut client = ConsentServiceClient::new(world.channel.clone());
    let narrow = |scope: Scope| NarrowConsentRequest {
        request_id: id(),
        consent_id: consent.consent_id.clone(),
        scope: Some(scope),
        expires_at: None,
    };
    let narrowed = client.narrow_consent(as_enterprise(&uscc, narrow(named(&["tax"])))).await.unwrap().into_inner();
    assert_eq!(narrowed.consent.unwrap().version, 2);
    let left = world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap().profile.unwrap();
    assert_eq!(left.features.keys().collect::<Vec<_>>(), ["tax_paid_fen"]);
    assert!(world.release(&uscc, "bank-a", Purpose::LoanApplication, Some(whole())).await.is_err());
    let wider = client.narrow_consent(as_enterprise(&uscc, narrow(whole()))).await.unwrap_err();
    assert_eq!(reason(&wider), "CONSENT_WIDER");
    // Another enterprise can't touch it, nor see it.
    let foreign = client.narrow_consent(as_enterprise(&enterprise(3), narrow(named(&["tax"])))).await.unwrap_err();
    assert_eq!(reason(&foreign), "CONSENT_NOT_FOUND");

    let request = RevokeConsentRequest { request_id: id(), consent_id: consent.consent_id.clone() };
    let first = client.revoke_consent(as_enterprise(&uscc, request.clone())).await.unwrap().into_inner();
    let again = client.revoke_consent(as_enterprise(&uscc, request)).await.unwrap().into_inner();
    assert_eq!(first, again, "a repeated request gets the first answer");
    assert_eq!(first.consent.unwrap().state(), ConsentState::Revoked);
    let refused = world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap_err();
    assert_eq!(reason(&refused), "CONSENT_REQUIRED");
    let seen = client.list_consents(as_bank("bank-a", ListConsentsRequest::default())).await.unwrap().into_inner();
    assert_eq!(seen.consents.len(), 1);

    // Each change is told once, in order.
    let told: Vec<String> = world
        .rows("SELECT event_type FROM runtime.outbox WHERE aggregate_kind = 'consent' ORDER BY aggregate_version")
        .await;
    let told: Vec<&str> = told.iter().filter_map(|name| name.split('.').nth(4)).collect();
    assert_eq!(told, ["granted", "narrowed", "revoked"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_release_is_made_after_the_revocation_was_answered_however_many_are_in_flight() {
    let world = World::trusted().await;
    let uscc = enterprise(4);
    world.known(&uscc, 1).await;
    let consent = world.grant(&uscc, "bank-a", Purpose::LoanApplication, whole(), 3600).await;
    let askers = (0..4).map(|_| async {
        let mut released = 0;
        while world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.is_ok() {
            released += 1;
        }
        released
    });
    let revoked = async {
        eventually(PATIENCE, "some were released", || async { Ok((world.trail().await.len() >= 8).then_some(())) })
            .await
            .unwrap();
        let request = RevokeConsentRequest { request_id: id(), consent_id: consent.consent_id.clone() };
        ConsentServiceClient::new(world.channel.clone()).revoke_consent(as_enterprise(&uscc, request)).await.unwrap();
        world.trail().await.iter().filter(|entry| entry.kind() == AuditKind::Released).count()
    };
    let (released, when_revoked): (Vec<usize>, usize) = tokio::join!(futures::future::join_all(askers), revoked);
    let trail = world.trail().await;
    let on_trail = trail.iter().filter(|entry| entry.kind() == AuditKind::Released).count();
    assert_eq!(on_trail, released.iter().sum::<usize>(), "each release is on the trail, once");
    assert_eq!(on_trail, when_revoked, "none after the revocation");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_past_release_is_rebuilt_bit_for_bit_after_the_profile_has_changed() {
    let world = World::trusted().await;
    let uscc = enterprise(5);
    world.known(&uscc, 3).await;
    world.grant(&uscc, "bank-a", Purpose::LoanApplication, whole(), 3600).await;
    let release = world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap();
    world.known(&uscc, 7).await;
    assert_ne!(world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap().profile, release.profile);

    let mut client = ReleaseServiceClient::new(world.channel.clone());
    let request = GetReleaseRequest { release_id: release.release_id.clone() };
    let past = client.get_release(as_staff(request.clone())).await.unwrap().into_inner();
    let rebuilt: Release = past.release.unwrap();
    assert_eq!(rebuilt.encode_to_vec(), release.encode_to_vec());
    assert_eq!(past.content_sha256, world.trail().await[0].content_sha256);
    assert!(client.get_release(as_bank("bank-a", request.clone())).await.is_ok());
    let foreign = client.get_release(as_bank("bank-b", request)).await.unwrap_err();
    assert_eq!(reason(&foreign), "RELEASE_NOT_FOUND");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_reads_a_release_again_only_while_its_consent_covers_it() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let world = World::trusted_by(clock.clone()).await;
    let uscc = enterprise(9);
    world.known(&uscc, 3).await;
    let mut releases = Vec::new();
    for (bank, seconds) in [("bank-a", 86_400), ("bank-b", 86_400), ("sample-one-bank", 3600)] {
        let consent = world.grant(&uscc, bank, Purpose::LoanApplication, whole(), seconds).await;
        releases.push((bank, consent, world.release(&uscc, bank, Purpose::LoanApplication, None).await.unwrap()));
    }
    let ask = |release: &Release| GetReleaseRequest { release_id: release.release_id.clone() };
    for (bank, consent, release) in &releases {
        let again = world.get(as_bank(bank, ask(release))).await.unwrap();
        assert_eq!(again.release.as_ref(), Some(release));
        let entry = world.trail().await.pop().unwrap();
        assert_eq!((entry.kind(), &entry.release_id), (AuditKind::ReadAgain, &release.release_id));
        assert_eq!((&entry.consent_id, entry.content_sha256), (&consent.consent_id, again.content_sha256));
        assert_eq!((entry.institution_id.as_str(), entry.profile_version), (*bank, 1));
    }
    // Taken back, narrowed, run out.
    world.revoke(&uscc, &releases[0].1.consent_id).await;
    world.narrow(&uscc, &releases[1].1.consent_id, Some(named(&["patent", "tax"])), None).await;
    clock.advance(SignedDuration::from_hours(2));
    for (bank, consent, release) in &releases {
        let refused = world.get(as_bank(bank, ask(release))).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "CONSENT_REQUIRED"), "{bank}");
        let entry = world.trail().await.pop().unwrap();
        assert_eq!((entry.kind(), entry.reason.as_str()), (AuditKind::Refused, "CONSENT_REQUIRED"));
        assert_eq!((&entry.release_id, &entry.consent_id), (&release.release_id, &consent.consent_id));
        for other in [as_staff(ask(release)), as_enterprise(&uscc, ask(release))] {
            assert_eq!(world.get(other).await.unwrap().release.unwrap().encode_to_vec(), release.encode_to_vec());
        }
    }
    // Another's is not there, and that it was asked for is on the trail.
    let foreign = world.get(as_bank("bank-b", ask(&releases[0].2))).await.unwrap_err();
    assert_eq!(reason(&foreign), "RELEASE_NOT_FOUND");
    let entry = world.chain().await.pop().unwrap();
    assert_eq!((entry.institution_id.as_str(), entry.reason.as_str()), ("bank-b", "RELEASE_NOT_FOUND"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_to_personal_data_alone_releases_no_profile() {
    let world = World::trusted().await;
    let uscc = enterprise(10);
    world.known(&uscc, 3).await;
    let person = Scope { personal_data: true, ..Scope::default() };
    let newest = |scope: Scope| world.grant(&uscc, "bank-a", Purpose::LoanApplication, scope, 3600);
    let alone = newest(person.clone()).await;
    let refused = world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap_err();
    assert_eq!(reason(&refused), "CONSENT_REQUIRED");
    let mut codes = EnterpriseCodeServiceClient::new(world.channel.clone());
    let request = IssueEnterpriseCodeRequest { request_id: id(), consent_id: alone.consent_id, valid_for_s: 0 };
    let code = codes.issue_enterprise_code(as_enterprise(&uscc, request)).await.unwrap().into_inner().code;
    let request = ResolveEnterpriseCodeRequest { request_id: id(), code };
    let refused = codes.resolve_enterprise_code(as_bank("bank-a", request)).await.unwrap_err();
    assert_eq!(reason(&refused), "CONSENT_REQUIRED");
    assert!(world.trail().await.iter().all(|entry| entry.kind() == AuditKind::Refused));

    newest(named(&["patent"])).await;
    newest(person).await;
    let release = world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap();
    assert_eq!(
        release.profile.unwrap().features.keys().collect::<Vec<_>>(),
        ["patent_count"],
        "an older one allows it"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_release_was_made_from_is_forgotten_in_time_and_the_trail_stays() {
    let world = World::trusted().await;
    let uscc = enterprise(8);
    world.grant(&uscc, "bank-a", Purpose::LoanApplication, whole(), 3600).await;
    world.known(&uscc, 3).await;
    let old = world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap();
    world.known(&uscc, 4).await;
    let new = world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap();
    let chain = world.records().await;
    // The settings of tests keep releases for 30 days.
    let pool = world.pool().await;
    let age = "UPDATE release SET released_at = released_at - interval '31 days' WHERE release_id = $1::uuid";
    sqlx::query(age).bind(&old.release_id).execute(&pool).await.unwrap();
    let world = world.again(credit_profile::Own::for_tests()).await;

    let client = ReleaseServiceClient::new(world.channel.clone());
    let ask = |release: &Release| as_staff(GetReleaseRequest { release_id: release.release_id.clone() });
    let forgotten = eventually(PATIENCE, "the old release is forgotten", || async {
        Ok(client.clone().get_release(ask(&old)).await.err().filter(|status| reason(status) == "RELEASE_ERASED"))
    })
    .await
    .unwrap();
    assert_eq!(forgotten.code(), Code::FailedPrecondition);
    let kept = client.clone().get_release(ask(&new)).await.unwrap().into_inner().release.unwrap();
    assert_eq!(kept.encode_to_vec(), new.encode_to_vec(), "what is young enough can still be rebuilt");
    assert_eq!(world.records().await, chain, "the trail is as it was");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_refuses_to_change_the_trail() {
    let world = World::trusted().await;
    let uscc = enterprise(6);
    world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap_err();
    let pool = world.pool().await;
    for statement in [
        "UPDATE audit_entry SET enterprise_id = ''",
        "DELETE FROM audit_entry",
        "TRUNCATE audit_entry, audit_checkpoint",
    ] {
        let error = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&pool).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{statement}: {error}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_says_nothing_or_too_much_is_refused_by_field() {
    let world = World::trusted().await;
    let uscc = enterprise(7);
    let refused = async |institution: &str, purpose: Purpose, scope: Scope, seconds: i64| {
        let request = crate::trusted::grant_request(institution, purpose, scope, seconds);
        let status = ConsentServiceClient::new(world.channel.clone())
            .grant_consent(as_enterprise(&uscc, request))
            .await
            .unwrap_err();
        assert_eq!((status.code(), reason(&status)), (Code::InvalidArgument, "CONSENT_INVALID".to_owned()));
        crate::world::fields(&status)
    };
    let loan = Purpose::LoanApplication;
    assert_eq!(refused("Bank A", loan, whole(), 60).await, ["institution_id"]);
    assert_eq!(refused("bank-a", Purpose::Unspecified, whole(), 60).await, ["purpose"]);
    assert_eq!(refused("bank-a", loan, Scope::default(), 60).await, ["scope"]);
    assert_eq!(refused("bank-a", loan, named(&["ＴＡＸ"]), 60).await, ["scope"]);
    assert_eq!(refused("bank-a", loan, whole(), -1).await, ["expires_at"]);
    assert_eq!(refused("bank-a", loan, whole(), 3 * 366 * 86_400).await, ["expires_at"]);
    assert!(world.rows::<i64>("SELECT version FROM consent").await.is_empty());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_can_be_given_to_an_institution_of_the_catalog_alone_from_when_it_is_heard_of() {
    let world = World::trusted().await;
    let uscc = enterprise(9);
    let grant = async || {
        let request = crate::trusted::grant_request("bank-of-nowhere", Purpose::LoanApplication, whole(), 3600);
        ConsentServiceClient::new(world.channel.clone()).grant_consent(as_enterprise(&uscc, request)).await
    };
    let refused = grant().await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::NotFound, "INSTITUTION_NOT_FOUND".to_owned()));
    assert!(refused.message().contains("ListInstitutions"), "{}", refused.message());
    assert!(world.rows::<i64>("SELECT version FROM consent").await.is_empty());
    world.registered(&["bank-of-nowhere"]).await;
    assert_eq!(grant().await.unwrap().into_inner().consent.unwrap().institution_id, "bank-of-nowhere");
    world.stop().await;
}

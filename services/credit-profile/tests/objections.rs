//! Objections and erasure: a disputed record is flagged where it leaves, the decision corrects the profile, what is erased is
//! gone and the trail still tells that it was there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod trusted;

use jiff::{Span, civil::Date};
use zhirong_kernel::{
    Uscc,
    clock::{Clock as _, SystemClock, business_date},
};
use zhirong_proto::profile::v1::{
    AuditKind, Category, CategoryField, DecideObjectionRequest, EraseEnterpriseRequest, FieldType, GetProfileRequest,
    GetReleaseRequest, ListObjectionsRequest, Objection, ObjectionState, Profile, Purpose, PutCategoryRequest,
    RaiseObjectionRequest, category_service_client::CategoryServiceClient,
    erasure_service_client::ErasureServiceClient, objection_service_client::ObjectionServiceClient,
    profile_service_client::ProfileServiceClient, release_service_client::ReleaseServiceClient,
};
use zhirong_testkit::eventually;

use trusted::{PATIENCE, World, as_enterprise, as_staff, enterprise, id, named, reason, whole};

/// A category whose records feed one feature, and one record of it in the database.
async fn recorded(world: &World, uscc: &Uscc, category: &str, feature: &str, record_id: &str) {
    let field = CategoryField {
        name: "value".to_owned(),
        label_zh: "数值".to_owned(),
        r#type: FieldType::Integer.into(),
        unit: "count".to_owned(),
        required: true,
        minimum: Some(0),
        maximum: Some(1000),
        feature: feature.to_owned(),
        ..CategoryField::default()
    };
    let category = Category {
        category: category.to_owned(),
        label_zh: "类别".to_owned(),
        department_zh: "部门".to_owned(),
        fields: vec![field],
        sources: vec![],
    };
    let name = category.category.clone();
    let request = PutCategoryRequest { request_id: id(), category: Some(category) };
    CategoryServiceClient::new(world.channel.clone()).put_category(as_staff(request)).await.unwrap();
    let pool = world.database.pool().await.unwrap();
    sqlx::query(
        "INSERT INTO record (source, category, record_id, uscc, observed_at, withdrawn, data, tie_break)
         VALUES ('office', $1, $2, $3, now() - interval '1 day', false, '{\"value\": 5}', '')",
    )
    .bind(name)
    .bind(record_id)
    .bind(uscc.as_str())
    .execute(&pool)
    .await
    .unwrap();
    let statement = "INSERT INTO profile (enterprise_id, version, content, computed_on, stale)
         VALUES ($1, 0, '', now()::date, true) ON CONFLICT (enterprise_id) DO UPDATE SET stale = true";
    sqlx::query(statement).bind(uscc.as_str()).execute(&pool).await.unwrap();
}

async fn features_become(world: &World, uscc: &Uscc, features: &[&str]) -> Profile {
    eventually(PATIENCE, &format!("the profile shows {features:?}"), || async {
        let request = GetProfileRequest { enterprise_id: uscc.to_string() };
        let Ok(answer) = ProfileServiceClient::new(world.channel.clone()).get_profile(as_staff(request)).await else {
            return Ok(None);
        };
        let profile = answer.into_inner().profile.unwrap();
        let names: Vec<&String> =
            profile.features.keys().filter(|name| !name.starts_with("credit_") && *name != "ip_value_fen").collect();
        Ok((names == features).then_some(profile))
    })
    .await
    .unwrap()
}

fn raise(category: &str, record_id: &str) -> RaiseObjectionRequest {
    RaiseObjectionRequest {
        request_id: id(),
        source: "office".to_owned(),
        category: category.to_owned(),
        record_id: record_id.to_owned(),
        statement: "该记录有误".to_owned(),
    }
}

async fn decided(world: &World, objection: &Objection, decision: ObjectionState) -> Result<Objection, tonic::Status> {
    let request = DecideObjectionRequest {
        request_id: id(),
        objection_id: objection.objection_id.clone(),
        decision: decision.into(),
        answer: "已核实".to_owned(),
    };
    let answer = ObjectionServiceClient::new(world.channel.clone()).decide_objection(as_staff(request)).await?;
    Ok(answer.into_inner().objection.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disputed_record_is_flagged_until_the_decision_corrects_the_profile() {
    let world = World::start().await;
    let uscc = enterprise(1);
    recorded(&world, &uscc, "patent", "patent_count", "p1").await;
    recorded(&world, &uscc, "trademark", "trademark_count", "t1").await;
    features_become(&world, &uscc, &["patent_count", "trademark_count"]).await;
    world.grant(&uscc, "bank-a", Purpose::LoanApplication, whole(), 3600).await;

    let mut client = ObjectionServiceClient::new(world.channel.clone());
    let raised = client.raise_objection(as_enterprise(&uscc, raise("patent", "p1"))).await.unwrap().into_inner();
    let objection = raised.objection.unwrap();
    let today = business_date(SystemClock.now());
    let due_on: Date = objection.due_on.parse().unwrap();
    assert_eq!(due_on, today.checked_add(Span::new().days(20)).unwrap());
    assert!(!objection.overdue);
    let twice = client.raise_objection(as_enterprise(&uscc, raise("patent", "p1"))).await.unwrap_err();
    assert_eq!(reason(&twice), "OBJECTION_OPEN");
    let foreign = client.raise_objection(as_enterprise(&enterprise(2), raise("patent", "p1"))).await.unwrap_err();
    assert_eq!(reason(&foreign), "RECORD_NOT_FOUND");

    // Flagged in every release within whose scope it is, and in no other.
    let release = world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap();
    assert_eq!(release.disputed.len(), 1);
    assert_eq!(release.disputed[0].record_id, "p1");
    let other = Some(named(&["trademark"]));
    let release_of_other = world.release(&uscc, "bank-a", Purpose::LoanApplication, other).await.unwrap();
    assert!(release_of_other.disputed.is_empty());

    let upheld = decided(&world, &objection, ObjectionState::Upheld).await.unwrap();
    assert_eq!(upheld.state(), ObjectionState::Upheld);
    features_become(&world, &uscc, &["trademark_count"]).await;
    assert_eq!(reason(&decided(&world, &objection, ObjectionState::Rejected).await.unwrap_err()), "OBJECTION_DECIDED");
    let after = world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap();
    assert!(after.disputed.is_empty() && !after.profile.unwrap().features.contains_key("patent_count"));
    // What left before is rebuilt as it left: with the record and with its flag.
    let request = GetReleaseRequest { release_id: release.release_id.clone() };
    let past = ReleaseServiceClient::new(world.channel.clone()).get_release(as_staff(request)).await.unwrap();
    assert_eq!(past.into_inner().release.unwrap(), release);

    // Rejected, the record stays. And the clock is seen to have run out.
    let second = client.raise_objection(as_enterprise(&uscc, raise("trademark", "t1"))).await.unwrap().into_inner();
    let pool = world.database.pool().await.unwrap();
    sqlx::query("UPDATE objection SET due_on = due_on - 21 WHERE state = 1").execute(&pool).await.unwrap();
    let open = ListObjectionsRequest { open_only: true, ..ListObjectionsRequest::default() };
    let waiting = client.list_objections(as_staff(open)).await.unwrap().into_inner().objections;
    assert_eq!(waiting.iter().map(|one| one.overdue).collect::<Vec<_>>(), [true]);
    decided(&world, &second.objection.unwrap(), ObjectionState::Rejected).await.unwrap();
    features_become(&world, &uscc, &["trademark_count"]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_gone_and_the_trail_still_tells_of_it() {
    let world = World::start().await;
    let uscc = enterprise(3);
    world.known(&uscc, 3).await;
    world.grant(&uscc, "bank-a", Purpose::LoanApplication, whole(), 3600).await;
    let release = world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap();
    let before = world.records().await;

    let request = EraseEnterpriseRequest { request_id: id(), enterprise_id: String::new() };
    let erased = ErasureServiceClient::new(world.channel.clone())
        .erase_enterprise(as_enterprise(&uscc, request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((erased.personal_data, erased.released_versions), (false, 1));
    let request = GetReleaseRequest { release_id: release.release_id.clone() };
    let gone = ReleaseServiceClient::new(world.channel.clone()).get_release(as_staff(request)).await.unwrap_err();
    assert_eq!(reason(&gone), "RELEASE_ERASED");
    assert!(world.rows::<Vec<u8>>("SELECT content FROM released_profile").await.iter().all(Vec::is_empty));

    let after = world.records().await;
    assert_eq!(after[..before.len()], before[..], "not a byte of the trail has changed");
    assert_eq!(world.trail().await.last().unwrap().kind(), AuditKind::Erased);
    let mut hash = vec![0; 32];
    for record in &after {
        hash = credit_profile::trust::audit::chained(&hash, &record.content);
        assert_eq!(record.hash, hash);
    }
    world.stop().await;
}

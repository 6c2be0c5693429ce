//! Objections and erasure: a disputed record is flagged where it leaves, the decision corrects the profile, what is erased is
//! gone and the trail still tells that it was there.

use std::sync::Arc;

use jiff::{Span, civil::Date};
use prost::Message as _;
use zhirong_kernel::{
    Uscc,
    clock::{Clock as _, SystemClock, business_date},
};
use zhirong_proto::{
    gov::v1::{RecordRejected, RejectionCode},
    profile::v1::{
        AuditKind, Category, CategoryField, DecideObjectionRequest, EraseEnterpriseRequest, FieldType,
        GetProfileRequest, GetReleaseRequest, IssueEnterpriseCodeRequest, LegalRepresentative, ListObjectionsRequest,
        Objection, ObjectionOverdue, ObjectionState, Profile, Purpose, PutCategoryRequest,
        PutLegalRepresentativeRequest, RaiseObjectionRequest, ResolveEnterpriseCodeRequest, Scope,
        category_service_client::CategoryServiceClient, enterprise_code_service_client::EnterpriseCodeServiceClient,
        erasure_service_client::ErasureServiceClient, objection_service_client::ObjectionServiceClient,
        personal_data_service_client::PersonalDataServiceClient, profile_service_client::ProfileServiceClient,
        release_service_client::ReleaseServiceClient,
    },
};
use zhirong_testkit::{ManualClock, eventually};

use crate::trusted::{named, whole};
use crate::world::{PATIENCE, World, as_bank, as_enterprise, as_staff, enterprise, id, reason};

/// A category whose records feed one feature, and one record of it in the database.
pub async fn recorded(world: &World, uscc: &Uscc, category: &str, feature: &str, record_id: &str) {
    let field = CategoryField {
        name: "value".to_owned(),
        label_zh: "数值".to_owned(),
        r#type: FieldType::Integer.into(),
        unit: "count".to_owned(),
        required: true,
        minimum: Some(0),
        maximum: Some(1000),
        feature: feature.to_owned(),
        number: 2,
        ..CategoryField::default()
    };
    let category = Category {
        category: category.to_owned(),
        label_zh: "类别".to_owned(),
        department_zh: "部门".to_owned(),
        fields: vec![field],
        withdrawn_numbers: vec![1],
        ..Category::default()
    };
    let name = category.category.clone();
    let request = PutCategoryRequest { request_id: id(), category: Some(category) };
    CategoryServiceClient::new(world.channel.clone()).put_category(as_staff(request)).await.unwrap();
    let pool = world.pool().await;
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

pub fn raise(category: &str, record_id: &str) -> RaiseObjectionRequest {
    RaiseObjectionRequest {
        request_id: id(),
        source: "office".to_owned(),
        category: category.to_owned(),
        record_id: record_id.to_owned(),
        statement: "该记录有误".to_owned(),
    }
}

pub async fn decided(
    world: &World,
    objection: &Objection,
    decision: ObjectionState,
) -> Result<Objection, tonic::Status> {
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
    let world = World::trusted().await;
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

    // Rejected, the record stays.
    let second = client.raise_objection(as_enterprise(&uscc, raise("trademark", "t1"))).await.unwrap().into_inner();
    decided(&world, &second.objection.unwrap(), ObjectionState::Rejected).await.unwrap();
    features_become(&world, &uscc, &["trademark_count"]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_rests_on_a_disputed_record_says_so_by_profile_score_and_code() {
    let world = World::trusted().await;
    let uscc = enterprise(4);
    recorded(&world, &uscc, "patent", "patent_count", "p1").await;
    features_become(&world, &uscc, &["patent_count"]).await;
    world.known(&uscc, 3).await;
    let consent = world.grant(&uscc, "bank-a", Purpose::LoanApplication, whole(), 3600).await;
    let mut client = ObjectionServiceClient::new(world.channel.clone());
    let raised = client.raise_objection(as_enterprise(&uscc, raise("patent", "p1"))).await.unwrap().into_inner();
    let objection = raised.objection.unwrap();

    let mut codes = EnterpriseCodeServiceClient::new(world.channel.clone());
    let request = IssueEnterpriseCodeRequest { request_id: id(), consent_id: consent.consent_id, valid_for_s: 0 };
    let code = codes.issue_enterprise_code(as_enterprise(&uscc, request)).await.unwrap().into_inner().code;
    let request = ResolveEnterpriseCodeRequest { request_id: id(), code };
    let by_code = codes.resolve_enterprise_code(as_bank("bank-a", request)).await.unwrap().into_inner();
    let score = Scope { score: true, ..Scope::default() };
    let mut releases = vec![by_code.release.unwrap()];
    for scope in [None, Some(score), Some(named(&["patent"])), Some(named(&["tax"]))] {
        releases.push(world.release(&uscc, "bank-a", Purpose::LoanApplication, scope).await.unwrap());
    }
    let told: Vec<(usize, Vec<&str>)> = releases
        .iter()
        .map(|of| (of.disputed.len(), of.disputed_values.iter().map(String::as_str).collect()))
        .collect();
    let credit = || vec!["credit_score"];
    assert_eq!(told, [(1, credit()), (1, credit()), (0, credit()), (1, vec![]), (0, vec![])]);
    assert_eq!(releases[0].disputed[0].objection_id, objection.objection_id);

    decided(&world, &objection, ObjectionState::Rejected).await.unwrap();
    let after = world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap();
    assert!(after.disputed.is_empty() && after.disputed_values.is_empty());
    for release in releases {
        let request = GetReleaseRequest { release_id: release.release_id.clone() };
        assert_eq!(world.get(as_staff(request)).await.unwrap().release.unwrap(), release, "as it left");
    }
    // Whoever keeps copies is told of both ends, without the enterprise's words.
    let told = "SELECT event_type FROM runtime.outbox WHERE aggregate_kind = 'objection' ORDER BY aggregate_version";
    let expected = ["cn.zhirong.profile.objection.raised.v1", "cn.zhirong.profile.objection.decided.v1"];
    assert_eq!(world.rows::<String>(told).await, expected);
    let words = "SELECT count(*) FROM runtime.outbox WHERE position(convert_to('该记录有误', 'UTF8') IN payload) > 0";
    assert_eq!(world.rows::<i64>(words).await, [0]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upholding_takes_out_the_version_that_was_disputed_and_tells_its_source() {
    let world = World::trusted().await;
    let uscc = enterprise(5);
    recorded(&world, &uscc, "patent", "patent_count", "p1").await;
    let mut client = ObjectionServiceClient::new(world.channel.clone());
    let mut object = async || {
        let raised = client.raise_objection(as_enterprise(&uscc, raise("patent", "p1"))).await.unwrap().into_inner();
        raised.objection.unwrap()
    };
    let rejections = "SELECT payload FROM runtime.outbox WHERE aggregate_kind = 'rejected_record'";

    // The source has corrected it in the meantime: that stays.
    let objection = object().await;
    let pool = world.pool().await;
    let corrected = "UPDATE record SET observed_at = now(), data = '{\"value\": 7}'";
    sqlx::query(corrected).execute(&pool).await.unwrap();
    let upheld = decided(&world, &objection, ObjectionState::Upheld).await.unwrap();
    assert_eq!((upheld.state(), upheld.taken_out), (ObjectionState::Upheld, false));
    assert_eq!(world.rows::<bool>("SELECT withdrawn FROM record").await, [false]);
    assert!(world.rows::<Vec<u8>>(rejections).await.is_empty());

    let objection = object().await;
    let upheld = decided(&world, &objection, ObjectionState::Upheld).await.unwrap();
    assert!(upheld.taken_out);
    assert_eq!(world.rows::<bool>("SELECT withdrawn FROM record").await, [true]);
    let told = world.rows::<Vec<u8>>(rejections).await;
    assert_eq!(told.len(), 1);
    let told = RecordRejected::decode(told[0].as_slice()).unwrap();
    assert_eq!(
        (told.source.as_str(), told.record_id.as_str(), told.code()),
        ("office", "p1", RejectionCode::Objection)
    );
    let subject = "SELECT subject FROM runtime.outbox WHERE aggregate_kind = 'rejected_record'";
    assert_eq!(world.rows::<String>(subject).await, ["gov.data.rejected.office"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_objection_is_overdue_from_the_day_after_its_last_and_that_is_told_once() {
    let clock = Arc::new(ManualClock::new("2031-03-05T10:00:00+08:00".parse().unwrap()));
    let world = World::trusted_by(clock.clone()).await;
    let uscc = enterprise(6);
    recorded(&world, &uscc, "patent", "patent_count", "p1").await;
    let mut client = ObjectionServiceClient::new(world.channel.clone());
    let raised = client.raise_objection(as_enterprise(&uscc, raise("patent", "p1"))).await.unwrap().into_inner();
    let objection = raised.objection.unwrap();
    assert_eq!(objection.due_on, "2031-03-25");
    let overdue = async || {
        let request = ListObjectionsRequest { overdue_only: true, ..ListObjectionsRequest::default() };
        let mut client = ObjectionServiceClient::new(world.channel.clone());
        client.list_objections(as_staff(request)).await.unwrap().into_inner().objections
    };
    clock.set("2031-03-25T23:59:59+08:00".parse().unwrap());
    assert!(overdue().await.is_empty());
    clock.set("2031-03-26T00:00:00+08:00".parse().unwrap());
    assert_eq!(overdue().await, [Objection { overdue: true, ..objection.clone() }]);
    let told = "SELECT payload FROM runtime.outbox WHERE event_type = 'cn.zhirong.profile.objection.overdue.v1'";
    let fact = eventually(PATIENCE, "it is told", || async { Ok(world.rows::<Vec<u8>>(told).await.pop()) }).await;
    let fact = ObjectionOverdue::decode(fact.unwrap().as_slice()).unwrap();
    assert_eq!((fact.objection_id, fact.due_on), (objection.objection_id.clone(), objection.due_on.clone()));

    decided(&world, &objection, ObjectionState::Rejected).await.unwrap();
    assert!(overdue().await.is_empty());
    assert_eq!(world.rows::<Vec<u8>>(told).await.len(), 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_gone_and_the_trail_still_tells_of_it() {
    let world = World::trusted().await;
    let (uscc, mut objections) = (enterprise(3), Vec::new());
    world.known(&uscc, 3).await;
    world.grant(&uscc, "bank-a", Purpose::LoanApplication, whole(), 3600).await;
    let release = world.release(&uscc, "bank-a", Purpose::LoanApplication, None).await.unwrap();
    for record_id in ["p1", "p2"] {
        recorded(&world, &uscc, "patent", "patent_count", record_id).await;
        let request = as_enterprise(&uscc, raise("patent", record_id));
        let raised = ObjectionServiceClient::new(world.channel.clone()).raise_objection(request).await.unwrap();
        objections.push(raised.into_inner().objection.unwrap());
    }
    decided(&world, &objections[0], ObjectionState::Rejected).await.unwrap();
    let person = LegalRepresentative {
        enterprise_id: uscc.to_string(),
        name: "示例法人".to_owned(),
        id_number: "11010519491231002X".to_owned(),
        phone: "13800000001".to_owned(),
        masked: false,
    };
    let put = || PutLegalRepresentativeRequest { request_id: id(), legal_representative: Some(person.clone()) };
    for request in [as_staff(put()), as_enterprise(&uscc, put())] {
        let mut client = PersonalDataServiceClient::new(world.channel.clone());
        client.put_legal_representative(request).await.unwrap();
    }
    let words = "SELECT statement || answer FROM objection ORDER BY objection_id";
    let answers = "SELECT count(*) FROM runtime.request_log WHERE response <> ''
                   AND (method LIKE '%/RaiseObjection' OR method LIKE '%/DecideObjection' OR method LIKE '%/PutLegal%')";
    assert_eq!(world.rows::<i64>(answers).await, [5]);
    let before = world.records().await;

    let request = EraseEnterpriseRequest { request_id: id(), enterprise_id: String::new() };
    let erased = ErasureServiceClient::new(world.channel.clone())
        .erase_enterprise(as_enterprise(&uscc, request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((erased.personal_data, erased.released_versions), (true, 1));
    // What staff and enterprise were answered went too, and the words of objections when they are no longer needed.
    assert_eq!(world.rows::<i64>(answers).await, [0]);
    assert_eq!(world.rows::<String>(words).await, ["", "该记录有误"]);
    decided(&world, &objections[1], ObjectionState::Rejected).await.unwrap();
    assert_eq!(world.rows::<String>(words).await, ["", "已核实"]);
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

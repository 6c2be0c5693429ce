//! Jiangshan J1, the enterprise code (企业码): an enterprise shows a code, the bank's scanner resolves it through the gateway to
//! what the enterprise consented to, once. Replayed, expired, forged and stolen codes are refused; all of it is on the audit
//! trail, and the operator's program finds whatever is done to the trail.

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use zhirong_kernel::{
    clock::{Clock as _, SystemClock},
    id::InstitutionId,
    uscc::Uscc,
};
use zhirong_proto::profile::v1::{
    AuditKind, GetLegalRepresentativeRequest, GrantConsentRequest, IssueEnterpriseCodeRequest, LegalRepresentative,
    Purpose, PutLegalRepresentativeRequest, Release, ResolveEnterpriseCodeRequest, RevokeConsentRequest, Scope,
    consent_service_client::ConsentServiceClient, enterprise_code_service_client::EnterpriseCodeServiceClient,
    personal_data_service_client::PersonalDataServiceClient,
};
use zhirong_testkit::Kept;
use zhirong_tests::{
    district::{District, eventually},
    liandu, trail,
};

struct Story {
    district: District,
    uscc: Uscc,
    bank: InstitutionId,
    other: InstitutionId,
}

impl Story {
    async fn grant(&self, purpose: Purpose, scope: Scope) -> Result<String> {
        let request = GrantConsentRequest {
            request_id: Uuid::now_v7().to_string(),
            institution_id: self.bank.to_string(),
            purpose: purpose.into(),
            scope: Some(scope),
            expires_at: Some(timestamp(SystemClock.now().as_second() + 3600)),
        };
        let channel = self.district.as_enterprise(&self.uscc).await?;
        let answer = ConsentServiceClient::new(channel).grant_consent(request).await?.into_inner();
        Ok(answer.consent.context("a consent")?.consent_id)
    }

    async fn issue(&self, consent_id: &str, valid_for_s: i32) -> Result<String> {
        let request_id = Uuid::now_v7().to_string();
        let request = IssueEnterpriseCodeRequest { request_id, consent_id: consent_id.to_owned(), valid_for_s };
        let channel = self.district.as_enterprise(&self.uscc).await?;
        Ok(EnterpriseCodeServiceClient::new(channel).issue_enterprise_code(request).await?.into_inner().code)
    }

    async fn scan(&self, bank: &InstitutionId, code: &str, request_id: Uuid) -> Result<Release, Status> {
        let request = ResolveEnterpriseCodeRequest { request_id: request_id.to_string(), code: code.to_owned() };
        let channel = self.district.as_bank(bank).await.expect("a token");
        let answer = EnterpriseCodeServiceClient::new(channel).resolve_enterprise_code(request).await?;
        Ok(answer.into_inner().release.expect("a release"))
    }

    async fn refused(&self, bank: &InstitutionId, code: &str) -> (Code, String) {
        let status = self.scan(bank, code, Uuid::now_v7()).await.expect_err("a refusal");
        (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
    }

    async fn verify(&self) -> Result<String> {
        trail::verify(&self.district).await
    }

    /// Does something to the database that nobody may do, with the triggers out of the way.
    async fn tamper(&self, statement: &str) -> Result<()> {
        let mut conn = PgConnection::connect(&self.district.postgres("profile")).await?;
        let mut tx = conn.begin().await?;
        sqlx::raw_sql("SET LOCAL session_replication_role = replica").execute(&mut *tx).await?;
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn timestamp(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn story_jiangshan_j1() -> Result<()> {
    let district = District::start().await?;
    let uscc = liandu::parts()?.into_iter().next().context("an enterprise")?.uscc;
    liandu::data_arrive(&district).await?;
    let story = Story { district, uscc, bank: "sample-puhui-bank".parse()?, other: "sample-other-bank".parse()? };

    code_is_resolved_once(&story).await?;
    codes_that_are_refused(&story).await?;
    the_trail_tells(&story).await?;
    personal_data_reach_no_log(&story).await?;
    // Killed, it goes on with the same chain, also when another key signs from then on.
    the_signing_key_changes(&story).await?;
    tampering_is_found(&story).await?;
    a_truncated_end_is_found(&story).await?;
    story.district.stop().await
}

/// To open an account the bank needs the name and the registration, no score.
async fn code_is_resolved_once(story: &Story) -> Result<()> {
    let scope = Scope { categories: vec!["business_registration".to_owned()], ..Scope::default() };
    let consent = story.grant(Purpose::AccountOpening, scope).await?;
    let code = story.issue(&consent, 0).await?;
    assert!(code.len() <= 200 && code.is_ascii() && !code.contains(story.uscc.as_str()), "{code}");
    // Stolen: another bank photographs it. It learns nothing, and the code is not used up.
    assert_eq!(story.refused(&story.other, &code).await, (Code::PermissionDenied, "CODE_NOT_FOR_YOU".to_owned()));

    let request_id = Uuid::now_v7();
    let release = story.scan(&story.bank, &code, request_id).await?;
    let profile = release.profile.context("a profile")?;
    assert_eq!(
        (profile.enterprise_id.as_str(), release.purpose),
        (story.uscc.as_str(), Purpose::AccountOpening.into())
    );
    assert!(!profile.name.is_empty() && profile.score.is_none());
    assert!(!profile.features.is_empty());
    assert!(profile.features.values().all(|value| value.categories == ["business_registration"]));
    // An answer lost on the way may be asked for again; anything else is a replay.
    assert_eq!(story.scan(&story.bank, &code, request_id).await?.profile, Some(profile));
    assert_eq!(story.refused(&story.bank, &code).await, (Code::FailedPrecondition, "CODE_USED".to_owned()));
    // Of two scanners at the same time one gets it.
    let code = story.issue(&consent, 0).await?;
    let (one, two) =
        tokio::join!(story.scan(&story.bank, &code, Uuid::now_v7()), story.scan(&story.bank, &code, Uuid::now_v7()));
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
    Ok(())
}

async fn codes_that_are_refused(story: &Story) -> Result<()> {
    let consent = story.grant(Purpose::LoanApplication, Scope { score: true, ..Scope::default() }).await?;
    let forged = (Code::InvalidArgument, "CODE_FORGED".to_owned());
    let code = story.issue(&consent, 0).await?;
    let last = if code.ends_with('A') { "Q" } else { "A" };
    for wrong in [String::new(), "ZR1.AAAA".to_owned(), format!("{}{last}", &code[..code.len() - 1])] {
        assert_eq!(story.refused(&story.bank, &wrong).await, forged, "{wrong}");
    }
    let short = story.issue(&consent, 1).await?;
    let issued = SystemClock.now().as_second();
    eventually("the code has expired", || async { Ok((SystemClock.now().as_second() > issued + 1).then_some(())) })
        .await?;
    assert_eq!(story.refused(&story.bank, &short).await, (Code::FailedPrecondition, "CODE_EXPIRED".to_owned()));
    // Taken back between showing and scanning.
    let request = RevokeConsentRequest { request_id: Uuid::now_v7().to_string(), consent_id: consent };
    ConsentServiceClient::new(story.district.as_enterprise(&story.uscc).await?).revoke_consent(request).await?;
    assert_eq!(story.refused(&story.bank, &code).await, (Code::PermissionDenied, "CONSENT_REQUIRED".to_owned()));
    Ok(())
}

async fn the_trail_tells(story: &Story) -> Result<()> {
    let entries = trail::disclosures(&story.district, &story.uscc).await?;
    let count = |kind: AuditKind| entries.iter().filter(|entry| entry.kind() == kind).count();
    assert_eq!(count(AuditKind::Released), 3);
    for reason in ["CODE_NOT_FOR_YOU", "CODE_USED", "CODE_EXPIRED", "CONSENT_REQUIRED"] {
        assert!(entries.iter().any(|entry| entry.reason == reason), "{reason} is on the trail");
    }
    Ok(())
}

/// The account's owner: the bank reads it by consent, and no log, event or table holds it in clear.
async fn personal_data_reach_no_log(story: &Story) -> Result<()> {
    // The example of GB 11643.
    let owner = LegalRepresentative {
        enterprise_id: story.uscc.to_string(),
        name: "示例法人".to_owned(),
        id_number: "11010519491231002X".to_owned(),
        phone: "13800000001".to_owned(),
        masked: false,
    };
    let request = PutLegalRepresentativeRequest {
        request_id: Uuid::now_v7().to_string(),
        legal_representative: Some(owner.clone()),
    };
    let channel = story.district.as_enterprise(&story.uscc).await?;
    PersonalDataServiceClient::new(channel).put_legal_representative(request.clone()).await?;
    let mut wrong = request;
    wrong.request_id = Uuid::now_v7().to_string();
    wrong.legal_representative.as_mut().context("an owner")?.name = "示例法人\n".to_owned();
    let channel = story.district.as_enterprise(&story.uscc).await?;
    assert!(PersonalDataServiceClient::new(channel).put_legal_representative(wrong).await.is_err());

    let ask = GetLegalRepresentativeRequest {
        enterprise_id: story.uscc.to_string(),
        purpose: Purpose::AccountOpening.into(),
    };
    let mut bank = PersonalDataServiceClient::new(story.district.as_bank(&story.bank).await?);
    assert_eq!(bank.get_legal_representative(ask.clone()).await.unwrap_err().code(), Code::PermissionDenied);
    story.grant(Purpose::AccountOpening, Scope { personal_data: true, ..Scope::default() }).await?;
    assert_eq!(bank.get_legal_representative(ask).await?.into_inner().legal_representative, Some(owner.clone()));

    let mut read = 0;
    for file in std::fs::read_dir(story.district.folder().join("log"))? {
        let log = std::fs::read_to_string(file?.path())?;
        read += log.len();
        for secret in [&owner.name, &owner.id_number, &owner.phone] {
            assert!(!log.contains(secret.as_str()), "{secret} is in a log");
        }
    }
    assert!(read > 0, "the logs were looked at");

    let mut kept = Kept::default();
    for database in ["profile", "catalog", "matching", "subsidy", "feedback"] {
        kept.add_database(&story.district.postgres(database)).await?;
    }
    let jetstream = jetstream::new(async_nats::connect(story.district.nats()).await?);
    let streams: Vec<String> = jetstream.stream_names().try_collect().await?;
    for stream in &streams {
        kept.add_stream(&jetstream, stream).await?;
    }
    assert!(streams.iter().any(|stream| stream == "GOVDATA") && kept.has_text("zr.profile.v1.profile.updated."));
    assert!(
        kept.has_bytes("138****0001"),
        "the tables were looked at, and the bytes in them: the answer that was kept"
    );
    for secret in [&owner.name, &owner.id_number, &owner.phone] {
        assert!(!kept.has(secret), "{secret} is in a database or in a stream");
    }
    Ok(())
}

/// The old seed is dropped at once, as a single replica may; what it signed verifies, and its codes hold for their minutes.
async fn the_signing_key_changes(story: &Story) -> Result<()> {
    let consent = story.grant(Purpose::LoanApplication, Scope { score: true, ..Scope::default() }).await?;
    let code = story.issue(&consent, 300).await?;
    let printed = story.verify().await?;
    let old = printed.lines().find_map(|line| line.strip_prefix("signed by key 1: ")).context("a public key")?;
    let (old, new) = (STANDARD.encode(hex::decode(old)?), STANDARD.encode([9; 32]));
    std::fs::write(story.district.folder().join("keys/profile-signing-keys"), format!("1=public:{old},2={new}\n"))?;
    story.district.kill("credit-profile").await?;
    let printed = eventually("the trail can be read again", || async { Ok(story.verify().await.ok()) }).await?;
    assert!(printed.contains("signed by key 2: "), "{printed}");
    assert!(story.issue(&consent, 0).await?.starts_with("ZR2."));
    story.scan(&story.bank, &code, Uuid::now_v7()).await?;
    Ok(())
}

async fn tampering_is_found(story: &Story) -> Result<()> {
    let clean = story.verify().await?;
    assert!(clean.contains("unbroken"), "{clean}");
    eventually("the end of the chain is signed", || async {
        Ok((!story.verify().await?.contains(" 0 checkpoints")).then_some(()))
    })
    .await?;
    for (what, doing, undoing, found) in [
        (
            "a changed entry",
            "CREATE TABLE kept AS SELECT * FROM audit_entry WHERE sequence = 3;
             UPDATE audit_entry SET content = content || '\\x6a0178'::bytea WHERE sequence = 3",
            "UPDATE audit_entry SET content = (SELECT content FROM kept) WHERE sequence = 3; DROP TABLE kept",
            "entry 3 was changed",
        ),
        (
            "a removed entry",
            "CREATE TABLE kept AS SELECT * FROM audit_entry WHERE sequence = 3;
             DELETE FROM audit_entry WHERE sequence = 3",
            "INSERT INTO audit_entry SELECT * FROM kept; DROP TABLE kept",
            "entries 3 to 3 were removed",
        ),
        (
            "an entry put in at the end, chained as it should be",
            "INSERT INTO audit_entry SELECT h.sequence + 1, '', '\\x01'::bytea, sha256(h.hash || '\\x01'::bytea), e.signature
             FROM audit_head h JOIN audit_entry e ON e.sequence = h.sequence",
            "DELETE FROM audit_entry WHERE sequence > (SELECT sequence FROM audit_head)",
            "was put in",
        ),
        (
            "an entry put in at the end, with a key of one's own",
            "INSERT INTO audit_entry SELECT h.sequence + 1, '', '\\x01'::bytea, sha256(h.hash || '\\x01'::bytea), e.signature, 9
             FROM audit_head h JOIN audit_entry e ON e.sequence = h.sequence",
            "DELETE FROM audit_entry WHERE sequence > (SELECT sequence FROM audit_head)",
            "was signed with key 9, which nobody knows",
        ),
        (
            "an entry hidden from its enterprise",
            "UPDATE audit_entry SET enterprise_id = '' WHERE sequence = 3",
            "UPDATE audit_entry SET enterprise_id = (SELECT enterprise_id FROM audit_entry WHERE sequence = 1) WHERE sequence = 3",
            "entry 3 is stored under another enterprise",
        ),
        (
            "entries taken off the end with their checkpoints",
            "CREATE TABLE kept AS SELECT * FROM audit_entry WHERE sequence > 5;
             CREATE TABLE kept_checkpoints AS SELECT * FROM audit_checkpoint WHERE sequence > 5;
             DELETE FROM audit_entry WHERE sequence > 5; DELETE FROM audit_checkpoint WHERE sequence > 5",
            "INSERT INTO audit_entry SELECT * FROM kept;
             INSERT INTO audit_checkpoint SELECT * FROM kept_checkpoints ON CONFLICT DO NOTHING;
             DROP TABLE kept, kept_checkpoints",
            "removed from the end",
        ),
    ] {
        story.tamper(doing).await?;
        let printed = story.verify_fails().await?;
        assert!(printed.contains(found), "{what}: {printed}");
        story.tamper(undoing).await?;
        story.verify().await.with_context(|| format!("after {what} was put right"))?;
    }
    Ok(())
}

/// Taken off the end with their checkpoints, the end of the chain set back: who remembers an end from before misses nothing, nor
/// does who looks for the first time. The broker has heard of them.
async fn a_truncated_end_is_found(story: &Story) -> Result<()> {
    story.verify().await?;
    let file = story.district.folder().join("before.json").display().to_string();
    let nats = ["--nats", story.district.nats()];
    let remember = ["--remember", file.as_str()];
    assert_eq!(trail::run(&story.district, &[nats, remember].concat()).await?.code, Some(0));
    let mut conn = PgConnection::connect(&story.district.postgres("profile")).await?;
    let end: i64 = sqlx::query_scalar("SELECT sequence FROM audit_head").fetch_one(&mut conn).await?;

    let consent = story.grant(Purpose::LoanApplication, Scope { score: true, ..Scope::default() }).await?;
    let code = story.issue(&consent, 0).await?;
    story.scan(&story.bank, &code, Uuid::now_v7()).await?;
    eventually("the broker has heard of the release", || async {
        let mut conn = PgConnection::connect(&story.district.postgres("profile")).await?;
        let told = "SELECT 1 FROM runtime.outbox WHERE aggregate_kind = 'audit_trail' AND aggregate_version > $1
                    AND published_at IS NOT NULL";
        Ok(sqlx::query(told).bind(end).fetch_optional(&mut conn).await?)
    })
    .await?;
    story
        .tamper(&format!(
            "CREATE TABLE kept AS SELECT * FROM audit_entry WHERE sequence > {end};
             CREATE TABLE kept_checkpoints AS SELECT * FROM audit_checkpoint WHERE sequence > {end};
             CREATE TABLE kept_head AS SELECT * FROM audit_head;
             DELETE FROM audit_entry WHERE sequence > {end}; DELETE FROM audit_checkpoint WHERE sequence > {end};
             UPDATE audit_head SET (sequence, hash) = (SELECT sequence, hash FROM audit_entry WHERE sequence = {end})"
        ))
        .await?;
    let removed = format!("entries {} to {} were removed from the end", end + 1, end + 1);
    for remembering in [&remember[..], &["--no-remember"]] {
        let found = trail::run(&story.district, &[&nats[..], remembering].concat()).await?;
        assert!(found.code == Some(1) && found.printed.contains(&removed), "{found:?}");
    }
    // Without the broker nobody sees it, and who does not even remember an end is told so.
    assert_eq!(trail::run(&story.district, &remember).await?.code, Some(0));
    let alone = trail::run(&story.district, &["--no-remember"]).await?;
    assert!(alone.code == Some(3) && alone.printed.contains("the end of the audit trail was not checked"), "{alone:?}");
    story
        .tamper(
            "INSERT INTO audit_entry SELECT * FROM kept;
             INSERT INTO audit_checkpoint SELECT * FROM kept_checkpoints ON CONFLICT DO NOTHING;
             UPDATE audit_head h SET (sequence, hash) = (k.sequence, k.hash) FROM kept_head k;
             DROP TABLE kept, kept_checkpoints, kept_head",
        )
        .await?;
    story.verify().await?;
    Ok(())
}

impl Story {
    /// What `zhirong audit verify` prints when it finds faults.
    async fn verify_fails(&self) -> Result<String> {
        let found = trail::run(&self.district, &["--nats", self.district.nats()]).await?;
        assert_eq!(found.code, Some(1), "a fault must be found: {}", found.printed);
        Ok(found.printed)
    }
}

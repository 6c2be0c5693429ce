//! The credit profile: 32 categories of data from the public data platform, as a file, as live records and as a full reload,
//! become one profile each; what is wrong is answered and the rest is used.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, ensure};
use async_nats::{ConnectOptions, jetstream};
use futures::StreamExt as _;
use prost::Message as _;
use serde_json::{Value, json};
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::{
    gov::v1::{RecordRejected, RejectionCode},
    profile::v1::{
        GetCategorySchemaRequest, GetProfileRequest, GetProfileResponse,
        category_service_client::CategoryServiceClient, feature_value::Kind,
        profile_service_client::ProfileServiceClient,
    },
};
use zhirong_tests::{
    district::{District, eventually, seeds},
    liandu,
};

#[tokio::test(flavor = "multi_thread")]
async fn story_liandu_l2() -> Result<()> {
    let district = District::start().await?;
    let parts = liandu::parts()?;
    let sent = liandu::data_arrive(&district).await?;
    ensure!(parts.len() == 38, "38 enterprises");
    profiles(&district, &parts.iter().map(|part| part.uscc.clone()).collect::<Vec<_>>(), sent).await?;
    schemas(&district).await?;
    let uscc = &parts.first().context("an enterprise")?.uscc;
    refusals(&district, uscc).await?;
    files(&district).await?;
    district.stop().await
}

async fn answer(district: &District, uscc: &Uscc) -> Result<GetProfileResponse> {
    let request = GetProfileRequest { enterprise_id: uscc.to_string() };
    Ok(ProfileServiceClient::new(district.as_staff().await?).get_profile(request).await?.into_inner())
}

/// Each enterprise has one profile of all categories, and every feature says where it comes from.
async fn profiles(district: &District, enterprises: &[Uscc], sent: usize) -> Result<()> {
    let declared: BTreeSet<String> = fs::read_dir(seeds().join("categories"))?
        .map(|file| Ok(file?.path().file_stem().context("a name")?.to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    assert_eq!(declared.len(), 32);
    let (mut seen, mut named) = (BTreeSet::new(), BTreeSet::new());
    for uscc in enterprises {
        let found = eventually("the profile is computed of all its records", || async {
            let found = answer(district, uscc).await?;
            let records: BTreeSet<&str> = found
                .provenance
                .iter()
                .flat_map(|source| &source.records)
                .map(|record| record.record_id.as_str())
                .collect();
            let whole = records.len() == sent / enterprises.len();
            Ok(whole.then_some(found))
        })
        .await?;
        let profile = found.profile.context("a profile")?;
        assert!(!profile.name.is_empty() && profile.enterprise_id == uscc.as_str());
        for source in &found.provenance {
            let feature = profile.features.get(&source.feature).context("only what is there has a source")?;
            let categories: BTreeSet<&str> = source.records.iter().map(|record| record.category.as_str()).collect();
            assert!(feature.categories.iter().all(|category| categories.contains(category.as_str())), "{source:?}");
            seen.extend(feature.categories.iter().cloned());
            named.extend(source.records.iter().map(|record| (record.source.clone(), record.record_id.clone())));
        }
        // all but what the profile itself computes, such as the score
        let recorded = profile.features.values().filter(|feature| feature.categories != ["profile"]).count();
        assert_eq!(found.provenance.len(), recorded);
    }
    assert_eq!(seen, declared, "every category is in some profile");
    assert_eq!(named.len(), sent, "every record sent went into a profile");
    Ok(())
}

/// A district answers what a data engineer needs.
async fn schemas(district: &District) -> Result<()> {
    let mut client = CategoryServiceClient::new(district.as_staff().await?);
    let published =
        client.get_category_schema(GetCategorySchemaRequest { category: "patent".to_owned() }).await?.into_inner();
    let (ours, folder): (Value, Value) = (
        serde_json::from_str(&published.json_schema)?,
        serde_json::from_str(&fs::read_to_string(seeds().join("../docs/data/patent.schema.json"))?)?,
    );
    assert_eq!(ours, folder, "the district and the documentation say the same");
    assert_eq!(published.proto_file, fs::read_to_string(seeds().join("../docs/data/patent.proto"))?);
    Ok(())
}

/// The data platform sends with its own account, and is told what was refused.
async fn refusals(district: &District, uscc: &Uscc) -> Result<()> {
    let platform = ConnectOptions::with_user_and_password("platform".to_owned(), "platform".to_owned())
        .connect(district.nats())
        .await?;
    let mut answers = platform.subscribe("gov.data.rejected.sample-patent").await?;
    platform.flush().await?;
    let context = jetstream::new(platform);
    let before = patents(&answer(district, uscc).await?);
    let full_width = uscc.as_str().replacen('9', "９", 1);
    for (id, uscc, expected) in [("bad", full_width.as_str(), true), ("good", uscc.as_str(), false)] {
        let record = json!({
            "source": "sample-patent", "category": "patent", "record_id": id, "uscc": uscc, "observed_at": "2026-11-01T00:00:00Z",
            "data": { "patent_count": 7, "invention_patent_count": 0 },
        });
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("ce-id", id);
        headers.insert("ce-source", "sample-patent");
        headers.insert("content-type", "application/json");
        context.publish_with_headers("gov.data.v1.patent", headers, record.to_string().into()).await?.await?;
        if expected {
            let told = RecordRejected::decode(answers.next().await.context("an answer")?.payload)?;
            assert_eq!(
                (told.code(), told.event_id.as_str(), told.record_id.as_str()),
                (RejectionCode::Uscc, "bad", "bad")
            );
            assert!(told.reason.contains("full-width") && told.reason_zh.contains("全角"), "{told:?}");
        }
    }
    eventually("the good one is in the profile", || async {
        Ok((patents(&answer(district, uscc).await?) == before + 7).then_some(()))
    })
    .await?;
    Ok(())
}

fn patents(answer: &GetProfileResponse) -> i64 {
    let value = answer.profile.as_ref().and_then(|profile| profile.features.get("patent_count"));
    match value.and_then(|value| value.kind.clone()) {
        Some(Kind::Integer(count)) => count,
        _ => 0,
    }
}

/// A CSV with a bad row, then the file put right as a full reload.
async fn files(district: &District) -> Result<()> {
    let enterprise = |number: u32| Uscc::with_check(&format!("91331102MA7{number:06}"));
    let (first, second) = (enterprise(1)?, enterprise(2)?);
    let table = |name: &str, rows: &[(&Uscc, &str, &str)]| -> Result<String> {
        let mut text = "record_id,uscc,observed_at,patent_count,invention_patent_count\n".to_owned();
        for (uscc, patents, day) in rows {
            text.push_str(&format!("{uscc},{uscc},2026-10-{day}T00:00:00Z,{patents},0\n"));
        }
        let file = district.folder().join(name);
        fs::write(&file, text)?;
        Ok(file.display().to_string())
    };
    let send = async |file: &str, more: &[&str]| {
        let usual =
            ["records", "--nats", district.nats(), "--source", "sample-ip-centre", "--category", "patent", file];
        district.zhirong(&[usual.as_slice(), more].concat()).await
    };
    let file = table("first.csv", &[(&first, "3", "01"), (&second, "-4", "01"), (&second, "5", "02")])?;
    let refused = send(&file, &[]).await.unwrap_err().to_string();
    assert!(refused.contains("1 rows were refused"), "{refused}");
    let report = fs::read_to_string(format!("{file}.refused.csv"))?;
    assert!(report.lines().nth(1).is_some_and(|row| row.starts_with("2,") && row.contains("SCHEMA")), "{report}");
    // the same file once more is the same report
    assert!(send(&file, &[]).await.unwrap_err().to_string().contains("1 rows were refused"));
    assert_eq!(fs::read_to_string(format!("{file}.refused.csv"))?, report);
    for (uscc, wanted) in [(&first, 3), (&second, 5)] {
        eventually("the good rows are in the profiles", || async {
            Ok(answer(district, uscc).await.ok().filter(|answer| patents(answer) == wanted))
        })
        .await?;
    }
    // a reload with a bad row is not ended, however often it is sent
    let bad = table("bad.csv", &[(&first, "4", "03"), (&second, "-1", "03")])?;
    for _ in 0..2 {
        let refused =
            send(&bad, &["--reload", "october", "--as-of", "2026-10-31T00:00:00Z"]).await.unwrap_err().to_string();
        assert!(refused.contains("the reload was not ended"), "{refused}");
    }
    let file = table("reload.csv", &[(&first, "4", "03")])?;
    send(&file, &["--reload", "october", "--as-of", "2026-10-31T00:00:00Z"]).await?;
    eventually("what the reload leaves out is gone", || async {
        let (one, other) = (answer(district, &first).await?, answer(district, &second).await?);
        Ok((patents(&one) == 4 && patents(&other) == 0).then_some(()))
    })
    .await
}

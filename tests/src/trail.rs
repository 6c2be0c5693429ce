//! The audit trail of disclosures: what an enterprise reads of it, and the operator's check.

use std::fs;

use anyhow::{Result, ensure};
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::profile::v1::{AuditEntry, ListDisclosuresRequest, audit_service_client::AuditServiceClient};

use crate::district::{District, eventually, program};

/// Who saw an enterprise's profile or wanted to, as the enterprise itself is told.
pub async fn disclosures(district: &District, uscc: &Uscc) -> Result<Vec<AuditEntry>> {
    let mut client = AuditServiceClient::new(district.as_enterprise(uscc).await?);
    Ok(client.list_disclosures(ListDisclosuresRequest::default()).await?.into_inner().entries)
}

/// How a run of `zhirong audit verify` ended.
#[derive(Debug)]
pub struct Verified {
    /// 0 when all is well, 1 when there is a fault, 3 when nobody but the database knows where the trail ends.
    pub code: Option<i32>,
    /// What it printed, errors too.
    pub printed: String,
}

/// Runs `zhirong audit verify`, with these arguments beside the gateway and a token. It remembers in the district's folder.
pub async fn run(district: &District, arguments: &[&str]) -> Result<Verified> {
    let token = district.folder().join("tokens/story-operator");
    fs::write(&token, district.token(&["operator"], "story-operator").await?)?;
    let output = tokio::process::Command::new(program("zhirong"))
        .args(["audit", "verify", "--gateway", district.gateway(), "--token-file"])
        .arg(token)
        .args(arguments)
        .env("HOME", district.folder())
        .output()
        .await?;
    let printed = [output.stdout, output.stderr].concat();
    Ok(Verified { code: output.status.code(), printed: String::from_utf8(printed)? })
}

/// What `zhirong audit verify` prints once the broker has heard of an end of the trail; it fails when there is a fault.
pub async fn verify(district: &District) -> Result<String> {
    let Verified { code, printed } = eventually("the end of the trail can be checked", || async {
        let verified = run(district, &["--nats", district.nats()]).await?;
        Ok((verified.code != Some(3)).then_some(verified))
    })
    .await?;
    ensure!(code == Some(0), "zhirong audit verify: {printed}");
    Ok(printed)
}

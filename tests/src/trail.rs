//! The audit trail of disclosures: what an enterprise reads of it, and the operator's check.

use std::fs;

use anyhow::Result;
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::profile::v1::{AuditEntry, ListDisclosuresRequest, audit_service_client::AuditServiceClient};

use crate::district::District;

/// Who saw an enterprise's profile or wanted to, as the enterprise itself is told.
pub async fn disclosures(district: &District, uscc: &Uscc) -> Result<Vec<AuditEntry>> {
    let mut client = AuditServiceClient::new(district.as_enterprise(uscc).await?);
    Ok(client.list_disclosures(ListDisclosuresRequest::default()).await?.into_inner().entries)
}

/// What `zhirong audit verify` finds; it fails when there is a fault. It remembers in the district's folder.
pub async fn verify(district: &District) -> Result<String> {
    let token = district.folder().join("tokens/story-operator");
    fs::write(&token, district.token(&["operator"], "story-operator").await?)?;
    let (gateway, token) = (district.gateway(), token.display().to_string());
    district.zhirong(&["audit", "verify", "--gateway", gateway, "--token-file", &token]).await
}

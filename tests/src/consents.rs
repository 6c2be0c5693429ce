//! Consents to be offered credit, and whom a bank is named by them.

use anyhow::{Context as _, Result};
use prost_types::Timestamp;
use zhirong_kernel::{
    clock::{Clock as _, SystemClock},
    uscc::Uscc,
};
use zhirong_proto::{
    matching::v1::{
        Candidate, CandidateSummary, StreamCandidatesRequest, stream_candidates_response::Element,
        targeting_service_client::TargetingServiceClient,
    },
    profile::v1::{
        GrantConsentRequest, Purpose, RevokeConsentRequest, Scope, consent_service_client::ConsentServiceClient,
    },
};

use crate::{
    district::{Authorised, District},
    finance::new_id,
};

/// Lets an institution offer the enterprise credit; gives the consent's id.
pub async fn to_be_offered(district: &District, uscc: &Uscc, institution: &str) -> Result<String> {
    let request = GrantConsentRequest {
        request_id: new_id(),
        institution_id: institution.to_owned(),
        purpose: Purpose::Preapproval.into(),
        scope: Some(Scope { score: true, ..Scope::default() }),
        expires_at: Some(Timestamp { seconds: SystemClock.now().as_second() + 30 * 86_400, nanos: 0 }),
    };
    let mut consents = ConsentServiceClient::new(district.as_enterprise(uscc).await?);
    Ok(consents.grant_consent(request).await?.into_inner().consent.context("a consent")?.consent_id)
}

/// Takes a consent back.
pub async fn take_back(district: &District, uscc: &Uscc, consent_id: &str) -> Result<()> {
    let request = RevokeConsentRequest { request_id: new_id(), consent_id: consent_id.to_owned() };
    ConsentServiceClient::new(district.as_enterprise(uscc).await?).revoke_consent(request).await?;
    Ok(())
}

/// Whom a product would take, as far as the caller is named them.
pub async fn candidates(caller: Authorised, product: &str) -> Result<(CandidateSummary, Vec<Candidate>)> {
    let request = StreamCandidatesRequest { product_id: product.to_owned(), min_limit_fen: 0 };
    let mut stream = TargetingServiceClient::new(caller).stream_candidates(request).await?.into_inner();
    let (mut summary, mut named) = (None, Vec::new());
    while let Some(next) = stream.message().await? {
        match next.element.context("an element")? {
            Element::Summary(first) => summary = Some(first),
            Element::Candidate(candidate) => named.push(candidate),
        }
    }
    Ok((summary.context("a summary")?, named))
}

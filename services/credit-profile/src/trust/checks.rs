//! What services that show profiles may not have heard yet.

use tonic::{Request, Response, Status};
use uuid::Uuid;
use zhirong_proto::profile::v1::{self as pb, disclosure_check_service_server::DisclosureCheckService};
use zhirong_runtime::problem::Problem;

use super::{Trust, id, store};

/// Most consents, and most enterprises, of one check.
const MOST: usize = 2_000;

#[tonic::async_trait]
impl DisclosureCheckService for Trust {
    async fn check_disclosures(
        &self,
        request: Request<pb::CheckDisclosuresRequest>,
    ) -> Result<Response<pb::CheckDisclosuresResponse>, Status> {
        Ok(Response::new(self.check(&request.into_inner()).await?))
    }
}

impl Trust {
    async fn check(&self, request: &pb::CheckDisclosuresRequest) -> Result<pb::CheckDisclosuresResponse, Problem> {
        let heard = heard(&request.consents)?;
        let enterprises = &request.enterprise_ids;
        if enterprises.len() > MOST {
            return Err(invalid("enterprise_ids", format!("must be at most {MOST}")));
        }
        let mut conn = self.pool.acquire().await?;
        Ok(pb::CheckDisclosuresResponse {
            newer: store::newer_consents(&mut conn, &heard).await?,
            disputes: store::open_objections(&mut conn, enterprises).await?,
            erasures: store::erasures(&mut conn, enterprises).await?,
        })
    }
}

fn heard(consents: &[pb::HeardConsent]) -> Result<Vec<(Uuid, i64)>, Problem> {
    if consents.len() > MOST {
        return Err(invalid("consents", format!("must be at most {MOST}")));
    }
    let read = |consent: &pb::HeardConsent| Some((id(&consent.consent_id)?, consent.version));
    let heard: Option<Vec<_>> = consents.iter().map(read).collect();
    heard.ok_or_else(|| invalid("consents.consent_id", "must be a UUID"))
}

fn invalid(field: &'static str, why: impl Into<String>) -> Problem {
    let why = why.into();
    Problem::invalid("CHECK_INVALID", format!("`{field}` {why}")).field(field, why).zh("核验请求有误")
}

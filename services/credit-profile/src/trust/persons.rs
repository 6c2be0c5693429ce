//! Legal representatives: kept sealed, shown to whom they may be shown to.

use jiff::Timestamp;
use tonic::{Request, Response, Status};
use zhirong_kernel::Uscc;
use zhirong_proto::profile::v1::{self as pb, personal_data_service_server::PersonalDataService};
use zhirong_runtime::{
    caller::{Caller, Role},
    idempotency::{self, Claim},
    problem::Problem,
};

use super::{
    Trust, audit, consents, person,
    releases::{Asked, consent_required},
    seal::{Broken, MasterKeys, WrappedKey},
    store::{self, SealedPerson},
};
use crate::error::Error;

/// Found by phone at most.
const MOST: i64 = 100;

#[tonic::async_trait]
impl PersonalDataService for Trust {
    async fn put_legal_representative(
        &self,
        request: Request<pb::PutLegalRepresentativeRequest>,
    ) -> Result<Response<pb::PutLegalRepresentativeResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.put_person(&caller, request.into_inner()).await?))
    }

    async fn get_legal_representative(
        &self,
        request: Request<pb::GetLegalRepresentativeRequest>,
    ) -> Result<Response<pb::GetLegalRepresentativeResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        let person = self.get_person(&caller, &request.into_inner()).await?;
        Ok(Response::new(pb::GetLegalRepresentativeResponse { legal_representative: Some(person) }))
    }

    async fn find_by_phone(
        &self,
        request: Request<pb::FindByPhoneRequest>,
    ) -> Result<Response<pb::FindByPhoneResponse>, Status> {
        let caller = Caller::from_request(&request)?;
        Ok(Response::new(self.find_by_phone(&caller, &request.into_inner()).await?))
    }

    async fn get_key_rotation(
        &self,
        _request: Request<pb::GetKeyRotationRequest>,
    ) -> Result<Response<pb::GetKeyRotationResponse>, Status> {
        Ok(Response::new(self.key_rotation().await?))
    }
}

impl Trust {
    async fn put_person(
        &self,
        caller: &Caller,
        mut request: pb::PutLegalRepresentativeRequest,
    ) -> Result<pb::PutLegalRepresentativeResponse, Problem> {
        let mut person = request.legal_representative.take().unwrap_or_default();
        person.enterprise_id = whose(caller, &person.enterprise_id)?.to_string();
        let violations = person::violations(&person);
        if !violations.is_empty() {
            let problem = Problem::invalid("PERSONAL_DATA_INVALID", "the personal data can't be used; see the fields")
                .zh("个人信息有误，请逐项核对");
            return Err(violations.into_iter().fold(problem, |problem, (field, why)| problem.field(field, why)));
        }
        let now = self.now();
        let mut tx = self.pool.begin().await?;
        let method = "/zhirong.profile.v1.PersonalDataService/PutLegalRepresentative";
        // Known by its blind index in the log of requests, which keeps a hash of them that could otherwise be guessed at.
        let blinded = self.masters.blind_by_all(&format!("{}\0{}\0{}", person.name, person.id_number, person.phone));
        let forms: Vec<_> = blinded
            .into_iter()
            .map(|blinded| pb::PutLegalRepresentativeRequest {
                request_id: request.request_id.clone(),
                legal_representative: Some(pb::LegalRepresentative {
                    enterprise_id: person.enterprise_id.clone(),
                    name: hex::encode(blinded),
                    ..pb::LegalRepresentative::default()
                }),
            })
            .collect();
        let claim = idempotency::claim_by_forms(&mut tx, caller, method, &request.request_id, &forms, now).await?;
        let slot = match claim {
            Claim::Replay(response) => return Ok(response),
            Claim::Fresh(slot) => slot,
        };
        let row = sealed(&self.masters, &person).map_err(Problem::internal)?;
        store::put_person(&mut tx, &row, now).await?;
        let response = pb::PutLegalRepresentativeResponse { legal_representative: Some(person::masked(&person)) };
        slot.complete(&mut tx, &response).await?;
        if caller.role != Role::Enterprise {
            let entry = touched(caller, &person.enterprise_id, pb::AuditKind::PersonalWritten);
            audit::append(&mut tx, &self.signing, entry, now).await?;
        }
        tx.commit().await?;
        Ok(response)
    }

    async fn get_person(
        &self,
        caller: &Caller,
        request: &pb::GetLegalRepresentativeRequest,
    ) -> Result<pb::LegalRepresentative, Problem> {
        let enterprise = whose(caller, &request.enterprise_id)?;
        if caller.role == Role::Bank {
            return self.release_person(caller, &enterprise, consents::purpose(request.purpose)?, self.now()).await;
        }
        let mut tx = self.pool.begin().await?;
        let row = store::person(&mut tx, enterprise.as_str()).await?.ok_or(Error::PersonNotFound)?;
        let person = opened(&self.masters, &row).map_err(Problem::internal)?;
        if caller.role == Role::Enterprise {
            return Ok(person);
        }
        let entry = touched(caller, enterprise.as_str(), pb::AuditKind::PersonalRead);
        audit::append(&mut tx, &self.signing, entry, self.now()).await?;
        tx.commit().await?;
        Ok(person::masked(&person))
    }

    async fn release_person(
        &self,
        caller: &Caller,
        enterprise: &Uscc,
        purpose: pb::Purpose,
        now: Timestamp,
    ) -> Result<pb::LegalRepresentative, Problem> {
        let institution = caller.institution()?;
        let mut tx = self.pool.begin().await?;
        let (enterprise_id, institution_id) = (enterprise.as_str(), institution.as_str());
        let fits = |given: &pb::Scope| given.personal_data;
        let consent = consents::fitting(&mut tx, enterprise_id, institution_id, purpose, now, fits).await?;
        let scope = pb::Scope { personal_data: true, ..pb::Scope::default() };
        let asked = Asked { caller, enterprise_id: enterprise.as_str(), purpose, scope: Some(scope) };
        let row = store::person(&mut tx, enterprise.as_str()).await?;
        let (entry, outcome) = match (consent, row) {
            (Some(consent), Some(row)) => {
                let person = opened(&self.masters, &row).map_err(Problem::internal)?;
                let entry =
                    pb::AuditEntry { consent_id: consent.consent_id, ..asked.entry(pb::AuditKind::PersonalReleased) };
                (entry, Ok(person))
            }
            (consent, _) => {
                let problem = if consent.is_some() { Error::PersonNotFound.into() } else { consent_required() };
                let entry = pb::AuditEntry {
                    reason: problem.reason().to_owned(),
                    ..asked.entry(pb::AuditKind::PersonalRefused)
                };
                (entry, Err(problem))
            }
        };
        audit::append(&mut tx, &self.signing, entry, now).await?;
        tx.commit().await?;
        outcome
    }

    /// The trail says who was found; when nobody was, that somebody was looked for.
    async fn find_by_phone(
        &self,
        caller: &Caller,
        request: &pb::FindByPhoneRequest,
    ) -> Result<pb::FindByPhoneResponse, Problem> {
        if !person::is_phone(&request.phone) {
            return Err(Problem::invalid("PHONE_INVALID", "this is not a mobile phone number")
                .field("phone", "must be 11 digits beginning with 13 to 19")
                .zh("手机号码有误"));
        }
        let mut tx = self.pool.begin().await?;
        let rows = store::persons_by_phone(&mut tx, &self.masters.blind_by_all(&request.phone), MOST).await?;
        let found = rows.iter().map(|row| opened(&self.masters, row).map(|person| person::masked(&person)));
        let legal_representatives = found.collect::<Result<_, _>>().map_err(Problem::internal)?;
        let mut entries: Vec<_> =
            rows.iter().map(|row| touched(caller, &row.enterprise_id, pb::AuditKind::PersonalRead)).collect();
        if entries.is_empty() {
            entries.push(touched(caller, "", pb::AuditKind::PersonalRead));
        }
        audit::append_all(&mut tx, &self.signing, entries, self.now()).await?;
        tx.commit().await?;
        Ok(pb::FindByPhoneResponse { legal_representatives })
    }

    async fn key_rotation(&self) -> Result<pb::GetKeyRotationResponse, Problem> {
        let (newest_version, index_version) = (self.masters.seals(), self.masters.blinds());
        let mut conn = self.pool.acquire().await?;
        let [sealed, indexed] = store::rotation(&mut conn, newest_version, index_version).await?;
        Ok(pb::GetKeyRotationResponse {
            newest_version,
            done: sealed.done,
            remaining: sealed.remaining,
            index_version,
            indexed: indexed.done,
            index_remaining: indexed.remaining,
        })
    }
}

/// The entry that staff had to do with the person of an enterprise.
fn touched(caller: &Caller, enterprise_id: &str, kind: pb::AuditKind) -> pb::AuditEntry {
    let scope = Some(pb::Scope { personal_data: true, ..pb::Scope::default() });
    Asked { caller, enterprise_id, purpose: pb::Purpose::Unspecified, scope }.entry(kind)
}

/// An enterprise means itself; others name one.
pub(super) fn whose(caller: &Caller, named: &str) -> Result<Uscc, Problem> {
    if caller.role == Role::Enterprise {
        let own = caller.enterprise()?;
        if named.is_empty() || named == own.as_str() {
            return Ok(own.clone());
        }
        return Err(Error::PersonNotFound.into());
    }
    named.parse().map_err(|error: zhirong_kernel::uscc::Error| {
        Problem::invalid("USCC_INVALID", error.to_string())
            .field("enterprise_id", error.to_string())
            .zh("统一社会信用代码有误")
    })
}

fn sealed(masters: &MasterKeys, person: &pb::LegalRepresentative) -> Result<SealedPerson, Broken> {
    let place = person.enterprise_id.as_str();
    let (key, wrapped) = masters.fresh(place)?;
    Ok(SealedPerson {
        enterprise_id: place.to_owned(),
        key_version: wrapped.version,
        data_key: wrapped.sealed,
        name: key.seal(&person.name, "name", place)?,
        id_number: key.seal(&person.id_number, "id_number", place)?,
        phone: key.seal(&person.phone, "phone", place)?,
        index_version: masters.blinds(),
        phone_index: masters.blind(&person.phone),
    })
}

/// The same person by the keys that are used now.
pub(super) fn renewed(masters: &MasterKeys, row: SealedPerson) -> Result<SealedPerson, Broken> {
    let place = row.enterprise_id.as_str();
    let kept = WrappedKey { version: row.key_version, sealed: row.data_key };
    let phone_index = if row.index_version == masters.blinds() {
        row.phone_index
    } else {
        masters.blind(&masters.unwrap(&kept, place)?.open(&row.phone, "phone", place)?)
    };
    let wrapped = masters.rewrap(&kept, place)?;
    Ok(SealedPerson {
        key_version: wrapped.version,
        data_key: wrapped.sealed,
        index_version: masters.blinds(),
        phone_index,
        ..row
    })
}

fn opened(masters: &MasterKeys, row: &SealedPerson) -> Result<pb::LegalRepresentative, Broken> {
    let place = row.enterprise_id.as_str();
    let key = masters.unwrap(&WrappedKey { version: row.key_version, sealed: row.data_key.clone() }, place)?;
    Ok(pb::LegalRepresentative {
        enterprise_id: place.to_owned(),
        name: key.open(&row.name, "name", place)?,
        id_number: key.open(&row.id_number, "id_number", place)?,
        phone: key.open(&row.phone, "phone", place)?,
        masked: false,
    })
}

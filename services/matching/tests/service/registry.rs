//! What stands in for the profile service: it knows what it has told, and what a test lets it know before it is told.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{net::TcpListener, sync::Notify};
use tokio_util::sync::DropGuard;
use tonic::{Request, Response, Status, transport::server::TcpIncoming};
use zhirong_proto::profile::v1::{
    CheckDisclosuresRequest, CheckDisclosuresResponse, Consent, ConsentGranted, ConsentNarrowed, ConsentRevoked,
    EnterpriseErased, ObjectionDecided, ObjectionRaised,
    disclosure_check_service_server::{DisclosureCheckService, DisclosureCheckServiceServer},
};
use zhirong_testkit::Event;

#[derive(Default)]
struct Known {
    consents: HashMap<String, Consent>,
    raised: BTreeMap<String, ObjectionRaised>,
    decided: BTreeSet<String>,
    erased: HashMap<String, EnterpriseErased>,
    silent: bool,
    asked: usize,
}

/// A profile service of which only its answer about disclosures is needed.
#[derive(Clone)]
pub struct Registry {
    known: Arc<Mutex<Known>>,
    was_asked: Arc<Notify>,
    pub address: String,
    _stop: Arc<DropGuard>,
}

impl Registry {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = tokio_util::sync::CancellationToken::new();
        let ended = stop.clone().cancelled_owned();
        let registry =
            Self { known: Arc::default(), was_asked: Arc::default(), address, _stop: Arc::new(stop.drop_guard()) };
        let answers = Answers { known: registry.known.clone(), was_asked: registry.was_asked.clone() };
        let server = tonic::transport::Server::builder().add_service(DisclosureCheckServiceServer::new(answers));
        tokio::spawn(async move {
            server.serve_with_incoming_shutdown(TcpIncoming::from(listener), ended).await.unwrap();
        });
        registry
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    /// Knows what a fact of its own tells.
    pub fn knows(&self, event: &Event) {
        let mut known = self.known();
        let granted = event.fact::<ConsentGranted>().map(|fact| fact.consent);
        let narrowed = event.fact::<ConsentNarrowed>().map(|fact| fact.consent);
        let revoked = event.fact::<ConsentRevoked>().map(|fact| fact.consent);
        if let Some(Some(consent)) = granted.or(narrowed).or(revoked) {
            let kept = known.consents.entry(consent.consent_id.clone()).or_insert_with(|| consent.clone());
            if kept.version < consent.version {
                *kept = consent;
            }
        }
        if let Some(fact) = event.fact::<ObjectionRaised>() {
            known.raised.insert(fact.record.as_ref().unwrap().objection_id.clone(), fact);
        }
        if let Some(fact) = event.fact::<ObjectionDecided>() {
            known.decided.insert(fact.objection_id);
        }
        if let Some(fact) = event.fact::<EnterpriseErased>() {
            known.erased.insert(fact.enterprise_id.clone(), fact);
        }
    }

    /// Answers nobody from now on, or again.
    pub fn silent(&self, silent: bool) {
        self.known().silent = silent;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.known().asked
    }

    /// Waits until it is asked the next time.
    pub async fn next_question(&self) {
        self.was_asked.notified().await;
    }
}

struct Answers {
    known: Arc<Mutex<Known>>,
    was_asked: Arc<Notify>,
}

#[tonic::async_trait]
impl DisclosureCheckService for Answers {
    async fn check_disclosures(
        &self,
        request: Request<CheckDisclosuresRequest>,
    ) -> Result<Response<CheckDisclosuresResponse>, Status> {
        let request = request.into_inner();
        let mut known = self.known.lock().unwrap();
        known.asked += 1;
        self.was_asked.notify_waiters();
        if known.silent {
            return Err(Status::unavailable("not now"));
        }
        let newer = request.consents.iter().filter_map(|heard| {
            known.consents.get(&heard.consent_id).filter(|consent| consent.version > heard.version).cloned()
        });
        let disputes = known
            .raised
            .iter()
            .filter(|(id, fact)| !known.decided.contains(*id) && request.enterprise_ids.contains(&fact.enterprise_id));
        let erasures = request.enterprise_ids.iter().filter_map(|id| known.erased.get(id).cloned());
        Ok(Response::new(CheckDisclosuresResponse {
            newer: newer.collect(),
            disputes: disputes.map(|(_, fact)| fact.clone()).collect(),
            erasures: erasures.collect(),
        }))
    }
}

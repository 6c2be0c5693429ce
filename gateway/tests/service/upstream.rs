//! A stand-in for the services: remembers what it is told and answers by what it is asked.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{
    Code, Request, Response, Status,
    metadata::MetadataMap,
    transport::{Server, server::TcpIncoming},
};
use tonic_types::{ErrorDetails, StatusExt as _};
use zhirong_proto::{
    feedback::v1::{
        ListRatingsRequest, ListRatingsResponse, ListSmsRequest, ListSmsResponse, SubmitRatingRequest,
        SubmitRatingResponse,
        rating_service_server::{RatingService, RatingServiceServer},
    },
    matching::v1::{
        AcceptOrderRequest, AcceptOrderResponse, ApproveLoanRequest, ApproveLoanResponse, GetLoanRequest,
        GetLoanResponse, InboxEntry, ListInboxRequest, ListInboxResponse, RecordDisbursementRequest,
        RecordDisbursementResponse, RejectOrderRequest, RejectOrderResponse, StreamInboxRequest, StreamInboxResponse,
        bank_order_service_server::{BankOrderService, BankOrderServiceServer},
    },
};

/// A page token upon which the stand-in never answers.
pub const SILENCE: &str = "silence";
/// An answer's metadata that the caller must get.
pub const ANSWER_KEY: &str = "x-answered-by";

/// What the stand-in was told.
#[derive(Clone, Default)]
pub struct Upstream {
    told: Arc<Mutex<Vec<MetadataMap>>>,
    calls: Arc<AtomicUsize>,
}

impl Upstream {
    /// Starts one on a runtime of its own, so that it can die in the middle of an answer.
    pub fn start() -> (Self, Life, String) {
        let upstream = Self::default();
        let runtime = Runtime::new().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let services = upstream.clone();
        runtime.spawn(async move {
            Server::builder()
                .add_service(RatingServiceServer::new(services.clone()))
                .add_service(BankOrderServiceServer::new(services))
                .serve_with_incoming(TcpIncoming::from(TcpListener::from_std(listener).unwrap()))
                .await
        });
        (upstream, Life(Some(runtime)), address)
    }

    /// How many calls came through.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// The metadata of the last call.
    pub fn last(&self) -> MetadataMap {
        self.told.lock().unwrap().last().cloned().expect("a call came through")
    }

    fn note<T>(&self, request: &Request<T>) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.told.lock().unwrap().push(request.metadata().clone());
    }
}

/// The runtime on which a stand-in lives; it dies at once, as in a crash, also when the test fails.
pub struct Life(Option<Runtime>);

impl Life {
    pub fn end(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end();
    }
}

#[tonic::async_trait]
impl RatingService for Upstream {
    async fn submit_rating(
        &self,
        request: Request<SubmitRatingRequest>,
    ) -> Result<Response<SubmitRatingResponse>, Status> {
        self.note(&request);
        let mut details =
            ErrorDetails::with_error_info("ALREADY_RATED", "zhirong.cn", [("loan_id".to_owned(), "7".to_owned())]);
        details.add_bad_request_violation("loan_id", "has its rating");
        details.set_localized_message("zh-CN", "这笔贷款已评价过");
        Err(Status::with_error_details(Code::AlreadyExists, "rated, 已评价", details))
    }

    async fn list_ratings(
        &self,
        request: Request<ListRatingsRequest>,
    ) -> Result<Response<ListRatingsResponse>, Status> {
        self.note(&request);
        if request.get_ref().page_token == SILENCE {
            std::future::pending::<()>().await;
        }
        // The length tells the caller that its message came whole.
        let next_page_token = request.get_ref().page_token.len().to_string();
        let mut response = Response::new(ListRatingsResponse { ratings: vec![], next_page_token });
        response.metadata_mut().insert(ANSWER_KEY, "stand-in".parse().unwrap());
        Ok(response)
    }

    async fn list_sms(&self, request: Request<ListSmsRequest>) -> Result<Response<ListSmsResponse>, Status> {
        self.note(&request);
        Ok(Response::new(ListSmsResponse::default()))
    }
}

#[tonic::async_trait]
impl BankOrderService for Upstream {
    type StreamInboxStream = Pin<Box<dyn Stream<Item = Result<StreamInboxResponse, Status>> + Send>>;

    /// Three entries after the position, then nothing more; after a negative position nothing at all, but an end.
    async fn stream_inbox(
        &self,
        request: Request<StreamInboxRequest>,
    ) -> Result<Response<Self::StreamInboxStream>, Status> {
        self.note(&request);
        let after = request.get_ref().after_position;
        let entries = (1..=3).map(move |step| {
            let entry = InboxEntry { position: after + step, ..InboxEntry::default() };
            Ok(StreamInboxResponse { entry: Some(entry) })
        });
        if after < 0 {
            let end = [Err(Status::data_loss("the end"))];
            return Ok(Response::new(Box::pin(tokio_stream::iter(entries.chain(end)))));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(entries).chain(tokio_stream::pending()))))
    }

    async fn list_inbox(&self, request: Request<ListInboxRequest>) -> Result<Response<ListInboxResponse>, Status> {
        self.note(&request);
        Ok(Response::new(ListInboxResponse::default()))
    }

    async fn accept_order(&self, _: Request<AcceptOrderRequest>) -> Result<Response<AcceptOrderResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn reject_order(&self, _: Request<RejectOrderRequest>) -> Result<Response<RejectOrderResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn approve_loan(&self, _: Request<ApproveLoanRequest>) -> Result<Response<ApproveLoanResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn record_disbursement(
        &self,
        _: Request<RecordDisbursementRequest>,
    ) -> Result<Response<RecordDisbursementResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_loan(&self, _: Request<GetLoanRequest>) -> Result<Response<GetLoanResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

//! A running catalog, callers of each role, and what it has announced.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use zhirong_proto::{
    Fact,
    catalog::v1::{
        Condition, CreditTerms, DraftProductRequest, GuaranteeForm, Institution, InstitutionKind, Product, ProductSpec,
        PublishProductRequest, RegisterInstitutionRequest, RepaymentMethod,
        institution_service_client::InstitutionServiceClient, product_service_client::ProductServiceClient,
        product_spec::Terms, reference_service_client::ReferenceServiceClient,
    },
};
use zhirong_runtime::{
    Error,
    config::{Nothing, Settings},
};
use zhirong_testkit::{TestBroker, TestDatabase, eventually};

pub use zhirong_testkit::PATIENCE;

pub const BANK: &str = "sample-one-bank";
pub const OTHER_BANK: &str = "sample-two-bank";

/// A catalog that serves.
pub struct World {
    pub pool: sqlx::PgPool,
    pub channel: Channel,
    stop: CancellationToken,
    served: JoinHandle<Result<(), Error>>,
    database: TestDatabase,
    broker: TestBroker,
}

impl World {
    /// Starts one with nothing in it.
    pub async fn empty() -> Self {
        Self::start(TestDatabase::empty().await.unwrap(), TestBroker::start().await.unwrap()).await
    }

    /// Stops it and starts it again on the same data.
    pub async fn restart(self) -> Self {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
        self.pool.close().await;
        Self::start(self.database, self.broker).await
    }

    async fn start(database: TestDatabase, broker: TestBroker) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address_file = folder.path().join("grpc");
        let common = zhirong_testkit::settings(&database, &broker, &address_file).unwrap();
        let stop = CancellationToken::new();
        let settings = Settings { common, own: Nothing {} };
        let served = tokio::spawn(product_catalog::serve(settings, stop.clone()));
        let address = eventually(PATIENCE, "the catalog listens", || async {
            Ok(std::fs::read_to_string(&address_file).ok().filter(|address| !address.is_empty()))
        })
        .await
        .unwrap();
        let channel = Endpoint::new(format!("http://{}", address.trim())).unwrap().connect().await.unwrap();
        let pool = database.pool().await.unwrap();
        Self { pool, channel, stop, served, database, broker }
    }

    /// Starts one with two banks.
    pub async fn with_banks() -> Self {
        let world = Self::empty().await;
        for id in [BANK, OTHER_BANK] {
            world.institutions().register_institution(staff("li", register(institution(id)))).await.unwrap();
        }
        world
    }

    /// Stops it; it must end well.
    pub async fn stop(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
    }

    pub fn institutions(&self) -> InstitutionServiceClient<Channel> {
        InstitutionServiceClient::new(self.channel.clone())
    }

    pub fn products(&self) -> ProductServiceClient<Channel> {
        ProductServiceClient::new(self.channel.clone())
    }

    pub fn references(&self) -> ReferenceServiceClient<Channel> {
        ReferenceServiceClient::new(self.channel.clone())
    }

    /// What was announced of this kind, in order, once the broker has acknowledged every event there is.
    pub async fn announced<F: Fact>(&self) -> Vec<(String, F)> {
        eventually(PATIENCE, "every event is published", || async {
            let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM runtime.outbox WHERE published_at IS NULL")
                .fetch_one(&self.pool)
                .await?;
            Ok((waiting == 0).then_some(()))
        })
        .await
        .unwrap();
        let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(
            "SELECT subject, payload FROM runtime.outbox WHERE event_type = $1 ORDER BY stream_sequence",
        )
        .bind(F::TYPE)
        .fetch_all(&self.pool)
        .await
        .unwrap();
        rows.into_iter().map(|(subject, payload)| (subject, F::decode(payload.as_slice()).unwrap())).collect()
    }

    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    /// Writes a draft as `zhao`.
    pub async fn draft(&self, product_id: &str, spec: ProductSpec) -> Product {
        let answer = self.products().draft_product(staff("zhao", draft(product_id, spec))).await;
        answer.unwrap().into_inner().product.unwrap()
    }

    /// Publishes a version as `qian`.
    pub async fn publish(&self, product: &Product) -> Product {
        let answer =
            self.products().publish_product(staff("qian", publish(&product.product_id, product.version))).await;
        answer.unwrap().into_inner().product.unwrap()
    }
}

/// A request with the metadata that the gateway sets.
pub fn call<T>(message: T, metadata: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in metadata {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}

/// A request of a member of the staff.
pub fn staff<T>(person: &str, message: T) -> Request<T> {
    call(message, &[("zr-role", "staff"), ("zr-subject", person)])
}

/// A request of a bank's system.
pub fn bank<T>(institution: &str, message: T) -> Request<T> {
    call(message, &[("zr-role", "bank"), ("zr-subject", "core"), ("zr-institution", institution)])
}

/// A request without the gateway's metadata.
pub fn nobody<T>(message: T) -> Request<T> {
    Request::new(message)
}

pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}

pub fn institution(id: &str) -> Institution {
    let kind = InstitutionKind::Bank.into();
    Institution { institution_id: id.to_owned(), name_zh: "示例银行".to_owned(), kind, version: 0 }
}

pub fn register(institution: Institution) -> RegisterInstitutionRequest {
    RegisterInstitutionRequest { request_id: new_id(), institution: Some(institution) }
}

pub fn draft(product_id: &str, spec: ProductSpec) -> DraftProductRequest {
    DraftProductRequest { request_id: new_id(), product_id: product_id.to_owned(), spec: Some(spec) }
}

pub fn publish(product_id: &str, version: i32) -> PublishProductRequest {
    PublishProductRequest {
        request_id: new_id(),
        product_id: product_id.to_owned(),
        version,
        ..PublishProductRequest::default()
    }
}

/// The terms of a good credit product.
pub fn credit() -> CreditTerms {
    let condition = |expression: &str, label_zh: &str| Condition {
        expression: expression.to_owned(),
        label_zh: label_zh.to_owned(),
        advice_zh: "申请专利".to_owned(),
        ..Condition::default()
    };
    CreditTerms {
        conditions: vec![condition("patent_count >= 1", "有专利"), condition("!is_dishonest", "未失信")],
        limit_formula: "min(patent_count * 10000000, 300000000)".to_owned(),
        rate_formula: "lpr_1y_ppm + 5000".to_owned(),
        min_amount_fen: 1_000_000,
        max_amount_fen: 300_000_000,
        min_term_months: 3,
        max_term_months: 36,
        repayment_method: RepaymentMethod::InterestFirst.into(),
        guarantee_form: GuaranteeForm::IpPledge.into(),
        answer_working_days: 5,
        preapprovable: true,
        ..CreditTerms::default()
    }
}

/// A good product of the first bank.
pub fn spec(name: &str) -> ProductSpec {
    ProductSpec {
        institution_id: BANK.to_owned(),
        name_zh: name.to_owned(),
        summary_zh: "示例产品".to_owned(),
        tags: vec!["ip_pledge".to_owned()],
        terms: Some(Terms::Credit(credit())),
    }
}

/// A refusal as a program reads it.
#[derive(Debug)]
pub struct Refusal {
    pub code: Code,
    pub reason: String,
    pub fields: Vec<(String, String)>,
}

impl Refusal {
    pub fn field_names(&self) -> Vec<&str> {
        self.fields.iter().map(|(field, _)| field.as_str()).collect()
    }
}

/// Reads a refusal; each must have a reason and a Chinese sentence.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> Refusal {
    let status = answer.unwrap_err();
    let details = status.get_error_details();
    assert!(!details.localized_message().unwrap().message.is_empty(), "{status:?}");
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    Refusal {
        code: status.code(),
        reason: details.error_info().unwrap().reason.clone(),
        fields: violations.into_iter().map(|violation| (violation.field, violation.description)).collect(),
    }
}

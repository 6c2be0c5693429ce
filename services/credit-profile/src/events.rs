//! What the profile hears of: records of government data, and the ends of full reloads and of deliveries. What it refuses it answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use sqlx::PgConnection;
use tokio::sync::Notify;
use uuid::Uuid;
use zhirong_kernel::{
    clock::{Clock, business_date},
    shown,
};
use zhirong_proto::{
    gov::v1::{RecordRejected, RejectionCode},
    profile::v1::Category,
};
use zhirong_runtime::{
    inbox::{ContentType, Delivery, Handler, Refused, Rejection, Subscription},
    outbox::{self, Aggregate},
    streams,
};

use crate::{
    arrival::{self, Arrival, DeliveryEnd, ReloadEnd},
    backlog::Backlog,
    delivery::{self, Ended},
    error::Error,
    profile::proto_time,
    record::{self, Reload, Sender, Version},
    refusal::Refusal,
    store::{self, records::Alone},
};

/// What the profile consumes.
pub const SUBSCRIPTION: Subscription =
    Subscription { durable: "profile-records", stream: streams::GOVDATA, subjects: &["gov.data.v1.>"] };

/// Type of an event that carries a record.
const RECORD: &str = "cn.zhirong.gov.record.observed.v1";
/// Type of an event that ends a full reload.
const RELOAD: &str = "cn.zhirong.gov.reload.completed.v1";
/// Type of an event that ends a delivery.
const DELIVERY: &str = "cn.zhirong.gov.delivery.ended.v1";
/// Who is answered when nobody can be made out.
const NOBODY: &str = "unknown";

/// The durable consumer from which the data platform reads its refusals; deploy/nats lets it use this one and make none.
pub const PLATFORM: &str = "platform";

/// Keeps records.
pub struct RecordHandler {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes whoever computes profiles.
    pub stale: Arc<Notify>,
    /// Lets many records go first.
    pub backlog: Arc<Backlog>,
    /// The categories in force.
    pub categories: KnownCategories,
    /// Wakes whoever answers the ends of deliveries.
    pub ended: Arc<Notify>,
}

type Categories = BTreeMap<String, Category>;

/// The categories as they were read last, with the state they were read in.
#[derive(Default)]
pub struct KnownCategories(Mutex<Option<(i64, Arc<Categories>)>>);

impl KnownCategories {
    /// The categories in force, read again only after a change.
    async fn in_force(&self, conn: &mut PgConnection) -> Result<Arc<Categories>, Error> {
        let state = store::categories_state(conn).await?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((of, known)) = known
            && of == state
        {
            return Ok(known);
        }
        // what is read now may be newer than the state: then it is read once more next time
        let read = Arc::new(store::categories(conn).await?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((state, Arc::clone(&read)));
        Ok(read)
    }
}

/// What a delivery carries, as it was sent.
enum Sent {
    Record(Box<Arrival>),
    Reload(ReloadEnd),
    Delivery(DeliveryEnd),
}

/// What a delivery carries, when nothing is wrong with it.
enum Good {
    Record(Box<Version>),
    Reload(Reload),
    Delivery(Ended),
}

impl Handler for RecordHandler {
    // Versions of records order themselves, whoever writes them first.
    const LANES: usize = 3;
    const REMEMBERS: bool = false;
    // a record that breaks its schema may name a person, in whatever field
    const KEEPS_PAYLOADS: bool = false;

    async fn handle(&self, conn: &mut PgConnection, delivery: &Delivery) -> Result<(), Rejection> {
        self.handle_all(conn, &[delivery]).await?.into_iter().collect()
    }

    async fn handle_all(
        &self,
        conn: &mut PgConnection,
        deliveries: &[&Delivery],
    ) -> Result<Vec<Result<(), Rejection>>, Rejection> {
        self.backlog.note(deliveries.len());
        let now = self.clock.now();
        let categories = self.categories.in_force(conn).await.map_err(Rejection::retry)?;
        let (mut versions, mut ends, mut ended) = (Vec::new(), Vec::new(), Vec::new());
        let mut outcomes = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            outcomes.push(match open(delivery).and_then(|sent| check(sent, delivery, now, &categories)) {
                Ok(Good::Record(version)) => {
                    versions.push(*version);
                    Ok(())
                }
                Ok(Good::Reload(end)) => {
                    ends.push(end);
                    Ok(())
                }
                Ok(Good::Delivery(end)) => {
                    ended.push(end);
                    Ok(())
                }
                Err(refusal) => Err(Rejection::Poison(refusal.reason)),
            });
        }
        keep(conn, &versions, &ends, now).await?;
        for end in &ended {
            delivery::note(conn, end, now).await?;
        }
        Ok(outcomes)
    }

    async fn refused(&self, conn: &mut PgConnection, refused: &Refused<'_>) -> Result<(), zhirong_runtime::Error> {
        let now = self.clock.now();
        let answer = self.answer(&mut *conn, refused, now).await?;
        let source = answer.source.clone();
        // each is an aggregate of its own: nothing comes before or after it
        let id = Uuid::now_v7().to_string();
        outbox::append(conn, Aggregate { kind: "rejected_record", id: &id, version: 1 }, &source, &answer, now).await?;
        Ok(())
    }

    async fn committed(&self) {
        self.stale.notify_one();
        self.ended.notify_one();
    }
}

impl RecordHandler {
    async fn answer(
        &self,
        conn: &mut PgConnection,
        refused: &Refused<'_>,
        now: Timestamp,
    ) -> Result<RecordRejected, zhirong_runtime::Error> {
        let (mut source, mut record_id) = (String::new(), String::new());
        let mut why = Refusal::of(RejectionCode::Event, refused.reason, "不是有效的 CloudEvents 事件");
        if let Some(delivery) = refused.delivery {
            source.clone_from(&delivery.source);
            // whoever refused it said why in one sentence; the word for programs and the Chinese come from looking again
            let again = match open(delivery) {
                Ok(sent) => {
                    if let Sent::Record(arrival) = &sent {
                        record_id = shown::id(&arrival.record_id, record::LONGEST_ID);
                    }
                    let claimed = match &sent {
                        Sent::Record(arrival) => &arrival.source,
                        Sent::Reload(end) => &end.source,
                        Sent::Delivery(end) => &end.source,
                    };
                    if !record::is_source(&source) {
                        source.clone_from(claimed);
                    }
                    let categories = match self.categories.in_force(conn).await {
                        Ok(categories) => categories,
                        Err(Error::Database(error)) => return Err(error.into()),
                        Err(_) => Arc::default(),
                    };
                    check(sent, delivery, now, &categories).err()
                }
                Err(refusal) => Some(refusal),
            };
            why = again.unwrap_or_else(|| Refusal::of(RejectionCode::Value, refused.reason, "数据库无法保存该记录"));
        }
        if !record::is_source(&source) {
            // what is no event as a whole may still say in a header who sent it
            let header = refused.headers.get("ce-source").filter(|source| record::is_source(source));
            header.unwrap_or(NOBODY).clone_into(&mut source);
        }
        Ok(RecordRejected {
            event_id: refused.delivery.map(|delivery| delivery.id.clone()).unwrap_or_default(),
            subject: refused.subject.to_owned(),
            stream_sequence: i64::try_from(refused.stream_sequence).unwrap_or(i64::MAX),
            source,
            record_id,
            code: why.code.into(),
            field: why.field,
            reason: why.reason,
            reason_zh: why.reason_zh,
            rejected_at: Some(proto_time(now)),
        })
    }
}

/// Reads the payload.
fn open(delivery: &Delivery) -> Result<Sent, Refusal> {
    let payload = delivery.payload.as_ref();
    match (delivery.ce_type.as_str(), &delivery.content_type) {
        ("" | RECORD, ContentType::Json) => Ok(Sent::Record(Box::new(arrival::from_json(payload)?))),
        ("" | RECORD, ContentType::Protobuf) => Ok(Sent::Record(Box::new(arrival::record_from_protobuf(payload)?))),
        (RELOAD, ContentType::Json) => Ok(Sent::Reload(arrival::from_json(payload)?)),
        (RELOAD, ContentType::Protobuf) => Ok(Sent::Reload(arrival::reload_from_protobuf(payload)?)),
        (DELIVERY, ContentType::Json) => Ok(Sent::Delivery(arrival::from_json(payload)?)),
        (DELIVERY, ContentType::Protobuf) => Ok(Sent::Delivery(arrival::delivery_from_protobuf(payload)?)),
        ("" | RECORD | RELOAD | DELIVERY, ContentType::Other(_)) => Err(Refusal::of(
            RejectionCode::Payload,
            "the content type must be application/json or application/protobuf",
            "内容类型须为 application/json 或 application/protobuf",
        )),
        _ => Err(Refusal::of(
            RejectionCode::Event,
            format!("the event's type must be {RECORD}, {RELOAD} or {DELIVERY}"),
            format!("事件类型须为 {RECORD}、{RELOAD} 或 {DELIVERY}"),
        )),
    }
}

fn check(
    sent: Sent,
    delivery: &Delivery,
    now: Timestamp,
    categories: &BTreeMap<String, Category>,
) -> Result<Good, Refusal> {
    let sender = Sender { source: &delivery.source, category: delivery.key(), now };
    Ok(match sent {
        Sent::Record(arrival) => Good::Record(Box::new(record::check(*arrival, sender, categories)?)),
        Sent::Reload(end) => Good::Reload(record::check_reload(end, sender, categories)?),
        Sent::Delivery(end) => {
            record::check_delivery(&end, sender)?;
            Good::Delivery(Ended::of(end, delivery))
        }
    })
}

pub(crate) async fn keep(
    conn: &mut PgConnection,
    versions: &[Version],
    ends: &[Reload],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let of_records = versions.iter().map(|version| {
        (version.key.source.as_str(), version.key.category.as_str(), Alone(version.reload_id.is_some()))
    });
    let of_ends = ends.iter().map(|end| (end.source.as_str(), end.category.as_str()));
    let of_all = of_records.chain(of_ends.clone().map(|(source, category)| (source, category, Alone(true))));
    store::records::lock(&mut *conn, of_all).await?;
    let concerned = store::records::put(&mut *conn, versions, now).await?;
    for end in ends {
        store::reloads::end(&mut *conn, end, now).await?;
    }
    let reloaded = versions
        .iter()
        .filter(|version| version.reload_id.is_some())
        .map(|version| (version.key.source.as_str(), version.key.category.as_str()));
    for (source, category) in reloaded.chain(of_ends).collect::<BTreeSet<_>>() {
        store::reloads::settle(&mut *conn, source, category).await?;
    }
    // all at once and in order, so that two who mark the same profiles wait for each other instead of in a circle
    store::mark(conn, &concerned, business_date(now)).await
}

//! What credit-profile answers a delivery, read from the stream that keeps it: what came while nobody listened is there too.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, bail};
use async_nats::{Client, Message, StatusCode, Subscriber, client::RequestErrorKind};
use futures::StreamExt as _;
use prost::Message as _;
use serde_json::json;
use zhirong_proto::{
    Fact as _,
    gov::v1::{DeliveryJudged, RecordRejected},
};

use super::report::Refused;

const ALL: &str = "gov.data.rejected.>";
/// Looks at the stream at least so often, should no answer wake it.
const LOOK: Duration = Duration::from_secs(1);

/// The answers to one delivery.
pub struct Answers {
    client: Client,
    /// The subject that a message of the stream is asked for on.
    get: String,
    /// Wakes who waits; nothing is read from it.
    live: Subscriber,
    delivery: String,
    /// The first place in the stream that was not read.
    next: u64,
    /// Refusals of the delivery by event id, so that one that was published twice counts once.
    refused: BTreeMap<String, RecordRejected>,
    /// Numbers of refused events by the id of the end that asked for them.
    judged: BTreeMap<String, u64>,
}

impl Answers {
    /// Those that stand after a place in the stream.
    pub async fn open(client: &Client, api: &str, delivery: &str, after: u64) -> Result<Self> {
        let live = client.subscribe(ALL).await.context("listening for refusals")?;
        client.flush().await.context("listening for refusals")?;
        let (refused, judged) = (BTreeMap::new(), BTreeMap::new());
        let (get, next) = (subject(api), after.saturating_add(1));
        Ok(Self { client: client.clone(), get, live, delivery: delivery.to_owned(), next, refused, judged })
    }

    /// Waits until something may have come, not for long; then reads all that is there.
    pub async fn wait(&mut self) -> Result<()> {
        // which of the two it was does not matter
        let _ = tokio::time::timeout(LOOK, self.live.next()).await;
        while let Some(message) =
            get(&self.client, &self.get, &json!({ "seq": self.next, "next_by_subj": ALL })).await?
        {
            self.next = sequence(&message)?.saturating_add(1);
            self.take(&message)?;
        }
        Ok(())
    }

    fn take(&mut self, message: &Message) -> Result<()> {
        let ce_type = message.headers.as_ref().and_then(|headers| headers.get("ce-type")).map(|value| value.as_str());
        if ce_type == Some(DeliveryJudged::TYPE) {
            let answer = DeliveryJudged::decode(message.payload.as_ref()).context("an answer that is none")?;
            self.judged.insert(answer.event_id, u64::try_from(answer.refused_count)?);
        } else if ce_type == Some(RecordRejected::TYPE) {
            let answer = RecordRejected::decode(message.payload.as_ref()).context("an answer that is none")?;
            // others may send as well
            if answer.event_id.starts_with(&self.delivery) {
                self.refused.insert(answer.event_id.clone(), answer);
            }
        }
        Ok(())
    }

    /// Whether everything before this end was judged, and every refusal of it is here.
    pub fn whole(&self, end: &str) -> Result<bool> {
        if let Some(refused) = self.refused.get(end) {
            bail!(
                "the end of the delivery was refused: {}; is credit-profile older than this program?",
                refused.reason
            );
        }
        Ok(self.judged.get(end).is_some_and(|count| u64::try_from(self.refused.len()).is_ok_and(|have| have >= *count)))
    }

    /// How many refusals are here.
    pub fn count(&self) -> usize {
        self.refused.len()
    }

    /// The refused rows as far as they are here.
    pub fn rows(&self) -> impl Iterator<Item = Refused> {
        self.refused.iter().map(|(event_id, answer)| Refused {
            // the end of a reload has no row
            row: event_id.rsplit('-').next().and_then(|row| row.parse().ok()).unwrap_or_default(),
            record_id: answer.record_id.clone(),
            code: answer.code().as_str_name().trim_start_matches("REJECTION_CODE_").to_owned(),
            field: answer.field.clone(),
            reason: answer.reason.clone(),
            reason_zh: answer.reason_zh.clone(),
        })
    }
}

/// The id of the event with a row of a delivery; [`Answers::rows`] reads the row from it.
pub fn event_id(delivery: &str, row: u64) -> String {
    format!("{delivery}-{row}")
}

/// The last place in the stream of answers; 0 before the first one.
pub async fn last(client: &Client, api: &str) -> Result<u64> {
    match get(client, &subject(api), &json!({ "last_by_subj": ALL })).await? {
        Some(message) => sequence(&message),
        None => Ok(0),
    }
}

fn subject(api: &str) -> String {
    format!("{api}.DIRECT.GET.GOVREJECTED")
}

/// One message of the stream; none where there is none such, or no stream yet.
async fn get(client: &Client, subject: &str, wanted: &serde_json::Value) -> Result<Option<Message>> {
    match client.request(subject.to_owned(), wanted.to_string().into()).await {
        Ok(message) if message.status == Some(StatusCode::NOT_FOUND) => Ok(None),
        Ok(message) => match message.status {
            None => Ok(Some(message)),
            Some(status) => bail!("the broker does not give the answers: {status}"),
        },
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(None),
        Err(error) => Err(error).context("the broker does not give the answers; run it again, it goes on where it was"),
    }
}

fn sequence(message: &Message) -> Result<u64> {
    let headers = message.headers.as_ref().context("an answer without headers")?;
    Ok(headers.get("Nats-Sequence").context("an answer without its place")?.as_str().parse()?)
}

//! A provider behind HTTP: `POST <url>` hands a message over, `GET <url>/<id>` asks about one.
//!
//! The request is `{"id", "phone", "text"}` with our id also as `Idempotency-Key`; a taken message is answered with any 2xx
//! and `{"message_id"}`. A 4xx other than 408, 409, 425 and 429 is a refusal. Asked about a message, the provider answers 200 with
//! `{"message_id"}` or 404.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{Outgoing, SmsChannel};
use crate::sms::{QueryOutcome, SendOutcome};

/// Sends through a provider's HTTP interface.
pub struct HttpChannel {
    client: Client,
    url: String,
    token: SecretString,
}

#[derive(Deserialize)]
struct Taken {
    message_id: String,
}

impl HttpChannel {
    /// A channel to this address; `token` is sent as a bearer token unless it is empty.
    ///
    /// # Errors
    /// When the HTTP client can't be made.
    pub fn try_new(url: &str, token: SecretString, timeout: Duration) -> Result<Self, reqwest::Error> {
        let client = Client::builder().timeout(timeout).connect_timeout(timeout).no_proxy().build()?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), token })
    }

    fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match self.token.expose_secret() {
            "" => request,
            token => request.bearer_auth(token),
        }
    }
}

impl SmsChannel for HttpChannel {
    async fn send(&self, message: &Outgoing) -> SendOutcome {
        let body = json!({ "id": message.sms_id, "phone": message.phone.reveal(), "text": message.text_zh });
        let request = self
            .authorised(self.client.post(&self.url))
            .header("idempotency-key", message.sms_id.to_string())
            .json(&body);
        match request.send().await {
            Ok(response) => sent(response).await,
            // A connection that never stood can't have carried the message.
            Err(error) if error.is_connect() => SendOutcome::NotReached("the provider can't be reached".to_owned()),
            Err(error) if error.is_timeout() => SendOutcome::Unknown("the provider did not answer in time".to_owned()),
            Err(_) => SendOutcome::Unknown("the connection to the provider broke".to_owned()),
        }
    }

    async fn query(&self, sms_id: Uuid) -> QueryOutcome {
        match self.authorised(self.client.get(format!("{}/{sms_id}", self.url))).send().await {
            Ok(response) if response.status() == StatusCode::NOT_FOUND => QueryOutcome::HasNot,
            Ok(response) if response.status().is_success() => match response.json::<Taken>().await {
                Ok(taken) => QueryOutcome::Has(taken.message_id),
                Err(_) => QueryOutcome::Unknown("the provider's answer has no message_id".to_owned()),
            },
            Ok(response) => QueryOutcome::Unknown(format!("the provider answered {}", response.status())),
            Err(_) => QueryOutcome::Unknown("the provider can't be reached".to_owned()),
        }
    }
}

async fn sent(response: Response) -> SendOutcome {
    let status = response.status();
    if status.is_success() {
        return match response.json::<Taken>().await {
            Ok(taken) => SendOutcome::Taken(taken.message_id),
            Err(_) => SendOutcome::Unknown("the provider's answer has no message_id".to_owned()),
        };
    }
    let answer = format!("the provider answered {status}");
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::TOO_EARLY => SendOutcome::NotReached(answer),
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => SendOutcome::Unknown(answer),
        status if status.is_client_error() => SendOutcome::Refused(answer),
        _ => SendOutcome::Unknown(answer),
    }
}

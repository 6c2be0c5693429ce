//! How an SMS leaves the house.

use std::future::Future;

use uuid::Uuid;

use crate::{
    phone::Phone,
    sms::{QueryOutcome, SendOutcome},
};

pub mod file;
pub mod http;

/// One message for one phone.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Our id; a provider that knows idempotency keys takes it once.
    pub sms_id: Uuid,
    /// To whom.
    pub phone: Phone,
    /// What.
    pub text_zh: String,
}

/// A way to send SMS.
pub trait SmsChannel: Send + Sync + 'static {
    /// Hands a message over.
    fn send(&self, message: &Outgoing) -> impl Future<Output = SendOutcome> + Send;
    /// Asks what became of a message.
    fn query(&self, sms_id: Uuid) -> impl Future<Output = QueryOutcome> + Send;
}

/// The channel that the configuration names.
pub enum Configured {
    /// A provider behind HTTP.
    Http(http::HttpChannel),
    /// A file, for the sandbox.
    File(file::FileChannel),
}

impl SmsChannel for Configured {
    async fn send(&self, message: &Outgoing) -> SendOutcome {
        match self {
            Self::Http(channel) => channel.send(message).await,
            Self::File(channel) => channel.send(message).await,
        }
    }

    async fn query(&self, sms_id: Uuid) -> QueryOutcome {
        match self {
            Self::Http(channel) => channel.query(sms_id).await,
            Self::File(channel) => channel.query(sms_id).await,
        }
    }
}

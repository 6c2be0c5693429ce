//! Writes messages to a file instead of sending them: the sandbox's channel.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::{
    fs::{self, OpenOptions},
    io::AsyncWriteExt as _,
};
use uuid::Uuid;

use super::{Outgoing, SmsChannel};
use crate::sms::{QueryOutcome, SendOutcome};

/// Appends one JSON line a message; the phone is masked.
pub struct FileChannel {
    file: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Line {
    sms_id: Uuid,
    phone: String,
    text: String,
}

impl FileChannel {
    /// A channel that appends to this file; made when the first message comes.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Self { file }
    }

    async fn append(&self, message: &Outgoing) -> std::io::Result<()> {
        let line = Line { sms_id: message.sms_id, phone: message.phone.masked(), text: message.text_zh.clone() };
        let mut text = serde_json::to_string(&line)?;
        text.push('\n');
        let mut file = OpenOptions::new().create(true).append(true).open(&self.file).await?;
        // One write for one line, so that two processes never mix their lines.
        file.write_all(text.as_bytes()).await?;
        file.sync_data().await
    }
}

impl SmsChannel for FileChannel {
    async fn send(&self, message: &Outgoing) -> SendOutcome {
        match self.append(message).await {
            Ok(()) => SendOutcome::Taken(message.sms_id.to_string()),
            Err(error) => SendOutcome::Unknown(error.to_string()),
        }
    }

    async fn query(&self, sms_id: Uuid) -> QueryOutcome {
        let text = match fs::read_to_string(&self.file).await {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return QueryOutcome::HasNot,
            Err(error) => return QueryOutcome::Unknown(error.to_string()),
        };
        let written =
            text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()).any(|line| line.sms_id == sms_id);
        if written { QueryOutcome::Has(sms_id.to_string()) } else { QueryOutcome::HasNot }
    }
}

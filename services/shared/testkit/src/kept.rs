//! What is kept of a text: whether it stands in a table of a database or in a message of a stream.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use async_nats::jetstream::{self, stream::RawMessageErrorKind};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use sqlx::{Connection as _, PgConnection};

/// All that databases and streams hold, as one text: columns of bytes and payloads in hexadecimal.
#[derive(Debug, Default)]
pub struct Kept(String);

impl Kept {
    /// What every table of a database holds.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn in_database(url: &str) -> Result<Self> {
        let mut kept = Self::default();
        kept.add_database(url).await?;
        Ok(kept)
    }

    /// Adds what every table of a database holds.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn add_database(&mut self, url: &str) -> Result<()> {
        let mut connection = PgConnection::connect(url).await.context("connecting to look for what is kept")?;
        // else bytes come in base64, in which nothing is found that begins in the middle
        sqlx::query("SET xmlbinary = hex").execute(&mut connection).await?;
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT table_to_xml(format('%I.%I', table_schema, table_name)::regclass, true, false, '')::text
             FROM information_schema.tables
             WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'",
        )
        .fetch_all(&mut connection)
        .await
        .context("reading every table")?;
        connection.close().await?;
        for table in tables {
            self.0.push_str(&table.to_lowercase());
        }
        Ok(())
    }

    /// Adds what every message of a stream holds: subject, headers, payload.
    ///
    /// # Errors
    /// When the broker does not answer, or has no such stream.
    pub async fn add_stream(&mut self, jetstream: &jetstream::Context, name: &str) -> Result<()> {
        let stream = jetstream.get_stream(name).await?;
        let state = &stream.cached_info().state;
        // an empty one begins and ends with 0, which is no place
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            let message = match stream.get_raw_message(sequence).await {
                Ok(message) => message,
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => continue,
                Err(error) => return Err(error.into()),
            };
            let text = format!("{} {:?} {}", message.subject, message.headers, text(&message.payload));
            self.0.push_str(&text.to_lowercase());
        }
        Ok(())
    }

    /// Whether this stands somewhere as a text.
    #[must_use]
    pub fn has_text(&self, text: &str) -> bool {
        self.0.contains(&text.to_lowercase())
    }

    /// Whether this stands somewhere in a column of bytes or in a payload, alone or as a part.
    #[must_use]
    pub fn has_bytes(&self, text: &str) -> bool {
        self.0.contains(&hex(text.as_bytes()))
    }

    /// Whether this stands anywhere, as a text, in bytes, or in a text of base64.
    #[must_use]
    pub fn has(&self, text: &str) -> bool {
        self.has_text(text) || self.has_bytes(text) || base64(text).iter().any(|part| self.has_text(part))
    }
}

/// A payload as a text and in hexadecimal.
fn text(payload: &[u8]) -> String {
    format!("{} {}", String::from_utf8_lossy(payload), hex(payload))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What base64 makes of a text, wherever in the encoded it begins: the letters that depend on nothing else.
fn base64(text: &str) -> [String; 3] {
    [(0, 0), (1, 2), (2, 3)].map(|(before, first)| {
        let bytes = [vec![0; before], text.as_bytes().to_vec()].concat();
        let whole = bytes.len() * 8 / 6;
        let letters = STANDARD_NO_PAD.encode(bytes);
        letters.chars().take(whole).skip(first).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TestBroker, TestDatabase};

    const PHONE: &str = "13800000001";

    #[test]
    fn base64_is_found_wherever_it_begins() {
        for before in ["", "a", "ab", "abc", "abcd"] {
            let encoded = STANDARD_NO_PAD.encode(format!("{before}{PHONE} and more"));
            assert!(Kept(encoded.to_lowercase()).has(PHONE), "after {before:?}");
        }
        assert!(!Kept(STANDARD_NO_PAD.encode("13900000001").to_lowercase()).has(PHONE));
    }

    #[tokio::test]
    async fn a_phone_in_the_middle_of_bytes_is_found_in_tables_and_streams() {
        let database = TestDatabase::empty().await.unwrap();
        let pool = database.pool().await.unwrap();
        sqlx::raw_sql("CREATE SCHEMA own; CREATE TABLE own.kept (payload bytea)").execute(&pool).await.unwrap();
        let insert = "INSERT INTO own.kept VALUES ($1)";
        sqlx::query(insert).bind(format!("\u{1}a{PHONE}\u{2}").into_bytes()).execute(&pool).await.unwrap();
        let kept = Kept::in_database(database.url()).await.unwrap();
        assert!(kept.has_bytes(PHONE) && kept.has(PHONE) && !kept.has_text(PHONE) && !kept.has("13800000002"));

        let broker = TestBroker::start().await.unwrap();
        let jetstream = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
        let config = jetstream::stream::Config {
            name: "KEPT".to_owned(),
            subjects: vec!["kept.*".to_owned()],
            ..Default::default()
        };
        jetstream.create_stream(config).await.unwrap();
        Kept::default().add_stream(&jetstream, "KEPT").await.unwrap();
        let payload = [b"\xff", PHONE.as_bytes()].concat();
        jetstream.publish("kept.a", payload.into()).await.unwrap().await.unwrap();
        let mut kept = Kept::default();
        kept.add_stream(&jetstream, "KEPT").await.unwrap();
        assert!(kept.has_bytes(PHONE) && kept.has_text("kept.a") && !kept.has("13800000002"));
    }
}

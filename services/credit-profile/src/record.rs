//! One record of government data: what must hold before it is kept, and which of two versions counts.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Map;
use sha2::{Digest as _, Sha256};
use zhirong_kernel::{
    shown,
    uscc::{self, Uscc},
};
use zhirong_proto::{
    gov::v1::{Operation, RejectionCode as Code},
    profile::v1::Category,
};

use crate::{
    arrival::{Arrival, DeliveryEnd, ReloadEnd, Time},
    refusal::Refusal,
    schema,
};

/// A source's clock may be ahead by this much.
const AHEAD: SignedDuration = SignedDuration::from_mins(10);
/// 1900-01-01: no public record was observed before.
const EARLIEST_SECOND: i64 = -2_208_988_800;
/// Highest revision.
pub const LAST_REVISION: i64 = 1_000_000;
/// Longest id of a record, in characters.
pub const LONGEST_ID: usize = 128;
const MOST_RECORDS: i64 = 100_000_000;

/// A record that may be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Whose record it is.
    pub key: Key,
    /// The enterprise.
    pub uscc: Uscc,
    /// When the source observed it, to the microsecond, as the database keeps it.
    pub observed_at: Timestamp,
    /// Which correction of that observation.
    pub revision: i32,
    /// Whether the source takes it back.
    pub withdrawn: bool,
    /// Its fields in the schema's order, as a JSON object; none for a withdrawal.
    pub data: String,
    /// The full reload it belongs to.
    pub reload_id: Option<String>,
    /// Decides between two versions of the same instant and revision, so that the order of arrival does not.
    pub tie_break: String,
}

/// What a record is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The source.
    pub source: String,
    /// The category.
    pub category: String,
    /// The record's id at its source.
    pub record_id: String,
}

impl Version {
    /// Orders the versions of one record: the greatest counts.
    #[must_use]
    pub fn order(&self) -> (Timestamp, i32, &str) {
        (self.observed_at, self.revision, &self.tie_break)
    }
}

/// The end of a full reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// The source.
    pub source: String,
    /// The category.
    pub category: String,
    /// Its name.
    pub reload_id: String,
    /// The instant whose state was sent.
    pub as_of: Timestamp,
    /// How many records belong to it.
    pub record_count: i64,
}

/// Who sends, on which subject, and when.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// The event's source; empty when it was left out.
    pub source: &'a str,
    /// The category that the subject names.
    pub category: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// Checks a record by its category's schema.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(
    arrival: Arrival,
    sender: Sender<'_>,
    categories: &BTreeMap<String, Category>,
) -> Result<Version, Refusal> {
    let category = envelope(&arrival.source, &arrival.category, sender, categories)?;
    if !(1..=LONGEST_ID).contains(&arrival.record_id.chars().take(LONGEST_ID.saturating_add(1)).count())
        || arrival.record_id.chars().any(char::is_control)
    {
        return Err(Refusal::field(
            Code::RecordId,
            "record_id",
            "must have 1 to 128 characters, none of control",
            "须为1至128个字符，不得含控制字符",
        ));
    }
    let uscc: Uscc = arrival
        .uscc
        .parse()
        .map_err(|error| Refusal::field(Code::Uscc, "uscc", format!("is no code: {error}"), uscc_zh(&error)))?;
    let observed_at = past("observed_at", arrival.observed_at, sender.now)?;
    let withdrawn = match Operation::try_from(arrival.operation) {
        Ok(Operation::Unspecified | Operation::Upsert) => false,
        Ok(Operation::Withdraw) => true,
        Err(_) => return Err(Refusal::field(Code::Operation, "operation", "is not known", "不是已知的操作")),
    };
    let revision = Some(arrival.revision)
        .filter(|revision| (0..=LAST_REVISION).contains(revision))
        .and_then(|revision| i32::try_from(revision).ok())
        .ok_or_else(|| {
            Refusal::field(
                Code::Operation,
                "revision",
                format!("must be 0 to {LAST_REVISION}"),
                format!("须在0至{LAST_REVISION}之间"),
            )
        })?;
    let reload_id = Some(arrival.reload_id).filter(|name| !name.is_empty());
    if let Some(name) = &reload_id {
        slug("reload_id", name)?;
    }
    let data = if withdrawn { Map::new() } else { schema::read(category, arrival.data)? };
    // the schema's reader gives the fields in the schema's order, whatever order they came in
    let data = serde_json::to_string(&data)
        .map_err(|error| Refusal::of(Code::Payload, format!("the data can't be written: {error}"), "数据无法保存"))?;
    let tie_break = tie_break(withdrawn, &uscc, &data);
    let key = Key { source: arrival.source, category: arrival.category, record_id: arrival.record_id };
    Ok(Version { key, uscc, observed_at, revision, withdrawn, data, reload_id, tie_break })
}

/// Checks the end of a reload.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_reload(
    end: ReloadEnd,
    sender: Sender<'_>,
    categories: &BTreeMap<String, Category>,
) -> Result<Reload, Refusal> {
    envelope(&end.source, &end.category, sender, categories)?;
    slug("reload_id", &end.reload_id)?;
    let as_of = past("as_of", end.as_of, sender.now)?;
    if !(0..=MOST_RECORDS).contains(&end.record_count) {
        return Err(Refusal::field(
            Code::Operation,
            "record_count",
            format!("must be 0 to {MOST_RECORDS}"),
            format!("须在0至{MOST_RECORDS}之间"),
        ));
    }
    Ok(Reload {
        source: end.source,
        category: end.category,
        reload_id: end.reload_id,
        as_of,
        record_count: end.record_count,
    })
}

/// Checks the end of a delivery.
///
/// # Errors
/// The first thing that is wrong.
pub fn check_delivery(end: &DeliveryEnd, sender: Sender<'_>) -> Result<(), Refusal> {
    own_source(&end.source, sender)?;
    slug("delivery_id", &end.delivery_id)
}

/// Whether a text can be a source's name.
#[must_use]
pub fn is_source(text: &str) -> bool {
    (2..=64).contains(&text.len()) && text.bytes().all(lower_digit_hyphen)
}

fn envelope<'a>(
    source: &str,
    category: &str,
    sender: Sender<'_>,
    categories: &'a BTreeMap<String, Category>,
) -> Result<&'a Category, Refusal> {
    if category != sender.category {
        let (given, subject) = (shown::name(category), shown::name(sender.category));
        let why = format!("is `{given}` but the subject is of `{subject}`");
        return Err(Refusal::field(
            Code::Category,
            "category",
            why,
            format!("为 {given}，与主题的类别 {subject} 不符"),
        ));
    }
    own_source(source, sender)?;
    let found = categories.get(category).ok_or_else(|| {
        let name = shown::name(category);
        Refusal::field(
            Code::Category,
            "category",
            format!("`{name}` does not exist"),
            format!("所填类别 {name} 不存在"),
        )
    })?;
    if !found.sources.is_empty() && !found.sources.iter().any(|known| known == source) {
        return Err(Refusal::field(
            Code::Source,
            "source",
            format!("`{source}` may not write the category {category}"),
            format!("所填来源 {source} 无权报送类别 {category}"),
        ));
    }
    Ok(found)
}

/// Nobody sends for another, and nobody without a name.
fn own_source(source: &str, sender: Sender<'_>) -> Result<(), Refusal> {
    if !is_source(source) {
        return Err(Refusal::field(
            Code::Source,
            "source",
            "must be 2 to 64 of a-z, 0-9 and -",
            "须为2至64个小写字母、数字或连字符",
        ));
    }
    if sender.source.is_empty() {
        return Err(Refusal::field(Code::Source, "ce-source", "is missing", "缺失"));
    }
    if sender.source != source {
        let own = shown::name(sender.source);
        let why = format!("is `{source}` but the event comes from `{own}`");
        return Err(Refusal::field(
            Code::Source,
            "source",
            why,
            format!("为 {source}，与事件来源 {own} 不符，不得代报他人记录"),
        ));
    }
    Ok(())
}

fn past(field: &str, time: Time, now: Timestamp) -> Result<Timestamp, Refusal> {
    let at = match time {
        Time::Missing => return Err(Refusal::field(Code::Time, field, "is missing", "缺失")),
        Time::Wrong => {
            return Err(Refusal::field(
                Code::Time,
                field,
                "is no time such as 2026-03-01T08:00:00+08:00",
                "不是有效时间，例：2026-03-01T08:00:00+08:00",
            ));
        }
        Time::At(at) => at,
    };
    if at > now.saturating_add(AHEAD).unwrap_or(Timestamp::MAX) {
        return Err(Refusal::field(
            Code::Time,
            field,
            format!("{at} lies in the future"),
            format!("为 {at}，晚于当前时间"),
        ));
    }
    if at.as_second() < EARLIEST_SECOND {
        return Err(Refusal::field(
            Code::Time,
            field,
            format!("{at} lies before 1900"),
            format!("为 {at}，早于1900年"),
        ));
    }
    Timestamp::from_microsecond(at.as_microsecond())
        .map_err(|_| Refusal::field(Code::Time, field, "is out of range", "超出范围"))
}

fn slug(field: &str, name: &str) -> Result<(), Refusal> {
    if (1..=64).contains(&name.len()) && name.bytes().all(lower_digit_hyphen) {
        return Ok(());
    }
    Err(Refusal::field(
        Code::Operation,
        field,
        "must be 1 to 64 of a-z, 0-9 and -",
        "须为1至64个小写字母、数字或连字符",
    ))
}

fn lower_digit_hyphen(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

fn tie_break(withdrawn: bool, uscc: &Uscc, data: &str) -> String {
    let mut hash = Sha256::new();
    hash.update([u8::from(withdrawn)]);
    hash.update(uscc.as_str());
    hash.update(data);
    hex::encode(hash.finalize().get(..16).unwrap_or_default())
}

fn uscc_zh(error: &uscc::Error) -> &'static str {
    match error {
        uscc::Error::Length(_) => "长度不是18位",
        uscc::Error::FullWidth { .. } => "含全角字符，请改用半角",
        uscc::Error::LowerCase { .. } => "含小写字母，请改用大写",
        uscc::Error::Character { .. } => "含标准以外的字符",
        uscc::Error::Check { .. } => "校验位不符，可能有误录",
    }
}

#[cfg(test)]
mod tests;

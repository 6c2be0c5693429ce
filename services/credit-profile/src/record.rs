//! One record of government data as it arrives: what must hold before its category's schema is asked.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use zhirong_kernel::uscc::Uscc;
use zhirong_proto::{
    gov::v1::{Operation, Record},
    profile::v1::Category,
};

use crate::schema;

/// A source's clock may be ahead by this much.
const AHEAD: SignedDuration = SignedDuration::from_mins(10);

/// Who sent which record about whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The source.
    pub source: String,
    /// The category.
    pub category: String,
    /// The record's id at its source.
    pub record_id: String,
    /// The enterprise.
    pub uscc: Uscc,
    /// When the source observed it.
    pub observed_at: Timestamp,
    /// Whether the source takes it back.
    pub withdrawn: bool,
}

/// Checks everything but the data.
///
/// # Errors
/// A sentence that names the field. `subject_category` is the last token of the subject.
pub fn envelope(record: &Record, subject_category: &str, now: Timestamp) -> Result<Envelope, String> {
    if record.category != subject_category {
        return Err(format!(
            "`category` is `{}` but the subject is of `{}`",
            record.category.escape_default(),
            subject_category.escape_default()
        ));
    }
    let source = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(2..=64).contains(&record.source.len()) || !record.source.bytes().all(source) {
        return Err("`source` must be 2 to 64 of a-z, 0-9 and -".to_owned());
    }
    if !(1..=128).contains(&record.record_id.chars().count()) || record.record_id.chars().any(char::is_control) {
        return Err("`record_id` must have 1 to 128 characters".to_owned());
    }
    let uscc: Uscc = record.uscc.parse().map_err(|error| format!("`uscc`: {error}"))?;
    let observed_at = record.observed_at.ok_or("`observed_at` is missing")?;
    let observed_at =
        Timestamp::new(observed_at.seconds, observed_at.nanos).map_err(|_| "`observed_at` is out of range")?;
    if observed_at > now + AHEAD {
        return Err(format!("`observed_at` {observed_at} lies in the future"));
    }
    let withdrawn = match Operation::try_from(record.operation) {
        Ok(Operation::Unspecified | Operation::Upsert) => false,
        Ok(Operation::Withdraw) => true,
        Err(_) => return Err(format!("`operation` {} is not known", record.operation)),
    };
    Ok(Envelope {
        source: record.source.clone(),
        category: record.category.clone(),
        record_id: record.record_id.clone(),
        uscc,
        observed_at,
        withdrawn,
    })
}

/// The data by the category's schema; none for a withdrawal.
///
/// # Errors
/// A sentence that names the field.
pub fn data(record: &Record, category: &Category, withdrawn: bool) -> Result<Map<String, Value>, String> {
    if withdrawn {
        return Ok(Map::new());
    }
    schema::read(category, &record.data.clone().unwrap_or_default().fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            source: "market-supervision".to_owned(),
            category: "patent".to_owned(),
            record_id: "r1".to_owned(),
            uscc: "91350100M000100Y43".to_owned(),
            observed_at: Some(prost_types::Timestamp { seconds: 1000, nanos: 0 }),
            operation: 0,
            data: None,
        }
    }

    fn refusal(change: impl FnOnce(&mut Record)) -> String {
        let mut record = record();
        change(&mut record);
        envelope(&record, "patent", Timestamp::from_second(1000).unwrap()).unwrap_err()
    }

    #[test]
    fn each_field_is_checked() {
        let now = Timestamp::from_second(1000).unwrap();
        assert!(envelope(&record(), "patent", now).is_ok());
        assert!(refusal(|record| record.category = "trademark".to_owned()).contains("`category`"));
        assert!(refusal(|record| record.source = "Market".to_owned()).contains("`source`"));
        assert!(refusal(|record| record.record_id = String::new()).contains("`record_id`"));
        assert!(refusal(|record| record.uscc = "91350100M000100Y44".to_owned()).contains("check character"));
        assert!(refusal(|record| record.observed_at = None).contains("missing"));
        assert!(
            refusal(|record| record.observed_at = Some(prost_types::Timestamp { seconds: 1601, nanos: 0 }))
                .contains("future")
        );
        assert!(refusal(|record| record.operation = 9).contains("`operation`"));
    }
}

//! What the database will refuse every time, so that nobody tries it for ever.

use std::error::Error as StdError;

use sqlx::postgres::PgDatabaseError;

/// SQLSTATE: a CHECK, or a rule that a trigger keeps, was broken.
const CHECK_VIOLATION: &str = "23514";
const NOT_NULL_VIOLATION: &str = "23502";
/// SQLSTATE class: the value itself can't be stored, such as a zero character or a date out of range.
const DATA_EXCEPTION: &str = "22";

/// Why an event with this error behind it can never be applied; none when another try may help. A missing or a second row
/// (foreign and unique keys) may come right with a later event, and so may a deadlock or a lost connection.
pub(super) fn reason(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        let found = match error.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Database(refusal)) => refusal.try_downcast_ref::<PgDatabaseError>(),
            _ => error.downcast_ref::<PgDatabaseError>(),
        };
        if let Some(refusal) = found {
            let code = refusal.code();
            let never = matches!(code, CHECK_VIOLATION | NOT_NULL_VIOLATION) || code.starts_with(DATA_EXCEPTION);
            return never.then(|| format!("the database refuses it: {}", refusal.message()));
        }
        next = error.source();
    }
    None
}

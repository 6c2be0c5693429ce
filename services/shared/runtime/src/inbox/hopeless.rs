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
            return never.then(|| format!("the database refuses it: {}", without_values(refusal.message())));
        }
        next = error.source();
    }
    None
}

/// Of a value that can't be stored the message ends with the value in quotes after a colon; names are in quotes too, without one.
fn without_values(message: &str) -> &str {
    message.split_once(": \"").map_or(message, |(what, _)| what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_s_words_are_repeated_without_the_value() {
        assert_eq!(
            without_values("invalid input syntax for type integer: \"张三\""),
            "invalid input syntax for type integer"
        );
        let check = "new row for relation \"checked\" violates check constraint \"positive\"";
        assert_eq!(without_values(check), check);
    }
}

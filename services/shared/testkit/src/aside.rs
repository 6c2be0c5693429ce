//! What of a state is not compared.

use anyhow::{Context as _, Result, ensure};
use prost::Message;
use serde_json::{Map, Value};

/// What bytes begin with in a [`Row`]; the rest is hex.
const HEX: &str = "\\x";

/// A row of a table, by column.
pub type Row = Map<String, Value>;

/// Something that depends on the way to a state and not on its end, with the reason. Whatever it names must be there, so that no list
/// keeps what has gone.
#[derive(Clone, Copy)]
pub struct Aside {
    pub(crate) table: &'static str,
    what: What,
    why: &'static str,
}

#[derive(Clone, Copy)]
enum What {
    Table,
    Untouched,
    Columns(&'static [&'static str]),
    Within(&'static str, fn(&[u8]) -> Result<Vec<u8>>),
    Older(&'static [&'static str], &'static str),
    Rows(fn(&Row) -> bool),
}

impl Aside {
    /// A whole table.
    #[must_use]
    pub const fn table(table: &'static str, why: &'static str) -> Self {
        Self { table, what: What::Table, why }
    }

    /// A table that nothing of the history writes to, and that must be empty. Every other one must have rows.
    #[must_use]
    pub const fn untouched(table: &'static str, why: &'static str) -> Self {
        Self { table, what: What::Untouched, why }
    }

    /// Columns.
    #[must_use]
    pub const fn columns(table: &'static str, columns: &'static [&'static str], why: &'static str) -> Self {
        Self { table, what: What::Columns(columns), why }
    }

    /// Something within the bytes of a column, which `rest` leaves out; see [`blanked`].
    #[must_use]
    pub const fn within(
        table: &'static str,
        column: &'static str,
        rest: fn(&[u8]) -> Result<Vec<u8>>,
        why: &'static str,
    ) -> Self {
        Self { table, what: What::Within(column, rest), why }
    }

    /// All rows of a log but the newest of each `key`, by a number that is left out as well.
    #[must_use]
    pub const fn older(
        table: &'static str,
        key: &'static [&'static str],
        number: &'static str,
        why: &'static str,
    ) -> Self {
        Self { table, what: What::Older(key, number), why }
    }

    /// Rows.
    #[must_use]
    pub const fn rows(table: &'static str, which: fn(&Row) -> bool, why: &'static str) -> Self {
        Self { table, what: What::Rows(which), why }
    }

    /// Whether the table is compared.
    pub(crate) const fn compares(&self) -> bool {
        !matches!(self.what, What::Table | What::Untouched)
    }

    /// Leaves it out of a table's rows.
    pub(crate) fn leave_out(&self, rows: &mut Vec<Row>) -> Result<()> {
        match self.what {
            What::Table => {}
            What::Untouched => ensure!(rows.is_empty(), "{} has rows, though: {}", self.table, self.why),
            What::Columns(columns) => {
                for column in columns {
                    for row in rows.iter_mut() {
                        self.take(row, column)?;
                    }
                }
            }
            What::Within(column, rest) => {
                for row in rows {
                    let left = rest(&bytes(row, column)?)?;
                    row.insert(column.to_owned(), Value::String(format!("{HEX}{}", hex::encode(left))));
                }
            }
            What::Older(key, number) => {
                let mut newest: Vec<(i64, Row)> = Vec::new();
                for mut row in rows.drain(..) {
                    let at = self.take(&mut row, number)?.as_i64().with_context(|| format!("{number} is no number"))?;
                    let same = |known: &Row| key.iter().all(|column| known.get(*column) == row.get(*column));
                    match newest.iter_mut().find(|(_, known)| same(known)) {
                        Some(known) if known.0 < at => *known = (at, row),
                        Some(_) => {}
                        None => newest.push((at, row)),
                    }
                }
                rows.extend(newest.into_iter().map(|(_, row)| row));
            }
            What::Rows(which) => rows.retain(|row| !which(row)),
        }
        Ok(())
    }

    fn take(&self, row: &mut Row, column: &str) -> Result<Value> {
        row.remove(column).with_context(|| format!("there is no {}.{column}: {}", self.table, self.why))
    }
}

fn bytes(row: &Row, column: &str) -> Result<Vec<u8>> {
    let text = row.get(column).and_then(Value::as_str).and_then(|text| text.strip_prefix(HEX));
    Ok(hex::decode(text.with_context(|| format!("{column} has no bytes"))?)?)
}

/// The message in a column of a row.
///
/// # Errors
/// When there is none.
pub fn message_in<M: Message + Default>(row: &Row, column: &str) -> Result<M> {
    Ok(M::decode(bytes(row, column)?.as_slice())?)
}

/// A message without what `blank` takes out of it.
///
/// # Errors
/// When it is no such message.
pub fn blanked<M: Message + Default>(content: &[u8], blank: impl Fn(&mut M)) -> Result<Vec<u8>> {
    let mut message = M::decode(content)?;
    blank(&mut message);
    Ok(message.encode_to_vec())
}

//! The rows that were refused, in a CSV file beside the one that was sent.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::unsent::Unsent;

/// A row that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Its number, from 1; 0 for the end of a reload.
    pub row: u64,
    /// Its record, as far as it could be read.
    pub record_id: String,
    /// A word for programs; `UNSENT` for a row that could not be sent at all.
    pub code: String,
    /// The field concerned.
    pub field: String,
    /// A sentence.
    pub reason: String,
    /// The same in Chinese.
    pub reason_zh: String,
}

impl From<Unsent> for Refused {
    fn from(why: Unsent) -> Self {
        Self {
            row: 0,
            record_id: String::new(),
            code: "UNSENT".to_owned(),
            field: why.field().to_owned(),
            reason: why.to_string(),
            reason_zh: why.zh(),
        }
    }
}

/// Where the report of a file stands.
pub fn path(of: &Path) -> PathBuf {
    let mut name = of.as_os_str().to_owned();
    name.push(".refused.csv");
    PathBuf::from(name)
}

/// Writes the report, in one step; none when nothing was refused.
pub fn write(path: &Path, refused: &[Refused]) -> Result<()> {
    let wrong = || format!("writing {}", path.display());
    if refused.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(wrong),
            _ => Ok(()),
        };
    }
    let mut rows = csv::Writer::from_writer(Vec::new());
    for row in refused {
        rows.serialize(row)?;
    }
    let new = path.with_extension("csv.new");
    fs::write(&new, rows.into_inner()?).and_then(|()| fs::rename(&new, path)).with_context(wrong)
}

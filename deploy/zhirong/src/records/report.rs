//! The rows that were refused, in a CSV file beside the one that was sent.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

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

impl Refused {
    /// One that was not sent.
    pub fn unsent(reason: &str) -> Self {
        Self {
            row: 0,
            record_id: String::new(),
            code: "UNSENT".to_owned(),
            field: String::new(),
            reason: reason.to_owned(),
            reason_zh: "该行无法报送".to_owned(),
        }
    }
}

/// The file, made with the first refused row; every row is on the disk before the next is looked at.
pub struct Report {
    path: PathBuf,
    file: Option<File>,
    count: u64,
}

impl Report {
    /// The report of a broken off run goes on.
    pub fn open(of: &Path) -> Result<Self> {
        let mut name = of.as_os_str().to_owned();
        name.push(".refused.csv");
        let path = PathBuf::from(name);
        let count = match csv::Reader::from_path(&path) {
            Ok(mut rows) => u64::try_from(rows.records().count())?,
            Err(_) => 0,
        };
        Ok(Self { path, file: None, count })
    }

    /// Begins anew.
    pub fn clear(&mut self) -> Result<()> {
        self.count = 0;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Adds a row.
    pub fn add(&mut self, refused: &Refused) -> Result<()> {
        let fresh = self.count == 0;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&self.path)
                    .with_context(|| format!("writing {}", self.path.display()))?,
            ),
        };
        let mut rows = csv::WriterBuilder::new().has_headers(fresh).from_writer(Vec::new());
        rows.serialize(refused)?;
        file.write_all(&rows.into_inner()?)?;
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

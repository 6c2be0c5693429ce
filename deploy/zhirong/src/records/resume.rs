//! How far a file was sent, in a small file beside it, so that a run that was killed goes on there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    /// Of the file that was sent: another length or time is another file.
    length: u64,
    modified_ns: u128,
    /// What was said beside the file, such as its reload; said otherwise, it is another delivery.
    said: String,
    /// Rows that the broker has.
    rows: u64,
    /// Names the delivery: the ids of its events begin with it.
    delivery: String,
    /// The last place in the stream of answers before the first row was sent.
    answers_after: u64,
}

/// The progress of a file.
pub struct Progress {
    path: PathBuf,
    noted: Noted,
    /// Whether it can be noted at all; a folder that may only be read does not keep the records from being sent.
    kept: bool,
}

impl Progress {
    /// Of an earlier run over the same file that was broken off; else a new delivery begins.
    pub async fn load(
        file: &Path,
        said: String,
        from_start: bool,
        now: impl AsyncFnOnce() -> Result<u64>,
    ) -> Result<Self> {
        let found = fs::metadata(file).with_context(|| format!("opening {}", file.display()))?;
        let modified_ns = found.modified()?.duration_since(std::time::UNIX_EPOCH)?.as_nanos();
        let mut name = file.as_os_str().to_owned();
        name.push(".progress");
        let path = PathBuf::from(name);
        let earlier: Option<Noted> = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let of = (found.len(), modified_ns, said.as_str());
        let same = |noted: &Noted| !from_start && (noted.length, noted.modified_ns, noted.said.as_str()) == of;
        let (length, kept) = (found.len(), true);
        if let Some(noted) = earlier.filter(same) {
            println!("  {:22} {} rows were sent before; going on there", "records", noted.rows);
            return Ok(Self { path, noted, kept });
        }
        let (delivery, answers_after) = (Uuid::now_v7().to_string(), now().await?);
        let mut new = Self { path, noted: Noted { length, modified_ns, said, rows: 0, delivery, answers_after }, kept };
        // before the first row is sent, or a kill would leave rows whose answers nobody asks for
        new.reached(0)?;
        Ok(new)
    }

    /// Names the delivery.
    pub fn delivery(&self) -> &str {
        &self.noted.delivery
    }

    /// The last place in the stream of answers that can't be of this delivery.
    pub fn answers_after(&self) -> u64 {
        self.noted.answers_after
    }

    /// Rows that need not be sent.
    pub fn rows(&self) -> u64 {
        self.noted.rows
    }

    /// The broker has all rows up to this one. In one step, so that a kill leaves the old or the new.
    pub fn reached(&mut self, row: u64) -> Result<()> {
        self.noted.rows = row.max(self.noted.rows);
        if !self.kept {
            return Ok(());
        }
        let new = self.path.with_extension("progress.new");
        let text = serde_json::to_vec(&self.noted)?;
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &self.path));
        if let Err(error) = written {
            println!("  {:22} can't be noted in {}: {error}", "progress", self.path.display());
            self.kept = false;
        }
        Ok(())
    }

    /// Nothing is left to do.
    pub fn done(&self) -> Result<()> {
        if !self.kept {
            return Ok(());
        }
        fs::remove_file(&self.path).with_context(|| format!("removing {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_sent_with_other_words_is_another_delivery() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some.ndjson");
        fs::write(&file, "{}").unwrap();
        let begun = async |said: &str| {
            let mut progress = Progress::load(&file, said.to_owned(), false, async || Ok(0)).await.unwrap();
            let before = progress.rows();
            progress.reached(1).unwrap();
            (progress.delivery().to_owned(), before)
        };
        let first = begun("reload a").await;
        assert_eq!(begun("reload a").await, (first.0.clone(), 1), "it goes on");
        let other = begun("reload b").await;
        assert_eq!(other.1, 0, "from the first row");
        assert_ne!(other.0, first.0);
    }
}

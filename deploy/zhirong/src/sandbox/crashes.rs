//! Crashes on demand, for fault tests: a file `crash/<program>` in the sandbox's folder names crash points, one a line (see
//! `zhirong_runtime::fault`). Each start of the program takes the first line away and aborts when it reaches that point.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context as _, Result};

/// Takes the next crash point of a program; none when its file is missing or used up.
pub fn next(file: &Path) -> Result<Option<String>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    let (point, rest) = text.split_once('\n').unwrap_or((&text, ""));
    if point.trim().is_empty() {
        return Ok(None);
    }
    fs::write(file, rest).with_context(|| format!("writing {}", file.display()))?;
    Ok(Some(point.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_start_takes_one_point_until_none_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("matching");
        assert_eq!(next(&file).unwrap(), None);
        fs::write(&file, "first\nsecond\n").unwrap();
        assert_eq!(next(&file).unwrap().as_deref(), Some("first"));
        assert_eq!(next(&file).unwrap().as_deref(), Some("second"));
        assert_eq!(next(&file).unwrap(), None);
        assert_eq!(fs::read_to_string(&file).unwrap(), "");
    }
}

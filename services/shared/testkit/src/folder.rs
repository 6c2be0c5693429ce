//! Temporary folders that do not pile up.

use std::{fs, fs::Permissions, os::unix::fs::PermissionsExt as _, path::Path, sync::Once};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

const PREFIX: &str = "zhirong-test-";

/// A temporary folder that the servers' unprivileged user can reach.
///
/// A test that is killed, or whose program never drops its server, leaves its folder behind. The name tells whose it is, and
/// the next test program removes the folders of programs that are gone.
///
/// # Errors
/// When the system refuses.
pub fn folder() -> Result<TempDir> {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| sweep(&std::env::temp_dir()));
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .context("making a temporary folder")
}

fn sweep(temporary: &Path) {
    for entry in fs::read_dir(temporary).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another user's folder stays; it is theirs to sweep.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_only_what_dead_programs_left() {
        let temporary = tempfile::tempdir().unwrap();
        // No process has a number above the kernel's limit of 4 194 304.
        let (dead, living) = (format!("{PREFIX}9999999-a"), format!("{PREFIX}{}-b", std::process::id()));
        for name in [dead.as_str(), living.as_str(), "something-9999999-else"] {
            fs::create_dir_all(temporary.path().join(name).join("inside")).unwrap();
        }
        sweep(temporary.path());
        assert!(!temporary.path().join(dead).exists());
        assert!(temporary.path().join(living).exists());
        assert!(temporary.path().join("something-9999999-else").exists());
    }
}

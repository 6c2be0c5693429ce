//! A cluster is made once.

use std::{fs, path::Path};

use super::{PostgresOptions, ROLE, place::Place};
use crate::{Error, Tried as _, process::run};

/// Makes the cluster unless it is there; gives its password. The cluster gets its name only when it is whole, so that one whose
/// making was interrupted is never taken for one with data.
pub(super) async fn ensure(place: &Place, options: PostgresOptions) -> Result<String, Error> {
    let password_file = place.dir.join("password");
    if !place.data().exists() {
        make(place, options, &password_file).await?;
    }
    let password = fs::read_to_string(&password_file).tried(|| format!("reading {}", password_file.display()))?;
    Ok(password.trim().to_owned())
}

async fn make(place: &Place, options: PostgresOptions, password_file: &Path) -> Result<(), Error> {
    let draft = place.dir.join("data.new");
    if draft.exists() {
        fs::remove_dir_all(&draft).tried(|| format!("removing {}", draft.display()))?;
    }
    fs::write(password_file, "").tried(|| format!("making {}", password_file.display()))?;
    place.own(password_file, 0o600)?;
    fs::write(password_file, hex::encode(rand::random::<[u8; 16]>())).tried(|| "keeping the password".to_owned())?;
    let mut command = place.command("initdb");
    command
        .args(["--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums", "--no-instructions"])
        // Text in order of its bytes, which is that of its characters: PostgreSQL compares it by itself, without the C library.
        .args(["--locale=C.UTF-8", "--lc-collate=C"])
        .args(["--username", ROLE, "--pwfile"])
        .arg(password_file)
        .arg("--pgdata")
        .arg(&draft);
    if !options.durable {
        command.arg("--no-sync");
    }
    run("making a PostgreSQL cluster", &mut command).await?;
    fs::rename(&draft, place.data()).tried(|| "naming the new cluster".to_owned())
}

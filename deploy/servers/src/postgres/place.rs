//! Which PostgreSQL runs, where its files are, and whose they are.

use std::{
    fs::{self, Permissions},
    io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::Signal,
    unistd::{User, geteuid},
};
use sha2::{Digest as _, Sha256};
use tokio::process::{Child, Command};

use super::PostgresOptions;
use crate::{
    Error, Tried as _,
    process::{bound, logged, number_taken_by_another, predecessor_gone, run, spawn_bound},
};

/// The oldest version whose SQL the services use.
const OLDEST: u32 = 15;

/// Where a server lives.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The folder with the programs.
    pub(super) binaries: PathBuf,
    /// The folder with everything of this server.
    pub(super) dir: PathBuf,
    /// The user it runs as, unless it is ours.
    user: Option<User>,
}

impl Place {
    pub(super) async fn prepare(wished: &Path) -> Result<Self, Error> {
        let user = if geteuid().is_root() { Some(unprivileged()?) } else { None };
        let mut dir = fs::create_dir_all(wished)
            .and_then(|()| wished.canonicalize())
            .tried(|| format!("making {}", wished.display()))?;
        own(&dir, user.as_ref(), 0o700)?;
        if let Some(user) = &user
            && !reaches(user, &dir).await
        {
            let elsewhere = below_var_tmp(&dir, user)?;
            let note =
                format!("The user {} can't reach this folder. The data are in {}\n", user.name, elsewhere.display());
            fs::write(dir.join("elsewhere.txt"), note).tried(|| "writing elsewhere.txt".to_owned())?;
            dir = elsewhere;
        }
        let binaries = find(&dir.join("data")).await?;
        Ok(Self { binaries, dir, user })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    fn pid_file(&self) -> PathBuf {
        self.data().join("postmaster.pid")
    }

    /// Waits until no earlier server uses the data. PostgreSQL itself removes a pid file whose number is free.
    pub(super) async fn predecessor_gone(&self) -> Result<(), Error> {
        predecessor_gone("PostgreSQL", &self.pid_file(), &self.data()).await?;
        if number_taken_by_another(&self.pid_file(), &self.data()) {
            // After a restart of the machine the number may be another program's, which PostgreSQL would take for itself.
            fs::remove_file(self.pid_file()).tried(|| "removing a stale postmaster.pid".to_owned())?;
        }
        Ok(())
    }

    pub(super) async fn spawn(&self, address: SocketAddr, options: PostgresOptions) -> Result<Child, Error> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        let mut set = |setting: &str| {
            command.arg("-c").arg(setting);
        };
        set(&format!("port={}", address.port()));
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=300",
            "shared_buffers=256MB",
            "password_encryption=scram-sha-256",
            "log_line_prefix=%m [%p] %a@%d ",
        ] {
            set(setting);
        }
        if !options.durable {
            for setting in ["fsync=off", "synchronous_commit=off", "full_page_writes=off"] {
                set(setting);
            }
        }
        logged(&mut command, &self.log())?;
        spawn_bound(command).await.tried(|| "starting PostgreSQL with setpriv".to_owned())
    }

    /// One of PostgreSQL's programs as the user it may run as; it gets the signal for a fast shutdown when this program dies.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = bound(self.binaries.join(program).as_os_str(), Signal::SIGINT, self.user.as_ref());
        command.current_dir(&self.dir);
        command
    }

    /// Gives a file to the server's user alone.
    pub(super) fn own(&self, path: &Path, mode: u32) -> Result<(), Error> {
        own(path, self.user.as_ref(), mode)
    }
}

fn unprivileged() -> Result<User, Error> {
    ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten()).ok_or(Error::Missing {
        program: "a user `postgres` or `nobody`",
        advice: "PostgreSQL can't run as root; run this as an ordinary user",
    })
}

/// A folder that is this one's alone. Everybody may write to /var/tmp, so what is found there is not trusted: root must not give
/// away what a link of somebody else points to.
fn below_var_tmp(dir: &Path, user: &User) -> Result<PathBuf, Error> {
    let key = hex::encode(Sha256::digest(dir.as_os_str().as_encoded_bytes()));
    let place = PathBuf::from(format!("/var/tmp/zhirong-{}", key.get(..16).unwrap_or(&key)));
    match fs::DirBuilder::new().mode(0o700).create(&place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(&place).tried(|| format!("looking at {}", place.display()))?;
            if !found.is_dir() || ![0, user.uid.as_raw()].contains(&found.uid()) {
                let problem = format!("it is neither root's nor {}'s folder; remove it", user.name);
                return Err(Error::Folder { path: place, problem });
            }
        }
        made => made.tried(|| format!("making {}", place.display()))?,
    }
    own(&place, Some(user), 0o700)?;
    Ok(place)
}

fn own(path: &Path, user: Option<&User>, mode: u32) -> Result<(), Error> {
    if let Some(user) = user {
        std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
            .tried(|| format!("giving {} to {}", path.display(), user.name))?;
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).tried(|| format!("closing {} to others", path.display()))
}

async fn reaches(user: &User, dir: &Path) -> bool {
    let mut command = bound("test".as_ref(), Signal::SIGTERM, Some(user));
    run("looking at the folder", command.arg("-w").arg(dir)).await.is_ok()
}

/// The folder with the programs that made the data, or else with the newest ones.
async fn find(data: &Path) -> Result<PathBuf, Error> {
    let mut folders: Vec<(u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let version = entry.file_name().to_string_lossy().parse().unwrap_or(0);
        folders.push((version, entry.path().join("bin")));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut elsewhere: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(bin) = run("asking pg_config", Command::new("pg_config").arg("--bindir")).await {
        elsewhere.push(PathBuf::from(bin.trim()));
    }
    for bin in elsewhere.into_iter().filter(|bin| bin.join("postgres").exists()) {
        let text = run("asking for the version", Command::new(bin.join("postgres")).arg("--version")).await;
        folders.push((text.ok().as_deref().and_then(parse_version).unwrap_or(0), bin));
    }
    folders.retain(|(version, bin)| {
        *version >= OLDEST && ["initdb", "postgres", "psql"].iter().all(|program| bin.join(program).exists())
    });
    if let Ok(made_by) = fs::read_to_string(data.join("PG_VERSION")) {
        let version = made_by.trim();
        folders.retain(|(found, _)| found.to_string() == version);
        return folders.pop().map(|(_, bin)| bin).ok_or_else(|| Error::Folder {
            path: data.to_path_buf(),
            problem: format!("PostgreSQL {version} made these data and isn't installed; install it, or remove the folder to begin anew"),
        });
    }
    folders.into_iter().max().map(|(_, bin)| bin).ok_or(Error::Missing {
        program: "PostgreSQL 15 or newer",
        advice: "`make run` and `make test` install it on Debian; or install your system's postgresql package",
    })
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian …)`.
fn parse_version(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once(") ")?;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_version("postgres"), None);
    }

    #[test]
    fn a_link_of_somebody_else_is_not_given_away() {
        if !geteuid().is_root() {
            return;
        }
        let target = tempfile::tempdir().unwrap();
        let key = hex::encode(Sha256::digest(target.path().as_os_str().as_encoded_bytes()));
        let link = PathBuf::from(format!("/var/tmp/zhirong-{}", &key[..16]));
        std::os::unix::fs::symlink(target.path(), &link).unwrap();
        let refused = below_var_tmp(target.path(), &unprivileged().unwrap());
        fs::remove_file(&link).unwrap();
        assert!(matches!(refused, Err(Error::Folder { .. })), "{refused:?}");
        assert_eq!(fs::metadata(target.path()).unwrap().uid(), 0);
    }
}

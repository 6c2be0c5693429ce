//! A private PostgreSQL.

use std::{
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::Signal,
    unistd::{User, geteuid},
};
use sha2::{Digest as _, Sha256};
use tokio::process::{Child, Command};

use crate::{
    Error, Tried as _,
    process::{bound_to_us, free_address, logged, run, stop},
};

/// The role that owns everything.
const ROLE: &str = "zhirong";
/// The oldest version whose SQL the services use.
const OLDEST: u32 = 15;
const PATIENCE: Duration = Duration::from_secs(60);

/// How the server keeps its data.
#[derive(Debug, Clone, Copy)]
pub struct PostgresOptions {
    /// Whether a commit is on the disk before it is confirmed.
    pub durable: bool,
}

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    address: SocketAddr,
    password: String,
    place: Place,
    options: PostgresOptions,
}

/// Where its files are, and whose they are.
#[derive(Debug)]
struct Place {
    binaries: PathBuf,
    dir: PathBuf,
    /// PostgreSQL refuses to run as root; then it runs as this user.
    user: Option<String>,
}

impl Postgres {
    /// Starts a server that keeps its data in a folder, or, when this runs as root and the unprivileged user can't reach the
    /// folder, in one below /var/tmp that belongs to it alone. Clients authenticate with a generated password.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not start.
    pub async fn start(dir: &Path, options: PostgresOptions) -> Result<Self, Error> {
        let place = Place::prepare(dir).await?;
        let password = place.ensure_cluster().await?;
        let address = free_address()?;
        let child = place.spawn(address, options)?;
        let mut postgres = Self {
            child,
            address,
            password,
            place,
            options,
        };
        postgres.ready().await?;
        Ok(postgres)
    }

    /// The URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{ROLE}:{}@{}/{database}", self.password, self.address)
    }

    /// Makes a database unless it is there.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn ensure_database(&self, name: &str) -> Result<(), Error> {
        let query = format!("SELECT 1 FROM pg_database WHERE datname = '{name}'");
        if self.sql(&query).await?.trim().is_empty() {
            self.sql(&format!("CREATE DATABASE \"{name}\"")).await?;
        }
        Ok(())
    }

    /// The process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When the process can't be ended.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.child.kill().await.tried(|| "killing PostgreSQL".to_owned())
    }

    /// Starts it again on the same address with the same data.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        // The children of a killed server hold its memory for a moment longer.
        loop {
            self.child = self.place.spawn(self.address, self.options)?;
            match self.ready().await {
                Ok(()) => return Ok(()),
                Err(error) if began.elapsed() > PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Stops it: open connections are cut, what was committed stays.
    ///
    /// # Errors
    /// When the process can't be ended.
    pub async fn stop(mut self) -> Result<(), Error> {
        stop(&mut self.child, Signal::SIGINT).await
    }

    async fn sql(&self, statement: &str) -> Result<String, Error> {
        let mut command = Command::new(self.place.binaries.join("psql"));
        command.args(["-XtAq", "-v", "ON_ERROR_STOP=1", "-d", &self.url("postgres"), "-c", statement]);
        run("asking PostgreSQL", &mut command).await
    }

    async fn ready(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        while self.sql("SELECT 1").await.is_err() {
            let ended = self.child.try_wait().tried(|| "looking after PostgreSQL".to_owned())?.is_some();
            if ended || began.elapsed() > PATIENCE {
                return Err(Error::Silent {
                    what: "PostgreSQL",
                    log: self.place.log(),
                });
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        Ok(())
    }
}

impl Place {
    async fn prepare(wished: &Path) -> Result<Self, Error> {
        let binaries = find().await?;
        let user = geteuid().is_root().then(unprivileged).transpose()?;
        let mut dir = wished.to_path_buf();
        make(&dir, user.as_deref())?;
        if let Some(name) = &user
            && !reaches(name, &dir).await
        {
            let key = hex::encode(Sha256::digest(dir.as_os_str().as_encoded_bytes()));
            dir = PathBuf::from(format!("/var/tmp/zhirong-{}", key.get(..16).unwrap_or(&key)));
            make(&dir, user.as_deref())?;
        }
        Ok(Self { binaries, dir, user })
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    /// Makes the cluster once; gives its password.
    async fn ensure_cluster(&self) -> Result<String, Error> {
        let password_file = self.dir.join("password");
        if !self.data().join("PG_VERSION").exists() || !password_file.exists() {
            // A cluster whose making was interrupted has no PG_VERSION or no password, and nothing worth keeping.
            let _ = fs::remove_dir_all(self.data());
            let password = hex::encode(rand::random::<[u8; 16]>());
            let draft = self.dir.join("password.draft");
            fs::write(&draft, &password).tried(|| format!("writing {}", draft.display()))?;
            own(&draft, self.user.as_deref(), 0o600)?;
            let mut command = self.as_user();
            command
                .arg(self.binaries.join("initdb"))
                .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-instructions"])
                .args(["--username", ROLE, "--pwfile"])
                .arg(&draft)
                .arg("--pgdata")
                .arg(self.data())
                .current_dir(&self.dir);
            run("making a PostgreSQL cluster", &mut command).await?;
            fs::rename(&draft, &password_file).tried(|| "keeping the password".to_owned())?;
        }
        let password = fs::read_to_string(&password_file).tried(|| "reading the password".to_owned())?;
        Ok(password.trim().to_owned())
    }

    fn spawn(&self, address: SocketAddr, options: PostgresOptions) -> Result<Child, Error> {
        let mut command = self.as_user();
        command.arg(self.binaries.join("postgres")).arg("-D").arg(self.data()).current_dir(&self.dir);
        let mut set = |setting: String| {
            command.arg("-c").arg(setting);
        };
        set(format!("port={}", address.port()));
        set("listen_addresses=127.0.0.1".to_owned());
        set("unix_socket_directories=".to_owned());
        set("max_connections=300".to_owned());
        set("shared_buffers=128MB".to_owned());
        set("password_encryption=scram-sha-256".to_owned());
        if !options.durable {
            set("fsync=off".to_owned());
            set("full_page_writes=off".to_owned());
        }
        logged(&mut command, &self.log())?;
        command.spawn().tried(|| "starting PostgreSQL".to_owned())
    }

    /// PostgreSQL's fast shutdown, when this program dies.
    fn as_user(&self) -> Command {
        bound_to_us("INT", self.user.as_deref())
    }
}

fn unprivileged() -> Result<String, Error> {
    ["postgres", "nobody"]
        .into_iter()
        .find(|name| matches!(User::from_name(name), Ok(Some(_))))
        .map(ToOwned::to_owned)
        .ok_or(Error::Missing {
            program: "a user `postgres` or `nobody`",
            advice: "PostgreSQL can't run as root; run this as an ordinary user",
        })
}

fn make(dir: &Path, user: Option<&str>) -> Result<(), Error> {
    fs::create_dir_all(dir).tried(|| format!("making {}", dir.display()))?;
    own(dir, user, 0o700)
}

fn own(path: &Path, user: Option<&str>, mode: u32) -> Result<(), Error> {
    if let Some(Ok(Some(user))) = user.map(User::from_name) {
        nix::unistd::chown(path, Some(user.uid), Some(user.gid))
            .map_err(std::io::Error::from)
            .tried(|| format!("giving away {}", path.display()))?;
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).tried(|| format!("closing {}", path.display()))
}

async fn reaches(user: &str, dir: &Path) -> bool {
    let mut command = bound_to_us("TERM", Some(user));
    command.args(["test", "-w"]).arg(dir);
    run("looking at the folder", &mut command).await.is_ok()
}

/// The folder with the newest server's programs.
async fn find() -> Result<PathBuf, Error> {
    let mut folders: Vec<(u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let version = entry.file_name().to_string_lossy().parse().unwrap_or(0);
        folders.push((version, entry.path().join("bin")));
    }
    if let Ok(bin) = run("asking pg_config", Command::new("pg_config").arg("--bindir")).await {
        let text = run("asking pg_config", Command::new("pg_config").arg("--version")).await.unwrap_or_default();
        let digits = text.split_whitespace().nth(1).and_then(|version| version.split('.').next());
        folders.push((digits.and_then(|digits| digits.parse().ok()).unwrap_or(0), PathBuf::from(bin.trim())));
    }
    folders.retain(|(version, bin)| *version >= OLDEST && bin.join("initdb").exists() && bin.join("postgres").exists());
    folders.into_iter().max().map(|(_, bin)| bin).ok_or(Error::Missing {
        program: "PostgreSQL 15 or newer",
        advice: "`make run` and `make test` install it on Debian; or install your system's postgresql package",
    })
}

//! A private NATS server with JetStream.

use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    process::{Child, Command},
    sync::OnceCell,
};

use crate::{
    Error, Tried as _,
    process::{bound_to_us, last_words, logged, predecessor_gone, run, spawn_bound, stop, stop_now},
};

/// The oldest server that keeps what it acknowledges when told to sync always, and has no known security holes.
const OLDEST: (u32, u32, u32) = (2, 15, 1);
/// Largest message, bytes; the same as in deploy/nats.
const MAX_PAYLOAD: u32 = 256 * 1024;
/// The data platform has an account of its own, as in deploy/nats.
const ACCOUNTS: &str = include_str!("nats/accounts.conf");
/// Name and password of the government data platform's user: it may hand in records and read which were refused, nothing
/// else. Whoever gives no name is one of ours.
pub const PLATFORM: &str = "platform";
const PATIENCE: Duration = Duration::from_secs(20);

/// How the server keeps its data.
#[derive(Debug, Clone, Copy)]
pub struct NatsOptions {
    /// Whether each message is on the disk before it is acknowledged.
    pub durable: bool,
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Nats {
    child: Child,
    address: SocketAddr,
    place: Place,
}

/// Where its files are.
#[derive(Debug)]
struct Place {
    binary: PathBuf,
    dir: PathBuf,
    options: NatsOptions,
}

impl Nats {
    /// Starts a server that keeps its data in a folder, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no server of a sufficient version, another one still uses the folder, or it does not start.
    pub async fn start(dir: &Path, options: NatsOptions) -> Result<Self, Error> {
        let binary = find().await?;
        let dir =
            fs::create_dir_all(dir).and_then(|()| dir.canonicalize()).tried(|| format!("making {}", dir.display()))?;
        let place = Place { binary, dir, options };
        predecessor_gone("NATS", &place.pid_file(), &place.configuration()).await?;
        // The server chooses the port itself, so that no other program can take it in between.
        place.configure(None)?;
        let mut child = place.spawn().await?;
        let address = place.chosen_address(&mut child).await?;
        // Should it be started again, then where it was.
        place.configure(Some(address))?;
        let mut nats = Self { child, address, place };
        nats.ready().await?;
        Ok(nats)
    }

    /// `nats://127.0.0.1:<port>`
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// The process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The folder with everything it has stored.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.place.store()
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When the process can't be ended.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.child.kill().await.tried(|| "killing NATS".to_owned())
    }

    /// Starts it again on the same address with the same data, after it has ended.
    ///
    /// # Errors
    /// When it still runs or does not start.
    pub async fn restart(&mut self) -> Result<(), Error> {
        predecessor_gone("NATS", &self.place.pid_file(), &self.place.configuration()).await?;
        self.child = self.place.spawn().await?;
        self.ready().await
    }

    /// Removes everything it has stored; only while it does not run.
    ///
    /// # Errors
    /// When it runs, or the folder can't be removed.
    pub fn delete_store(&self) -> Result<(), Error> {
        let path = self.store();
        if self.pid().is_some() {
            return Err(Error::Folder {
                path,
                problem: "the server runs; stop it before deleting its store".to_owned(),
            });
        }
        fs::remove_dir_all(&path).tried(|| format!("removing {}", path.display()))
    }

    /// Stops it gently.
    ///
    /// # Errors
    /// When the process can't be ended.
    pub async fn stop(mut self) -> Result<(), Error> {
        stop(&mut self.child, Signal::SIGTERM).await
    }

    async fn ready(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        while !greets(self.address).await {
            self.place.still_runs(&mut self.child, began)?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The greeting may be another server's that took the port meanwhile; then this one has ended.
        self.place.still_runs(&mut self.child, began)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if self.place.options.durable {
            stop_now(&mut self.child, Signal::SIGTERM);
        }
    }
}

impl Place {
    fn configuration(&self) -> PathBuf {
        self.dir.join("nats.conf")
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("nats.pid")
    }

    fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("nats.log")
    }

    fn configure(&self, address: Option<SocketAddr>) -> Result<(), Error> {
        let listen = match address {
            Some(address) => format!("listen: \"{address}\""),
            None => format!("listen: \"127.0.0.1:-1\"\nports_file_dir: {:?}", self.dir),
        };
        let sync = if self.options.durable { "always" } else { "2m" };
        let text = [
            "# Written at each start.".to_owned(),
            listen,
            format!("max_payload: {MAX_PAYLOAD}"),
            format!("pid_file: {:?}", self.pid_file()),
            format!("jetstream {{\n  store_dir: {:?}\n  sync_interval: {sync}\n}}\n", self.store()),
            ACCOUNTS.to_owned(),
        ]
        .join("\n");
        fs::write(self.configuration(), text).tried(|| "writing nats.conf".to_owned())
    }

    async fn spawn(&self) -> Result<Child, Error> {
        let mut command = bound_to_us(&self.binary, Signal::SIGTERM);
        command.arg("--config").arg(self.configuration());
        logged(&mut command, &self.log())?;
        spawn_bound(command).await.tried(|| format!("starting {} with setpriv", self.binary.display()))
    }

    /// The address that the server writes to a file named after its process.
    async fn chosen_address(&self, child: &mut Child) -> Result<SocketAddr, Error> {
        let name = self.binary.file_name().unwrap_or(OsStr::new("nats-server")).to_string_lossy().into_owned();
        let file = self.dir.join(format!("{name}_{}.ports", child.id().unwrap_or_default()));
        let began = Instant::now();
        loop {
            if let Some(address) = fs::read_to_string(&file).ok().as_deref().and_then(parse_ports) {
                let _ = fs::remove_file(&file);
                return Ok(address);
            }
            self.still_runs(child, began)?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn still_runs(&self, child: &mut Child, began: Instant) -> Result<(), Error> {
        if child.try_wait().tried(|| "looking after NATS".to_owned())?.is_some() {
            return Err(Error::Ended { what: "NATS", last_words: last_words(&self.log()), log: self.log() });
        }
        if began.elapsed() > PATIENCE {
            return Err(Error::Silent { what: "NATS", log: self.log() });
        }
        Ok(())
    }
}

/// Reads `{"nats": ["nats://127.0.0.1:4222"], …}` once it is whole.
fn parse_ports(text: &str) -> Option<SocketAddr> {
    text.trim_end().strip_suffix('}')?;
    let (_, rest) = text.split_once("nats://")?;
    rest.split('"').next()?.parse().ok()
}

/// A NATS server greets with INFO.
async fn greets(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return false;
    };
    let mut greeting = [0_u8; 4];
    matches!(
        tokio::time::timeout(Duration::from_secs(1), stream.read_exact(&mut greeting)).await,
        Ok(Ok(_)) if &greeting == b"INFO"
    )
}

/// The server on the PATH if it is new enough, else the one that the setup step unpacked.
///
/// # Errors
/// When there is none.
pub async fn find() -> Result<PathBuf, Error> {
    static FOUND: OnceCell<PathBuf> = OnceCell::const_new();
    FOUND.get_or_try_init(search).await.cloned()
}

async fn search() -> Result<PathBuf, Error> {
    let mut candidates = vec![PathBuf::from("nats-server")];
    let here = std::env::current_dir().unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_default();
    for start in [here.as_path(), program.as_path()] {
        candidates.extend(start.ancestors().map(|folder| folder.join(".zhirong/bin/nats-server")));
    }
    for candidate in candidates {
        let version = run("asking for the version", Command::new(&candidate).arg("--version")).await;
        if version.is_ok_and(|text| parse_version(&text).is_some_and(|version| version >= OLDEST)) {
            return Ok(candidate);
        }
    }
    Err(Error::Missing {
        program: "nats-server 2.15.1 or newer",
        advice: "`make run` and `make test` install it; or run deploy/setup/setup.sh",
    })
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let digits = text.trim().rsplit('v').next()?;
    let mut parts = digits.split(['.', '-']).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version() {
        assert_eq!(parse_version("nats-server: v2.15.1\n"), Some((2, 15, 1)));
        assert_eq!(parse_version("nats-server: v2.9.10"), Some((2, 9, 10)));
        assert!(parse_version("nats-server: v2.9.10").unwrap() < OLDEST);
        assert_eq!(parse_version("something else"), None);
    }

    #[test]
    fn reads_the_chosen_port_only_from_a_whole_file() {
        let whole = "{\n\t\"nats\": [\n\t\t\"nats://127.0.0.1:34567\"\n\t]\n}";
        assert_eq!(parse_ports(whole), Some("127.0.0.1:34567".parse().unwrap()));
        assert_eq!(parse_ports("{\n\t\"nats\": [\n\t\t\"nats://127.0.0.1:345"), None);
        assert_eq!(parse_ports(""), None);
    }
}

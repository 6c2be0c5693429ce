//! A private NATS server with JetStream.

use std::{
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
};

use crate::{
    Error, Tried as _,
    process::{bound_to_us, free_address, logged, run, stop},
};

/// The oldest server that keeps what it acknowledges when told to sync always, and has no known security holes.
const OLDEST: (u32, u32, u32) = (2, 15, 1);
const PATIENCE: Duration = Duration::from_secs(20);

/// How the server keeps its data.
#[derive(Debug, Clone, Copy)]
pub struct NatsOptions {
    /// Whether each message is on the disk before it is acknowledged.
    pub durable: bool,
}

/// A running server.
#[derive(Debug)]
pub struct Nats {
    child: Child,
    address: SocketAddr,
    dir: PathBuf,
    binary: PathBuf,
}

impl Nats {
    /// Starts a server that keeps its data in a folder.
    ///
    /// # Errors
    /// When there is no server of a sufficient version, or it does not start.
    pub async fn start(dir: &Path, options: NatsOptions) -> Result<Self, Error> {
        let binary = find().await?;
        fs::create_dir_all(dir).tried(|| format!("making {}", dir.display()))?;
        let address = free_address()?;
        let sync = if options.durable { "always" } else { "2m" };
        let configuration = format!(
            "listen: \"{address}\"\nmax_payload: 262144\njetstream {{\n  store_dir: \"{}\"\n  sync_interval: {sync}\n}}\n",
            dir.join("store").display()
        );
        fs::write(dir.join("nats.conf"), configuration).tried(|| "writing nats.conf".to_owned())?;
        let child = spawn(&binary, dir)?;
        let nats = Self {
            child,
            address,
            dir: dir.to_path_buf(),
            binary,
        };
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

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When the process can't be ended.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.child.kill().await.tried(|| "killing NATS".to_owned())
    }

    /// Starts it again on the same address with the same data.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.child = spawn(&self.binary, &self.dir)?;
        self.ready().await
    }

    /// Removes everything it has stored; only while it does not run.
    ///
    /// # Errors
    /// When the folder can't be removed.
    pub fn delete_store(&self) -> Result<(), Error> {
        let store = self.dir.join("store");
        fs::remove_dir_all(&store).tried(|| format!("removing {}", store.display()))
    }

    /// Stops it gently.
    ///
    /// # Errors
    /// When the process can't be ended.
    pub async fn stop(mut self) -> Result<(), Error> {
        stop(&mut self.child, Signal::SIGTERM).await
    }

    async fn ready(&self) -> Result<(), Error> {
        let began = Instant::now();
        while !greets(self.address).await {
            if began.elapsed() > PATIENCE {
                return Err(Error::Silent {
                    what: "NATS",
                    log: self.dir.join("nats.log"),
                });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

fn spawn(binary: &Path, dir: &Path) -> Result<Child, Error> {
    let mut command = bound_to_us("TERM", None);
    command.arg(binary).arg("--config").arg(dir.join("nats.conf"));
    logged(&mut command, &dir.join("nats.log"))?;
    command.spawn().tried(|| format!("starting {}", binary.display()))
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
async fn find() -> Result<PathBuf, Error> {
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
}

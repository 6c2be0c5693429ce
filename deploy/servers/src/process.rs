//! Processes that end with this one.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use crate::{Error, Tried as _};

/// Longest wait for a server to end by itself.
const GRACE: Duration = Duration::from_secs(20);

/// A command that gets `signal` when this program dies. `setpriv` asks the kernel for it; doing so here would need unsafe code.
pub(crate) fn bound_to_us(signal: &str, user: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig").arg(signal);
    if let Some(user) = user {
        command.args(["--reuid", user, "--regid", user, "--init-groups"]);
    }
    command.arg("--").stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command
}

/// Sends both outputs of a command to a file.
pub(crate) fn logged(command: &mut Command, log: &Path) -> Result<(), Error> {
    let file = File::options().create(true).append(true).open(log).tried(|| format!("opening {}", log.display()))?;
    let copy = file.try_clone().tried(|| "copying a file handle".to_owned())?;
    command.stdout(file).stderr(copy);
    Ok(())
}

/// Runs a command to its end and gives what it printed.
pub(crate) async fn run(what: &str, command: &mut Command) -> Result<String, Error> {
    let output = command.stdin(Stdio::null()).output().await.tried(|| what.to_owned())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Error::Failed {
        what: what.to_owned(),
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free_address() -> Result<SocketAddr, Error> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .tried(|| "looking for a free port".to_owned())
}

/// Asks a process to end with a signal, and ends it after a while if it does not.
pub(crate) async fn stop(child: &mut Child, signal: Signal) -> Result<(), Error> {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // It may have ended by itself since.
        let _ = kill(Pid::from_raw(pid), signal);
    }
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(ended) => ended.map(|_| ()).tried(|| "waiting for a server's end".to_owned()),
        Err(_) => child.kill().await.tried(|| "ending a server".to_owned()),
    }
}

//! Processes that end with this one.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User},
};
use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

use crate::{Error, Tried as _};

/// Longest wait for a server to end by itself.
const GRACE: Duration = Duration::from_secs(20);
/// Longest wait for it where nothing else can go on meanwhile.
const SHORT_GRACE: Duration = Duration::from_secs(15);
/// Longest wait for a server that was told to end when its program died.
const PREDECESSOR_GRACE: Duration = Duration::from_secs(10);

/// A command whose process gets `signal` when this program dies, however it dies, and is killed when its [`Child`] is dropped.
/// It has a process group of its own, so that Ctrl-C reaches this program alone. Start it with [`spawn_bound`].
///
/// `setpriv` asks the kernel for the signal; doing so here would need unsafe code.
#[must_use]
pub fn bound_to_us(program: impl AsRef<OsStr>, signal: Signal) -> Command {
    bound(program.as_ref(), signal, None)
}

/// The same as another user.
pub(crate) fn bound(program: &OsStr, signal: Signal, user: Option<&User>) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig").arg(signal.as_str().trim_start_matches("SIG"));
    if let Some(user) = user {
        // By number: the group of `nobody` has another name on some systems.
        command.arg("--reuid").arg(user.uid.to_string()).arg("--regid").arg(user.gid.to_string()).arg("--clear-groups");
    }
    command.arg("--").arg(program).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command
}

/// Starts a command made by [`bound_to_us`].
///
/// The kernel sends the signal when the *thread* that started the process ends. So one thread, which lives as long as this
/// program, starts them all.
///
/// # Errors
/// When the system refuses.
pub async fn spawn_bound(command: Command) -> io::Result<Child> {
    type Job = (Command, Handle, oneshot::Sender<io::Result<Child>>);
    static KEEPER: OnceLock<Result<mpsc::Sender<Job>, String>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        let work = move || {
            for (mut command, runtime, answer) in jobs {
                let _runtime = runtime.enter();
                // Nobody waits any longer: the child is dropped here, which kills it.
                let _ = answer.send(command.spawn());
            }
        };
        thread::Builder::new()
            .name("process-keeper".to_owned())
            .spawn(work)
            .map(|_| sender)
            .map_err(|error| error.to_string())
    });
    let keeper = keeper.as_ref().map_err(|error| io::Error::other(error.clone()))?;
    let (answer, answered) = oneshot::channel();
    keeper.send((command, Handle::current(), answer)).map_err(io::Error::other)?;
    answered.await.map_err(io::Error::other)?
}

/// Sends both outputs of a command to the end of a file.
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
    Err(Error::Failed { what: what.to_owned(), output: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free_address() -> Result<SocketAddr, Error> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .tried(|| "looking for a free port".to_owned())
}

/// The process named in a pid file, if it still runs and its command line names `path`: numbers are given out again.
pub(crate) fn running(pid_file: &Path, path: &Path) -> Option<i32> {
    let pid = first_line_number(pid_file)?;
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let path = path.as_os_str().as_encoded_bytes();
    command_line.split(|byte| *byte == 0).any(|argument| argument == path).then_some(pid)
}

/// Whether a process that isn't ours has the number in a pid file.
pub(crate) fn number_taken_by_another(pid_file: &Path, path: &Path) -> bool {
    first_line_number(pid_file).is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists())
        && running(pid_file, path).is_none()
}

fn first_line_number(file: &Path) -> Option<i32> {
    fs::read_to_string(file).ok()?.lines().next()?.trim().parse().ok()
}

/// Waits for the end of a server that an earlier program left behind on the same data; two on one store would spoil it.
pub(crate) async fn predecessor_gone(what: &'static str, pid_file: &Path, path: &Path) -> Result<(), Error> {
    let began = Instant::now();
    while let Some(pid) = running(pid_file, path) {
        if began.elapsed() > PREDECESSOR_GRACE {
            return Err(Error::Busy { what, path: path.to_path_buf(), pid });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Asks a process to end with a signal, and ends it after a while if it does not.
pub(crate) async fn stop(child: &mut Child, signal: Signal) -> Result<(), Error> {
    send(child, signal);
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(ended) => ended.map(|_| ()).tried(|| "waiting for a server's end".to_owned()),
        Err(_) => child.kill().await.tried(|| "ending a server".to_owned()),
    }
}

/// The same where nothing can be awaited; whatever still runs afterwards is killed when the child is dropped.
pub(crate) fn stop_now(child: &mut Child, signal: Signal) {
    send(child, signal);
    let began = Instant::now();
    while matches!(child.try_wait(), Ok(None)) && began.elapsed() < SHORT_GRACE {
        thread::sleep(Duration::from_millis(5));
    }
}

fn send(child: &Child, signal: Signal) {
    // It has no number once it was seen to end.
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// The end of a log, for an error message.
pub(crate) fn last_words(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

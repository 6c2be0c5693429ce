//! A whole district in a folder of its own: private PostgreSQL and NATS, six processes, the seeds.

use std::{
    collections::HashMap,
    fs,
    future::Future,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::{
    process::{Child, Command},
    sync::Mutex,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use zhirong_kernel::{id::InstitutionId, uscc::Uscc};

use crate::quiet::quiet;

/// Longest wait for anything that events bring about.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A channel that sends a token.
pub type Authorised = InterceptedService<Channel, Token>;

/// Adds a token to every call.
#[derive(Clone)]
pub struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// A channel to something else than a gateway, which needs no token.
pub fn without_token(channel: Channel) -> Authorised {
    InterceptedService::new(channel, Token(None))
}

/// A running district.
pub struct District {
    // Kept when the story does not end well, so that its logs can be read.
    folder: Option<tempfile::TempDir>,
    path: PathBuf,
    sandbox: Child,
    channel: Channel,
    gateway: String,
    nats: String,
    postgres: String,
    /// Tokens live for days, and each costs a process.
    tokens: Mutex<HashMap<Vec<String>, String>>,
}

impl District {
    /// Starts one with the seeds loaded and nothing played, which forgets its last moments in a power cut.
    pub async fn start() -> Result<Self> {
        Self::start_with(&["--no-fsync"], &[]).await
    }

    /// As [`District::start`], with settings (TOML) for some of its programs.
    pub async fn start_set(settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_with(&["--no-fsync"], settings).await
    }

    /// Starts one that keeps everything, as in production; for measuring.
    pub async fn start_durable() -> Result<Self> {
        Self::start_with(&[], &[]).await
    }

    async fn start_with(more: &[&str], settings: &[(&str, &str)]) -> Result<Self> {
        let zhirong = program("zhirong");
        let folder = tempfile::Builder::new().prefix("zhirong-district-").tempdir()?;
        // The database's user is another one when this runs as root.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        for (name, text) in settings {
            let files = folder.path().join("settings");
            fs::create_dir_all(&files)?;
            fs::write(files.join(format!("{name}.toml")), text)?;
        }
        let log = fs::File::create(folder.path().join("sandbox.log"))?;
        let mut sandbox = Command::new(&zhirong)
            .args(["sandbox", "--no-play", "--listen", "127.0.0.1:0"])
            .args(more)
            .arg("--dir")
            .arg(folder.path())
            .arg("--seeds")
            .arg(seeds())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}; `cargo build --workspace --bins` makes it", zhirong.display()))?;
        let state = folder.path().join("sandbox.json");
        let began = Instant::now();
        while !state.exists() {
            if let Some(status) = sandbox.try_wait()? {
                bail!("the sandbox ended with {status}:\n{}", fs::read_to_string(folder.path().join("sandbox.log"))?);
            }
            if began.elapsed() > PATIENCE {
                bail!("the sandbox is not ready:\n{}", fs::read_to_string(folder.path().join("sandbox.log"))?);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let state: Value = eventually("sandbox.json is whole", || async {
            Ok(serde_json::from_str::<Value>(&fs::read_to_string(&state)?).ok())
        })
        .await?;
        let text = |name: &str| state[name].as_str().map(ToOwned::to_owned).context("a text in sandbox.json");
        let (gateway, nats) = (text("gateway")?, text("nats")?);
        let channel = Endpoint::from_shared(gateway.clone())?.connect().await?;
        let district = Self {
            path: folder.path().to_path_buf(),
            folder: Some(folder),
            sandbox,
            channel,
            gateway,
            nats,
            postgres: text("postgres")?,
            tokens: Mutex::default(),
        };
        // The seeds are loaded where they are kept; who only hears of them is waited for.
        quiet(&district).await?;
        Ok(district)
    }

    /// The gateway's address.
    pub fn gateway(&self) -> &str {
        &self.gateway
    }

    /// The broker's address.
    pub fn nats(&self) -> &str {
        &self.nats
    }

    /// The URL of one of its databases, for looking.
    pub fn postgres(&self, database: &str) -> String {
        let server = self.postgres.strip_suffix("/postgres").unwrap_or(&self.postgres);
        format!("{server}/{database}")
    }

    /// The folder with logs, keys and tokens.
    pub fn folder(&self) -> &Path {
        &self.path
    }

    /// Calls without a token.
    pub fn as_nobody(&self) -> Authorised {
        InterceptedService::new(self.channel.clone(), Token(None))
    }

    /// Calls with this very token.
    pub fn with_token(&self, token: &str) -> Authorised {
        InterceptedService::new(self.channel.clone(), Token(Some(format!("Bearer {token}").parse().unwrap())))
    }

    /// Signs a token as `zhirong token issue` does.
    pub async fn token(&self, role: &[&str], subject: &str) -> Result<String> {
        let key = self.path.join("keys/signing-key.pem").display().to_string();
        let arguments = [&["token", "issue", "--key", &key, "--subject", subject], role].concat();
        let whose: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        if let Some(token) = self.tokens.lock().await.get(&whose) {
            return Ok(token.clone());
        }
        let token = self.zhirong(&arguments).await?.trim().to_owned();
        self.tokens.lock().await.insert(whose, token.clone());
        Ok(token)
    }

    /// A token of a bank whose time was over a minute after the year began; signed here, because `zhirong` signs none.
    pub async fn expired_bank_token(&self) -> Result<String> {
        use jsonwebtoken::{Algorithm, EncodingKey, Header, decode_header, encode};
        let key = EncodingKey::from_ed_pem(&fs::read(self.path.join("keys/signing-key.pem"))?)?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = decode_header(self.token(&["staff"], "story").await?)?.kid;
        let claims = serde_json::json!({
            "iss": "zhirong", "aud": "zhirong", "sub": "story", "role": "bank", "institution": "sample-puhui-bank",
            "iat": 1_767_196_800, "exp": 1_767_196_860,
        });
        Ok(encode(&header, &claims, &key)?)
    }

    /// Calls as an enterprise.
    pub async fn as_enterprise(&self, uscc: &Uscc) -> Result<Authorised> {
        Ok(self.with_token(&self.token(&["enterprise", uscc.as_str()], "story-enterprise").await?))
    }

    /// Calls as a bank.
    pub async fn as_bank(&self, institution: &InstitutionId) -> Result<Authorised> {
        Ok(self.with_token(&self.token(&["bank", institution.as_str()], "story-bank").await?))
    }

    /// Calls as a member of the staff.
    pub async fn as_staff(&self) -> Result<Authorised> {
        Ok(self.with_token(&self.token(&["staff"], "story-staff").await?))
    }

    /// Calls as the operator.
    pub async fn as_operator(&self) -> Result<Authorised> {
        Ok(self.with_token(&self.token(&["operator"], "story-operator").await?))
    }

    /// Runs `zhirong`, at home in the district's folder, and gives what it printed.
    pub async fn zhirong(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(program("zhirong")).args(arguments).env("HOME", &self.path).output().await?;
        if !output.status.success() {
            bail!("zhirong {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A bank's core system as a process of its own, following its inbox and answering by a list.
    pub async fn sample_bank(&self, institution: &InstitutionId, answers: &Path) -> Result<Child> {
        let token = self.path.join(format!("tokens/bank-{institution}"));
        fs::write(&token, self.token(&["bank", institution.as_str()], "sample-bank").await?)?;
        let log = fs::File::create(self.path.join(format!("log/bank-{institution}.log")))?;
        Ok(Command::new(program("zhirong"))
            .args(["sample-bank", "--gateway", &self.gateway, "--token-file"])
            .arg(token)
            .arg("--answers")
            .arg(answers)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?)
    }

    /// Kills a process of the district at once (SIGKILL); the sandbox starts it again.
    pub async fn kill(&self, name: &str) -> Result<()> {
        let file = self.path.join(format!("run/{name}.pid"));
        let before = fs::read_to_string(&file)?;
        Command::new("kill").args(["-9", before.trim()]).status().await?;
        eventually(&format!("{name} runs again"), || async {
            Ok((fs::read_to_string(&file).unwrap_or_default() != before).then_some(()))
        })
        .await
    }

    /// Lets a process, the broker too (`nats`), stand still (`STOP`) or go on (`CONT`).
    pub async fn signal(&self, name: &str, signal: &str) -> Result<()> {
        let file = if name == "nats" { "nats/nats.pid".to_owned() } else { format!("run/{name}.pid") };
        let pid = fs::read_to_string(self.path.join(file))?;
        let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.trim()).status().await?;
        anyhow::ensure!(status.success(), "{name} does not get {signal}");
        Ok(())
    }

    /// Ends a process and lets the next ones abort at these crash points, one each, in this order.
    pub async fn crash_at(&self, name: &str, points: &[&str]) -> Result<()> {
        let folder = self.path.join("crash");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), points.join("\n"))?;
        self.kill(name).await
    }

    /// Whether a process has aborted at this crash point.
    pub fn has_crashed_at(&self, name: &str, point: &str) -> Result<bool> {
        let log = fs::read_to_string(self.path.join(format!("log/{name}.log")))?;
        Ok(log
            .lines()
            .any(|line| line.contains("aborting at the crash point") && line.contains(&format!("\"{point}\""))))
    }

    /// Stops gently and waits.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(pid) = self.sandbox.id() {
            Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        }
        let status = tokio::time::timeout(PATIENCE, self.sandbox.wait()).await??;
        if !status.success() {
            bail!("the sandbox ended with {status}:\n{}", fs::read_to_string(self.path.join("sandbox.log"))?);
        }
        drop(self.folder.take());
        Ok(())
    }
}

impl Drop for District {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take() {
            println!("the story did not end well; its logs are in {}", folder.keep().display());
        }
    }
}

/// Waits until `look` finds something.
pub async fn eventually<T, F: Future<Output = Result<Option<T>>>>(what: &str, look: impl Fn() -> F) -> Result<T> {
    let began = Instant::now();
    loop {
        let found = look().await;
        if let Ok(Some(found)) = found {
            return Ok(found);
        }
        if began.elapsed() > PATIENCE {
            return match found {
                Err(error) => Err(error).with_context(|| format!("waiting until {what}")),
                Ok(_) => bail!("waited {PATIENCE:?} in vain until {what}"),
            };
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The seeds of this repository.
pub fn seeds() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("seeds")
}

/// A program of this workspace, from the same build as this test.
pub fn program(name: &str) -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder.join(name)
}

//! A running gateway, and tokens as an issuer would sign them.

use std::{collections::HashMap, path::Path, time::Duration};

use gateway::{IdentitySettings, LimitSettings, Own, WebSettings};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpSocket, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;
use zhirong_kernel::{
    clock::{Clock as _, SystemClock},
    uscc::Uscc,
};
use zhirong_runtime::{
    Error,
    config::{self, Settings},
};
use zhirong_testkit::eventually;

use crate::upstream::{Life, Upstream};

pub use zhirong_testkit::PATIENCE;
pub const BANK: &str = "sample-bank";
/// The origin of a page that may call.
pub const ORIGIN: &str = "https://finance.example.cn";
/// Largest request message of the gateway under test, bytes.
pub const LARGEST: usize = 65_536;
/// PKCS #8 frame of an Ed25519 private key (RFC 8410); the 32 bytes of the seed follow.
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// The limit of the impatient one.
pub const IMPATIENT: Duration = Duration::from_secs(3);
const KEY_ID: &str = "test-key";

/// A gateway that serves, in front of a stand-in for matching and feedback; nothing listens for the others.
pub struct World {
    pub upstream: Upstream,
    pub upstream_life: Life,
    pub address: String,
    pub channel: Channel,
    stop: CancellationToken,
    served: JoinHandle<Result<(), Error>>,
    _folder: TempDir,
    _nobody_listens: TcpSocket,
}

impl World {
    /// One whose limit is longer than any answer takes.
    pub async fn start() -> Self {
        Self::start_with(60_000).await
    }

    /// One that waits for a service's answer as long as it would be reasonable to wait for one that never comes.
    pub async fn impatient() -> Self {
        Self::start_with(IMPATIENT.as_millis().try_into().unwrap()).await
    }

    async fn start_with(timeout_ms: u64) -> Self {
        let (upstream, upstream_life, upstream_address) = Upstream::start();
        let folder = zhirong_testkit::folder().unwrap();
        let address_file = folder.path().join("grpc");
        let mut common = config::defaults().unwrap();
        common.grpc.listen = "127.0.0.1:0".parse().unwrap();
        common.grpc.address_file = address_file.display().to_string();
        common.ops.listen = "127.0.0.1:0".parse().unwrap();
        common.shutdown.drain_ms = 200;
        // Taken, but not listened on: every connection is refused.
        let nobody_listens = TcpSocket::new_v4().unwrap();
        nobody_listens.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let nobody = format!("http://{}", nobody_listens.local_addr().unwrap());
        let upstreams = [
            ("profile", &nobody),
            ("catalog", &nobody),
            ("matching", &upstream_address),
            ("subsidy", &nobody),
            ("feedback", &upstream_address),
        ];
        let own = Own {
            identity: IdentitySettings {
                jwks_file: key_set(folder.path()),
                issuer: "zhirong".to_owned(),
                audience: "zhirong".to_owned(),
            },
            upstreams: upstreams
                .map(|(name, address)| (name.to_owned(), address.clone()))
                .into_iter()
                .collect::<HashMap<_, _>>(),
            limits: LimitSettings { max_request_bytes: LARGEST, timeout_ms },
            web: WebSettings { origins: vec![ORIGIN.to_owned()] },
        };
        let stop = CancellationToken::new();
        let served = tokio::spawn(gateway::serve(Settings { common, own }, stop.clone()));
        let address = eventually(PATIENCE, "the gateway listens", || async {
            Ok(std::fs::read_to_string(&address_file).ok().map(|address| format!("http://{address}")))
        })
        .await
        .unwrap();
        let channel = Endpoint::new(address.clone()).unwrap().connect().await.unwrap();
        Self {
            upstream,
            upstream_life,
            address,
            channel,
            stop,
            served,
            _folder: folder,
            _nobody_listens: nobody_listens,
        }
    }

    /// Stops the gateway; it must end well.
    pub async fn stop(self) {
        drop(self.channel);
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.served).await.expect("the gateway ends").unwrap().unwrap();
    }
}

fn key(seed: u8) -> EncodingKey {
    EncodingKey::from_ed_der(&[PKCS8_ED25519.as_slice(), &[seed; 32]].concat())
}

fn key_set(folder: &Path) -> std::path::PathBuf {
    let mut jwk = Jwk::from_encoding_key(&key(1), Algorithm::EdDSA).unwrap();
    jwk.common.key_id = Some(KEY_ID.to_owned());
    let file = folder.join("jwks.json");
    std::fs::write(&file, serde_json::to_vec(&JwkSet { keys: vec![jwk] }).unwrap()).unwrap();
    file
}

fn sign(kid: &str, seed: u8, claims: &Value) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::EdDSA) };
    encode(&header, claims, &key(seed)).unwrap()
}

/// Claims of a token that is good for an hour; `null` takes a claim away.
fn claims(changes: Value) -> Value {
    let now = SystemClock.now().as_second();
    let mut claims =
        json!({ "iss": "zhirong", "aud": "zhirong", "sub": "core", "iat": now, "exp": now + 3600, "role": "staff" });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

/// A token signed by the trusted key.
pub fn token(changes: Value) -> String {
    sign(KEY_ID, 1, &claims(changes))
}

/// A token that names the trusted key but is signed by another.
pub fn forged_token() -> String {
    sign(KEY_ID, 2, &claims(json!({})))
}

/// A token of a key that the set does not hold.
pub fn strangers_token() -> String {
    sign("strange-key", 2, &claims(json!({})))
}

/// Seconds from now as a time claim.
pub fn in_seconds(seconds: i64) -> i64 {
    SystemClock.now().as_second() + seconds
}

pub fn staff() -> String {
    token(json!({}))
}

pub fn bank() -> String {
    token(json!({ "role": "bank", "institution": BANK }))
}

pub fn uscc() -> Uscc {
    Uscc::with_check("91331102MA2W00001").unwrap()
}

pub fn enterprise() -> String {
    token(json!({ "role": "enterprise", "uscc": uscc().as_str() }))
}

/// A request with a bearer token.
pub fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Code and reason of a refusal; the gateway's own refusals also name the call.
pub fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no reason: {status:?}")).clone();
    assert_eq!(info.domain, "zhirong.cn");
    assert!(info.metadata.contains_key("call_id"), "{status:?}");
    (status.code(), info.reason)
}

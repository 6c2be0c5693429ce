//! Keys and tokens: an Ed25519 key pair made on the spot, its public half as JWKS for the gateway, and signed tokens.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet, ThumbprintHash},
};
use serde::Serialize;
use zhirong_kernel::{id::InstitutionId, uscc::Uscc};

/// PKCS #8 frame of an Ed25519 private key (RFC 8410); the 32 bytes of the seed follow.
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// What the gateway expects unless configured otherwise.
pub const ISSUER: &str = "zhirong";

/// File with the private key, in a key folder.
pub fn signing_key_file(dir: &Path) -> PathBuf {
    dir.join("signing-key.pem")
}

/// File with the public key set, in a key folder.
pub fn jwks_file(dir: &Path) -> PathBuf {
    dir.join("jwks.json")
}

/// Whom a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bearer {
    /// An enterprise.
    Enterprise(Uscc),
    /// An institution's system.
    Bank(InstitutionId),
    /// A member of the district's staff.
    Staff,
    /// Who runs the platform.
    Operator,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    institution: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uscc: Option<&'a str>,
}

/// Makes a key pair in a folder, unless one is there: `signing-key.pem`, readable by its owner alone, and `jwks.json`.
/// Says whether it made one.
pub fn ensure_keys(dir: &Path) -> Result<bool> {
    let private = signing_key_file(dir);
    if private.exists() {
        let key = signing_key(&private)?;
        fs::write(jwks_file(dir), jwks(&key)?).context("writing jwks.json")?;
        return Ok(false);
    }
    fs::create_dir_all(dir).with_context(|| format!("making the folder {}", dir.display()))?;
    let mut der = PKCS8_ED25519.to_vec();
    der.extend_from_slice(&rand::random::<[u8; 32]>());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&der));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&private)
        .with_context(|| format!("making {}", private.display()))?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()?;
    fs::write(jwks_file(dir), jwks(&EncodingKey::from_ed_der(&der))?).context("writing jwks.json")?;
    Ok(true)
}

/// Makes a file with the keys of the audit trail and of enterprise codes in a key folder, readable by its owner alone, unless it
/// is there. A sandbox of before there were several goes on with its seed as the first.
pub fn ensure_signing_keys(dir: &Path, name: &str) -> Result<PathBuf> {
    let before = fs::read_to_string(dir.join("profile-signing-seed")).ok();
    let seed = || before.unwrap_or_else(|| STANDARD.encode(rand::random::<[u8; 32]>()));
    ensure_secret(dir, name, || format!("1={}", seed().trim()))
}

/// Makes a file with the keys that personal data are sealed with, unless it is there.
pub fn ensure_data_keys(dir: &Path, name: &str) -> Result<PathBuf> {
    let key = || STANDARD.encode(rand::random::<[u8; 32]>());
    ensure_secret(dir, name, || format!("index={},1={}", key(), key()))
}

fn ensure_secret(dir: &Path, name: &str, make: impl FnOnce() -> String) -> Result<PathBuf> {
    let file = dir.join(name);
    if !file.exists() {
        fs::create_dir_all(dir).with_context(|| format!("making the folder {}", dir.display()))?;
        let text = format!("{}\n", make());
        // Whole or not at all, so that a kill in the middle leaves no half of a key.
        let fresh = file.with_extension("new");
        let mut open = fs::OpenOptions::new();
        let mut out = open.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&fresh, &file)?;
    }
    Ok(file)
}

fn signing_key(file: &Path) -> Result<EncodingKey> {
    let pem = fs::read(file)
        .with_context(|| format!("reading the signing key {}; `zhirong token keys` makes one", file.display()))?;
    EncodingKey::from_ed_pem(&pem).with_context(|| format!("{} is not an Ed25519 private key in PEM", file.display()))
}

fn jwks(key: &EncodingKey) -> Result<String> {
    let mut jwk = Jwk::from_encoding_key(key, Algorithm::EdDSA)?;
    jwk.common.key_id = Some(key_id(key)?);
    Ok(serde_json::to_string_pretty(&JwkSet { keys: vec![jwk] })?)
}

/// The thumbprint of RFC 7638, so that the same key always has the same id.
fn key_id(key: &EncodingKey) -> Result<String> {
    Ok(Jwk::from_encoding_key(key, Algorithm::EdDSA)?.thumbprint(ThumbprintHash::SHA256)?)
}

/// Signs a token.
pub fn issue(key_file: &Path, bearer: &Bearer, subject: &str, now: Timestamp, days: i64) -> Result<String> {
    if !(1..=366).contains(&days) {
        bail!("a token is valid for 1 to 366 days, not {days}");
    }
    let key = signing_key(key_file)?;
    let (role, institution, uscc) = match bearer {
        Bearer::Enterprise(uscc) => ("enterprise", None, Some(uscc.as_str())),
        Bearer::Bank(institution) => ("bank", Some(institution.as_str()), None),
        Bearer::Staff => ("staff", None, None),
        Bearer::Operator => ("operator", None, None),
    };
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(key_id(&key)?);
    let claims = Claims {
        iss: ISSUER,
        aud: ISSUER,
        sub: subject,
        iat: now.as_second(),
        nbf: now.as_second(),
        exp: (now + SignedDuration::from_hours(days.saturating_mul(24))).as_second(),
        role,
        institution,
        uscc,
    };
    Ok(encode(&header, &claims, &key)?)
}

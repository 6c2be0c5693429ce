//! Who is calling: a signed token (JWT, RFC 7519; EdDSA or ES256) checked against a key set (JWKS, RFC 7517).

use std::{collections::HashMap, sync::Mutex};

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, errors::ErrorKind, jwk::JwkSet};
use serde::Deserialize;
use zhirong_kernel::{id::InstitutionId, uscc::Uscc};
use zhirong_proto::access::v1::Role;

/// Clocks of issuers and of this machine may differ by this much.
const LEEWAY: SignedDuration = SignedDuration::from_secs(30);
/// Signatures are costly to check, and a bank sends the same token thousands of times.
const REMEMBERED_TOKENS: usize = 10_000;
/// A token longer than this is not one of ours.
const LONGEST_TOKEN: usize = 4096;

/// Why a token is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The call carries no `authorization: Bearer …`.
    #[error("the call carries no token; send `authorization: Bearer <token>`")]
    Missing,
    /// The token is not a JWT, or a claim has the wrong form.
    #[error("the token is malformed: {0}")]
    Malformed(String),
    /// No key of the key set has signed it.
    #[error("the token is not signed by a key this platform trusts")]
    NotTrusted,
    /// Its time is over.
    #[error("the token expired at {0}; ask the issuer for a new one")]
    Expired(Timestamp),
    /// Its time has not come.
    #[error("the token is valid only from {0}")]
    NotYetValid(Timestamp),
    /// Issued by or for somebody else.
    #[error("the token's issuer or audience is not this platform's")]
    WrongIssuerOrAudience,
    /// The role is unknown, or lacks what it needs (a bank its institution, an enterprise its USCC).
    #[error("the token's role can't be used: {0}")]
    Role(String),
}

impl Error {
    /// Machine-readable reason for the caller.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "TOKEN_MISSING",
            Self::Malformed(_) => "TOKEN_MALFORMED",
            Self::NotTrusted => "TOKEN_NOT_TRUSTED",
            Self::Expired(_) => "TOKEN_EXPIRED",
            Self::NotYetValid(_) => "TOKEN_NOT_YET_VALID",
            Self::WrongIssuerOrAudience => "TOKEN_WRONG_AUDIENCE",
            Self::Role(_) => "TOKEN_ROLE_UNUSABLE",
        }
    }
}

/// Why a key set can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON in the shape of RFC 7517.
    #[error("the key set is not a JWKS: {0}")]
    Json(#[from] serde_json::Error),
    /// A key in it can't be used.
    #[error("a key of the key set can't be used: {0}")]
    Key(#[from] jsonwebtoken::errors::Error),
    /// There is none.
    #[error("the key set holds no key with a `kid`")]
    Empty,
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The token's subject: which person or system.
    pub subject: String,
    /// In which role, with whose data.
    pub tenant: Tenant,
}

/// A role together with the tenant it acts for, so that a bank without an institution can't exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenant {
    /// An enterprise.
    Enterprise(Uscc),
    /// An institution's system.
    Bank(InstitutionId),
    /// The district's staff.
    Staff,
    /// Who runs the platform.
    Operator,
}

impl Tenant {
    /// The role, as in the access rules.
    #[must_use]
    pub fn role(&self) -> Role {
        match self {
            Self::Enterprise(_) => Role::Enterprise,
            Self::Bank(_) => Role::Bank,
            Self::Staff => Role::Staff,
            Self::Operator => Role::Operator,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    nbf: Option<i64>,
    role: String,
    institution: Option<String>,
    uscc: Option<String>,
}

#[derive(Clone)]
struct Verified {
    identity: Identity,
    not_before: Option<Timestamp>,
    expires: Timestamp,
}

/// Checks tokens.
pub struct Verifier {
    keys: HashMap<String, (Algorithm, DecodingKey)>,
    issuer: String,
    audience: String,
    verified: Mutex<HashMap<String, Verified>>,
}

impl Verifier {
    /// A verifier that trusts the keys of a JWKS document, for one issuer and one audience.
    ///
    /// # Errors
    /// When the document is not a JWKS, or a key in it can't be used.
    pub fn try_new(jwks: &str, issuer: &str, audience: &str) -> Result<Self, KeySetError> {
        let set: JwkSet = serde_json::from_str(jwks)?;
        let mut keys = HashMap::new();
        for jwk in &set.keys {
            let Some(kid) = jwk.common.key_id.clone() else {
                continue;
            };
            let algorithm = match jwk.common.key_algorithm {
                Some(jsonwebtoken::jwk::KeyAlgorithm::ES256) => Algorithm::ES256,
                _ => Algorithm::EdDSA,
            };
            keys.insert(kid, (algorithm, DecodingKey::from_jwk(jwk)?));
        }
        if keys.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(Self {
            keys,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            verified: Mutex::new(HashMap::new()),
        })
    }

    /// Who the bearer of an `authorization` header is.
    ///
    /// # Errors
    /// When there is no token, or it is not one this platform accepts at `now`.
    pub fn identify(&self, authorization: Option<&str>, now: Timestamp) -> Result<Identity, Error> {
        let token = authorization
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or(Error::Missing)?;
        if token.len() > LONGEST_TOKEN {
            return Err(Error::Malformed(format!("longer than {LONGEST_TOKEN} bytes")));
        }
        let verified = match self.remembered(token) {
            Some(verified) => verified,
            None => self.verify(token)?,
        };
        if now > verified.expires + LEEWAY {
            return Err(Error::Expired(verified.expires));
        }
        if let Some(not_before) = verified.not_before.filter(|not_before| now + LEEWAY < *not_before) {
            return Err(Error::NotYetValid(not_before));
        }
        Ok(verified.identity)
    }

    fn remembered(&self, token: &str) -> Option<Verified> {
        self.verified.lock().ok()?.get(token).cloned()
    }

    fn verify(&self, token: &str) -> Result<Verified, Error> {
        let header = decode_header(token).map_err(|error| Error::Malformed(error.to_string()))?;
        let kid = header.kid.ok_or_else(|| Error::Malformed("no `kid` in its header".to_owned()))?;
        let (algorithm, key) = self.keys.get(&kid).ok_or(Error::NotTrusted)?;

        let mut validation = Validation::new(*algorithm);
        // The times are checked against the clock we are handed, also for remembered tokens.
        validation.validate_exp = false;
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        let claims = decode::<Claims>(token, key, &validation).map_err(|error| translate(&error))?.claims;

        let verified = Verified {
            identity: identity(&claims)?,
            not_before: claims.nbf.map(instant).transpose()?,
            expires: instant(claims.exp)?,
        };
        if let Ok(mut remembered) = self.verified.lock() {
            if remembered.len() >= REMEMBERED_TOKENS {
                remembered.clear();
            }
            remembered.insert(token.to_owned(), verified.clone());
        }
        Ok(verified)
    }
}

fn translate(error: &jsonwebtoken::errors::Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => Error::NotTrusted,
        ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => Error::WrongIssuerOrAudience,
        _ => Error::Malformed(error.to_string()),
    }
}

fn instant(seconds: i64) -> Result<Timestamp, Error> {
    Timestamp::from_second(seconds).map_err(|_| Error::Malformed("a time claim is out of range".to_owned()))
}

fn identity(claims: &Claims) -> Result<Identity, Error> {
    let visible =
        |text: &str| !text.is_empty() && text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible(&claims.sub) {
        return Err(Error::Malformed("`sub` must be 1 to 128 visible ASCII characters".to_owned()));
    }
    let tenant = match claims.role.as_str() {
        "enterprise" => {
            let uscc =
                claims.uscc.as_deref().ok_or_else(|| Error::Role("an enterprise needs the claim `uscc`".to_owned()))?;
            Tenant::Enterprise(uscc.parse().map_err(|error| Error::Role(format!("`uscc`: {error}")))?)
        }
        "bank" => {
            let slug = claims
                .institution
                .as_deref()
                .ok_or_else(|| Error::Role("a bank needs the claim `institution`".to_owned()))?;
            Tenant::Bank(slug.parse().map_err(|error| Error::Role(format!("`institution`: {error}")))?)
        }
        "staff" => Tenant::Staff,
        "operator" => Tenant::Operator,
        other => return Err(Error::Role(format!("there is no role `{}`", other.escape_default()))),
    };
    Ok(Identity { subject: claims.sub.clone(), tenant })
}

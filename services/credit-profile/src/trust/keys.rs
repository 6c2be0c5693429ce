//! The keys that sign what must not be forged: entries and checkpoints of the audit trail, and enterprise codes. They are
//! numbered: what is signed names its key, so that it verifies after another one has taken over.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use secrecy::{ExposeSecret as _, SecretString};
use zhirong_runtime::{Error, config::read_secret};

/// What is signed; each kind of message begins with its own words, so that one is never taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An entry of the audit trail.
    Entry,
    /// A checkpoint of the audit trail.
    Checkpoint,
    /// An enterprise code.
    Code,
}

impl Kind {
    fn words(self) -> &'static [u8] {
        match self {
            Self::Entry => b"zhirong.audit.entry.v1\0",
            Self::Checkpoint => b"zhirong.audit.checkpoint.v1\0",
            Self::Code => b"zhirong.enterprise.code.v1\0",
        }
    }

    fn message(self, content: &[u8]) -> Vec<u8> {
        [self.words(), content].concat()
    }
}

/// Before a public key; without it the key is a seed.
const PUBLIC: &str = "public:";
const KEY: usize = 32;

/// A signature with the number of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Which key signed.
    pub key: i32,
    /// The signature, 64 bytes.
    pub bytes: Vec<u8>,
}

/// The keys of the settings: all verify, the newest whose private half is known signs.
pub struct SigningKeys {
    public: BTreeMap<i32, Vec<u8>>,
    signs: i32,
    pair: Ed25519KeyPair,
}

impl SigningKeys {
    /// The keys of the settings: `1=public:<base64>,2=<base64>`, each a public key that only verifies, or a seed.
    ///
    /// # Errors
    /// [`Error::Config`] when they can't be read or none can sign.
    pub fn read(keys: &SecretString, file: &str) -> Result<Self, Error> {
        let keys = read_secret(keys, file)?;
        let wrong = || {
            Error::Config(
                "trust.signing_keys must be like `1=public:KEY,2=SEED`, each 32 bytes in base64, one of them a seed; none is \
                 built in"
                    .to_owned(),
            )
        };
        let (mut public, mut newest) = (BTreeMap::new(), None);
        for part in keys.expose_secret().split(',') {
            let (number, key) = part.trim().split_once('=').ok_or_else(wrong)?;
            let number: i32 = number.parse().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
            let (key, verifies_only) = key.strip_prefix(PUBLIC).map_or((key, false), |key| (key, true));
            let key = STANDARD.decode(key).ok().filter(|key| key.len() == KEY).ok_or_else(wrong)?;
            let half = if verifies_only {
                key
            } else {
                let pair = Ed25519KeyPair::from_seed_unchecked(&key).map_err(|_| wrong())?;
                let half = pair.public_key().as_ref().to_vec();
                if newest.as_ref().is_none_or(|(before, _)| *before < number) {
                    newest = Some((number, pair));
                }
                half
            };
            if public.insert(number, half).is_some() {
                return Err(wrong());
            }
        }
        let (signs, pair) = newest.ok_or_else(wrong)?;
        Ok(Self { public, signs, pair })
    }

    /// The public halves by number, 32 bytes each.
    #[must_use]
    pub fn public(&self) -> &BTreeMap<i32, Vec<u8>> {
        &self.public
    }

    /// The public half of the key that signs.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Signs a message of this kind.
    #[must_use]
    pub fn sign(&self, kind: Kind, content: &[u8]) -> Signature {
        Signature { key: self.signs, bytes: self.pair.sign(&kind.message(content)).as_ref().to_vec() }
    }

    /// Whether the key of this number signed the message.
    #[must_use]
    pub fn signed(&self, key: i32, kind: Kind, content: &[u8], signature: &[u8]) -> bool {
        self.public
            .get(&key)
            .is_some_and(|key| UnparsedPublicKey::new(&ED25519, key).verify(&kind.message(content), signature).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(byte: u8) -> String {
        STANDARD.encode([byte; KEY])
    }

    fn keys(text: &str) -> SigningKeys {
        SigningKeys::read(&text.to_owned().into(), "").unwrap()
    }

    #[test]
    fn only_the_same_key_kind_and_content_verify() {
        let (one, other) = (keys(&format!("1={}", seed(1))), keys(&format!("1={}", seed(2))));
        let Signature { key, bytes } = one.sign(Kind::Code, b"content");
        assert_eq!(key, 1);
        assert!(one.signed(1, Kind::Code, b"content", &bytes));
        assert!(!one.signed(2, Kind::Code, b"content", &bytes));
        assert!(!other.signed(1, Kind::Code, b"content", &bytes));
        assert!(!one.signed(1, Kind::Checkpoint, b"content", &bytes));
        assert!(!one.signed(1, Kind::Code, b"contents", &bytes));
    }

    #[test]
    fn the_newest_seed_signs_and_what_others_signed_verifies_by_their_public_halves() {
        let old = keys(&format!("1={}", seed(1)));
        let public = |keys: &SigningKeys| STANDARD.encode(keys.public_key());
        let new = keys(&format!("2={}", seed(2)));
        let known = keys(&format!("1={},2=public:{}", seed(1), public(&new)));
        let dropped = keys(&format!("1=public:{},2={}", public(&old), seed(2)));
        assert_eq!(known.sign(Kind::Entry, b"x"), old.sign(Kind::Entry, b"x"), "a key is known before it signs");
        let signature = dropped.sign(Kind::Entry, b"x");
        assert_eq!(signature.key, 2);
        assert!(known.signed(2, Kind::Entry, b"x", &signature.bytes));
        assert!(dropped.signed(1, Kind::Entry, b"x", &old.sign(Kind::Entry, b"x").bytes));
        assert_eq!(known.public(), dropped.public());
    }

    #[test]
    fn keys_that_are_missing_short_double_or_can_not_sign_are_refused() {
        let seed = seed(1);
        for text in [
            String::new(),
            seed.clone(),
            "1=AAAA".to_owned(),
            "1=not base64".to_owned(),
            format!("0={seed}"),
            format!("1=public:{seed}"),
            format!("1={seed},1=public:{seed}"),
        ] {
            assert!(SigningKeys::read(&text.clone().into(), "").is_err(), "{text}");
        }
    }
}

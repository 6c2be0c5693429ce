//! The key that signs what must not be forged: checkpoints of the audit trail and enterprise codes.

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

/// An Ed25519 key pair.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key of the settings.
    ///
    /// # Errors
    /// [`Error::Config`] when there is none or it is not 32 bytes in base64.
    pub fn read(seed: &SecretString, file: &str) -> Result<Self, Error> {
        let seed = read_secret(seed, file)?;
        let wrong =
            || Error::Config("trust.signing_seed must be 32 random bytes in base64; none is built in".to_owned());
        let bytes = STANDARD.decode(seed.expose_secret()).map_err(|_| wrong())?;
        Ed25519KeyPair::from_seed_unchecked(&bytes).map(Self).map_err(|_| wrong())
    }

    /// The public half, 32 bytes.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    /// The signature of a message of this kind, 64 bytes.
    #[must_use]
    pub fn sign(&self, kind: Kind, content: &[u8]) -> Vec<u8> {
        self.0.sign(&kind.message(content)).as_ref().to_vec()
    }

    /// Whether this key signed the message.
    #[must_use]
    pub fn signed(&self, kind: Kind, content: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public_key()).verify(&kind.message(content), signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::read(&STANDARD.encode([byte; 32]).into(), "").unwrap()
    }

    #[test]
    fn only_the_same_key_kind_and_content_verify() {
        let signature = key(1).sign(Kind::Code, b"content");
        assert!(key(1).signed(Kind::Code, b"content", &signature));
        assert!(!key(2).signed(Kind::Code, b"content", &signature));
        assert!(!key(1).signed(Kind::Checkpoint, b"content", &signature));
        assert!(!key(1).signed(Kind::Code, b"contents", &signature));
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        for seed in [String::new(), STANDARD.encode([1; 31]), "not base64".to_owned()] {
            assert!(SigningKey::read(&seed.into(), "").is_err());
        }
    }
}

//! The enterprise code (企业码) as text: `ZR`, the number of the key that signed, a dot and, in base64, an id, when it expires,
//! and the signature over both.
//!
//! It says nothing about the enterprise: who finds one on a photograph learns nothing from it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use uuid::Uuid;

use super::keys::{Kind, SigningKeys};

const PREFIX: &str = "ZR";
const CONTENT: usize = 24;
const SIGNED: usize = CONTENT + 64;
/// Longest text that is looked at.
const LONGEST: usize = 200;

/// What a code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Its id.
    pub id: Uuid,
    /// From this second on it does not hold.
    pub expires_at: Timestamp,
}

impl Code {
    /// The signed text.
    #[must_use]
    pub fn write(&self, keys: &SigningKeys) -> String {
        let mut bytes = self.id.as_bytes().to_vec();
        bytes.extend(self.expires_at.as_second().to_be_bytes());
        let signature = keys.sign(Kind::Code, &bytes);
        bytes.extend(signature.bytes);
        format!("{PREFIX}{}.{}", signature.key, URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What a text says, when the key that it names signed it.
    #[must_use]
    pub fn read(text: &str, keys: &SigningKeys) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let (number, bytes) = text.strip_prefix(PREFIX)?.split_once('.')?;
        // In one spelling: neither `+1` nor `01`.
        let key: i32 = number.parse().ok().filter(|key: &i32| key.to_string() == number)?;
        let bytes = URL_SAFE_NO_PAD.decode(bytes).ok()?;
        let bytes: [u8; SIGNED] = bytes.try_into().ok()?;
        let (content, signature) = bytes.split_at(CONTENT);
        if !keys.signed(key, Kind::Code, content, signature) {
            return None;
        }
        let (id, expiry) = content.split_at(16);
        Some(Self {
            id: Uuid::from_slice(id).ok()?,
            expires_at: Timestamp::from_second(i64::from_be_bytes(expiry.try_into().ok()?)).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_code_with_one_character_changed_is_forged() {
        let key = |byte: u8| SigningKeys::read(&format!("1={}", STANDARD.encode([byte; 32])).into(), "").unwrap();
        let code = Code { id: Uuid::from_u128(7), expires_at: Timestamp::from_second(1_800_000_000).unwrap() };
        let text = code.write(&key(1));
        assert_eq!(Code::read(&text, &key(1)), Some(code));
        assert_eq!(Code::read(&text, &key(2)), None);
        for place in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(Code::read(&String::from_utf8(forged).unwrap(), &key(1)), None, "at {place}");
        }
        assert_eq!(Code::read(&"ZR1.".repeat(100), &key(1)), None);
    }
}

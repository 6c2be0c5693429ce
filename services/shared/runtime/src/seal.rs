//! Envelope encryption: fields are sealed with a data key of their own, data keys with a master key that has a version. AES-256-GCM
//! throughout; what a sealed value belongs to is authenticated with it, so that none can be moved to another row or field.

use std::collections::BTreeMap;

use crate::{Error, config::read_secret};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use secrecy::{ExposeSecret as _, SecretString};

const KEY: usize = 32;
/// The version of the key that is called `index` alone: once there was no other.
const FIRST: i32 = 1;

/// Something was not sealed with this key for this place, or was changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value can't be opened: another key, another place, or changed")]
pub struct Broken;

/// The keys that the database never sees.
pub struct MasterKeys {
    context: &'static str,
    masters: BTreeMap<i32, LessSafeKey>,
    seals: i32,
    index: hmac::Key,
    blinds: i32,
    other_indexes: BTreeMap<i32, hmac::Key>,
}

/// The key of one row.
pub struct DataKey {
    context: &'static str,
    key: LessSafeKey,
}

/// A data key as it is kept.
pub struct WrappedKey {
    /// Which master key sealed it.
    pub version: i32,
    /// The sealed key.
    pub sealed: Vec<u8>,
}

impl MasterKeys {
    /// The keys of a setting: `index=<base64>,1=<base64>,2=<base64>`, each of 32 bytes. The highest number seals, unless
    /// `seal=1` names another: so every replica can know a key before one of them uses it. So it is with the keys of blind
    /// indexes: `index` is the first of them, `index2` the second, and `blind=1` names the one that is used.
    ///
    /// `setting` is its name in messages. `context` is authenticated with all that these keys seal, so that what one service has
    /// sealed means nothing to another; it never changes.
    ///
    /// # Errors
    /// [`Error::Config`] when they can't be read.
    pub fn read(setting: &str, context: &'static str, keys: &SecretString, file: &str) -> Result<Self, Error> {
        let keys = read_secret(keys, file)?;
        let wrong = || {
            Error::Config(format!(
                "{setting} must be like `index=KEY,1=KEY`, or with `seal=1` and `blind=1` to name which of several are used, each KEY 32 random bytes in base64; none is built in"
            ))
        };
        let (mut masters, mut seals) = (BTreeMap::new(), None);
        let (mut indexes, mut blinds) = (BTreeMap::new(), None);
        let number = |text: &str| text.parse().ok().filter(|number: &i32| *number > 0).ok_or_else(wrong);
        for part in keys.expose_secret().split(',') {
            let (name, key) = part.trim().split_once('=').ok_or_else(wrong)?;
            match name {
                "seal" => seals = Some(number(key)?),
                "blind" => blinds = Some(number(key)?),
                _ => {
                    let key = STANDARD.decode(key).ok().filter(|key| key.len() == KEY).ok_or_else(wrong)?;
                    let double = if let Some(version) = name.strip_prefix("index") {
                        let version = if version.is_empty() { FIRST } else { number(version)? };
                        indexes.insert(version, hmac::Key::new(hmac::HMAC_SHA256, &key)).is_some()
                    } else {
                        masters.insert(number(name)?, cipher(&key).map_err(|_| wrong())?).is_some()
                    };
                    if double {
                        return Err(wrong());
                    }
                }
            }
        }
        let seals = seals.or_else(|| masters.keys().max().copied());
        let seals = seals.filter(|version| masters.contains_key(version)).ok_or_else(wrong)?;
        let blinds = blinds.or_else(|| indexes.keys().max().copied()).ok_or_else(wrong)?;
        let index = indexes.remove(&blinds).ok_or_else(wrong)?;
        Ok(Self { context, masters, seals, index, blinds, other_indexes: indexes })
    }

    /// The version that seals now.
    #[must_use]
    pub fn seals(&self) -> i32 {
        self.seals
    }

    /// The versions that can be opened.
    #[must_use]
    pub fn versions(&self) -> Vec<i32> {
        self.masters.keys().copied().collect()
    }

    /// A fresh data key for a place, and how it is kept.
    ///
    /// # Errors
    /// When the machine gives no random bytes.
    pub fn fresh(&self, place: &str) -> Result<(DataKey, WrappedKey), Broken> {
        let mut key = [0; KEY];
        SystemRandom::new().fill(&mut key).map_err(|_| Broken)?;
        let wrapped = self.wrap(&key, place)?;
        Ok((DataKey { context: self.context, key: cipher(&key)? }, wrapped))
    }

    /// The data key of a place.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn unwrap(&self, wrapped: &WrappedKey, place: &str) -> Result<DataKey, Broken> {
        cipher(&self.bare(wrapped, place)?).map(|key| DataKey { context: self.context, key })
    }

    /// The same data key, kept by the master key that seals now.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn rewrap(&self, wrapped: &WrappedKey, place: &str) -> Result<WrappedKey, Broken> {
        self.wrap(&self.bare(wrapped, place)?, place)
    }

    /// The version of the key that blinds now.
    #[must_use]
    pub fn blinds(&self) -> i32 {
        self.blinds
    }

    /// What finds equal texts without telling them, by the key that blinds now.
    #[must_use]
    pub fn blind(&self, text: &str) -> Vec<u8> {
        hmac::sign(&self.index, text.as_bytes()).as_ref().to_vec()
    }

    /// The same by every key, first by the one that blinds now: what was blinded by another one is found too.
    #[must_use]
    pub fn blind_by_all(&self, text: &str) -> Vec<Vec<u8>> {
        let all = std::iter::once(&self.index).chain(self.other_indexes.values());
        all.map(|key| hmac::sign(key, text.as_bytes()).as_ref().to_vec()).collect()
    }

    fn wrap(&self, key: &[u8], place: &str) -> Result<WrappedKey, Broken> {
        let master = self.masters.get(&self.seals).ok_or(Broken)?;
        Ok(WrappedKey { version: self.seals, sealed: seal(master, key, &about(self.context, "key", place))? })
    }

    fn bare(&self, wrapped: &WrappedKey, place: &str) -> Result<Vec<u8>, Broken> {
        open(self.masters.get(&wrapped.version).ok_or(Broken)?, &wrapped.sealed, &about(self.context, "key", place))
    }
}

impl DataKey {
    /// Seals a field of a place.
    ///
    /// # Errors
    /// When the machine gives no random bytes.
    pub fn seal(&self, text: &str, field: &str, place: &str) -> Result<Vec<u8>, Broken> {
        seal(&self.key, text.as_bytes(), &about(self.context, field, place))
    }

    /// Opens a field of a place.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn open(&self, sealed: &[u8], field: &str, place: &str) -> Result<String, Broken> {
        String::from_utf8(open(&self.key, sealed, &about(self.context, field, place))?).map_err(|_| Broken)
    }
}

fn about(context: &str, field: &str, place: &str) -> String {
    format!("{context}\0{field}\0{place}")
}

fn cipher(key: &[u8]) -> Result<LessSafeKey, Broken> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| Broken)
}

/// Nonce, then what is sealed. A random nonce is safe for a key that seals a few values (data keys) or a few millions (masters).
fn seal(key: &LessSafeKey, plain: &[u8], about: &str) -> Result<Vec<u8>, Broken> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| Broken)?;
    let mut sealed = plain.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(about.as_bytes()), &mut sealed)
        .map_err(|_| Broken)?;
    Ok([&nonce[..], &sealed].concat())
}

fn open(key: &LessSafeKey, sealed: &[u8], about: &str) -> Result<Vec<u8>, Broken> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(Broken)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Broken)?;
    let mut opened = sealed.to_vec();
    let plain = key.open_in_place(nonce, Aad::from(about.as_bytes()), &mut opened).map_err(|_| Broken)?;
    Ok(plain.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: &str = "zhirong.test.v1";

    fn read(context: &'static str, text: &str) -> Result<MasterKeys, Error> {
        MasterKeys::read("personal.data_keys", context, &text.into(), "")
    }

    fn keys(versions: &[u8]) -> MasterKeys {
        let mut text = format!("index={}", STANDARD.encode([9; KEY]));
        for version in versions {
            text.push_str(&format!(",{version}={}", STANDARD.encode([*version; KEY])));
        }
        read(CONTEXT, &text).unwrap()
    }

    #[test]
    fn only_the_same_field_of_the_same_place_opens() {
        let keys = keys(&[1]);
        let (key, wrapped) = keys.fresh("a").unwrap();
        let sealed = key.seal("13800000000", "phone", "a").unwrap();
        assert_eq!(keys.unwrap(&wrapped, "a").unwrap().open(&sealed, "phone", "a").unwrap(), "13800000000");
        assert_eq!(key.open(&sealed, "name", "a"), Err(Broken));
        assert_eq!(key.open(&sealed, "phone", "b"), Err(Broken));
        assert!(keys.unwrap(&wrapped, "b").is_err());
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(key.open(&changed, "phone", "a"), Err(Broken), "at {place}");
        }
        assert_ne!(sealed, key.seal("13800000000", "phone", "a").unwrap(), "equal texts are not seen to be equal");
    }

    #[test]
    fn what_one_service_sealed_means_nothing_to_another() {
        let text = format!("index={0},1={0}", STANDARD.encode([1; KEY]));
        let [own, other] = [CONTEXT, "zhirong.other.v1"].map(|context| read(context, &text).unwrap());
        let (_, wrapped) = own.fresh("a").unwrap();
        assert!(own.unwrap(&wrapped, "a").is_ok());
        assert!(other.unwrap(&wrapped, "a").is_err(), "the same keys and the same place, and yet");
    }

    /// Made by another implementation of AES-GCM, as `credit-profile` has sealed from its first day.
    #[test]
    fn what_was_sealed_long_ago_is_still_opened() {
        let text = format!("index={0},1={0}", STANDARD.encode([8; KEY]));
        let keys = read("zhirong.profile.v1", &text).unwrap();
        let wrapped = WrappedKey {
            version: 1,
            sealed: STANDARD
                .decode("AAECAwQFBgcICQoLdW3jkFm/aB8DXfZm4rkJcxzhLJC4dXFK2gZ8ZJ0Lq/FD8YJQO5I9kWw4up1NW3kH")
                .unwrap(),
        };
        let key = keys.unwrap(&wrapped, "91331102MA2W000018").unwrap();
        let sealed = STANDARD.decode("DA0ODxAREhMUFRYXqc1R6E9GzGMHGnlEmLSd74GCpDYAo/zcOWp0").unwrap();
        assert_eq!(key.open(&sealed, "phone", "91331102MA2W000018").unwrap(), "13800000001");
    }

    #[test]
    fn after_a_change_of_master_keys_the_old_one_is_not_needed() {
        let (key, old) = keys(&[1]).fresh("a").unwrap();
        let sealed = key.seal("x", "name", "a").unwrap();
        let new = keys(&[1, 2]).rewrap(&old, "a").unwrap();
        assert_eq!((old.version, new.version), (1, 2));
        assert_eq!(keys(&[2]).unwrap(&new, "a").unwrap().open(&sealed, "name", "a").unwrap(), "x");
        assert!(keys(&[2]).unwrap(&old, "a").is_err());
        let key = |version: u8| STANDARD.encode([version; KEY]);
        let known = format!("index={},seal=1,1={},2={}", key(9), key(1), key(2));
        let known = read(CONTEXT, &known).unwrap();
        assert_eq!((known.seals(), known.fresh("b").unwrap().1.version), (1, 1), "a key is known before it seals");
        assert!(known.unwrap(&new, "a").is_ok());
        assert_eq!(keys(&[1]).blind_by_all("x"), keys(&[2]).blind_by_all("x"), "and what was indexed is still found");
    }

    #[test]
    fn after_a_change_of_index_keys_the_old_one_is_not_needed() {
        let key = |version: u8| STANDARD.encode([version; KEY]);
        let read = |indexes: &str| read(CONTEXT, &format!("{indexes},1={}", key(1))).unwrap();
        let (old, new) = (format!("index={}", key(8)), format!("index2={}", key(9)));
        let first = read(&old);
        let known = read(&format!("{old},{new},blind=1"));
        let used = read(&format!("{old},{new}"));
        let last = read(&new);
        assert_eq!([&first, &known, &used, &last].map(MasterKeys::blinds), [1, 1, 2, 2]);
        let blind = |keys: &MasterKeys| keys.blind("x");
        assert_eq!(blind(&known), blind(&first), "a key is known before it blinds");
        assert_eq!(blind(&used), blind(&last));
        assert_ne!(blind(&first), blind(&last));
        assert_eq!(known.blind_by_all("x"), [blind(&first), blind(&last)], "first by the one that is used");
        assert_eq!(used.blind_by_all("x"), [blind(&last), blind(&first)]);
        assert_eq!(last.blind_by_all("x"), [blind(&last)]);
    }

    #[test]
    fn keys_that_are_missing_short_or_double_are_refused() {
        let key = STANDARD.encode([1; KEY]);
        for text in [
            String::new(),
            format!("1={key}"),
            format!("index={key}"),
            format!("index={key},1=AAAA"),
            format!("index={key},0={key}"),
            format!("index={key},1={key},1={key}"),
            format!("index={key},1={key},seal=2"),
            format!("index={key},1={key},seal=x"),
            format!("index={key},index1={key},1={key}"),
            format!("index0={key},1={key}"),
            format!("indexes={key},1={key}"),
            format!("index={key},1={key},blind=2"),
        ] {
            let refused = read(CONTEXT, &text).err().unwrap().to_string();
            assert!(refused.contains("personal.data_keys must be like"), "{text}: {refused}");
            assert!(!refused.contains(&key), "a key is not repeated");
        }
    }
}

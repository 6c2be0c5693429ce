//! The phone of a contact, sealed for the row that keeps it.

use zhirong_runtime::seal::{Broken, MasterKeys, WrappedKey};

use crate::{error::Error, phone::Phone};

/// Authenticated with all that is sealed here.
pub const SEALED: &str = "zhirong.feedback.v1";
const FIELD: &str = "phone";

/// A phone as it is kept.
#[derive(Clone)]
pub enum Kept {
    /// From before phones were sealed.
    Plain(String),
    /// Sealed.
    Sealed(SealedPhone),
}

/// A sealed phone.
#[derive(Clone)]
pub struct SealedPhone {
    /// Which master key sealed the data key.
    pub key_version: i32,
    /// The sealed data key.
    pub data_key: Vec<u8>,
    /// The sealed number.
    pub phone: Vec<u8>,
}

/// Seals the phone of an enterprise with a data key of its own.
///
/// # Errors
/// When the machine gives no random bytes.
pub fn seal(keys: &MasterKeys, enterprise_id: &str, phone: &Phone) -> Result<SealedPhone, Broken> {
    let (key, wrapped) = keys.fresh(enterprise_id)?;
    let phone = key.seal(phone.reveal(), FIELD, enterprise_id)?;
    Ok(SealedPhone { key_version: wrapped.version, data_key: wrapped.sealed, phone })
}

/// The phone of an enterprise.
///
/// # Errors
/// [`Error::Sealed`] when these keys can't open it; [`Error::Stored`] when it is none.
pub fn open(keys: &MasterKeys, enterprise_id: &str, kept: &Kept) -> Result<Phone, Error> {
    let number = match kept {
        Kept::Plain(number) => number.clone(),
        Kept::Sealed(sealed) => {
            let wrapped = WrappedKey { version: sealed.key_version, sealed: sealed.data_key.clone() };
            keys.unwrap(&wrapped, enterprise_id)
                .and_then(|key| key.open(&sealed.phone, FIELD, enterprise_id))
                .map_err(|Broken| Error::Sealed(sealed.key_version))?
        }
    };
    Phone::parse(&number).map_err(|_| Error::Stored("contact.phone".to_owned()))
}

/// The same phone, kept by the master key that seals now.
///
/// # Errors
/// As [`open`].
pub fn seal_anew(keys: &MasterKeys, enterprise_id: &str, kept: Kept) -> Result<SealedPhone, Error> {
    match kept {
        Kept::Plain(_) => {
            let phone = open(keys, enterprise_id, &kept)?;
            seal(keys, enterprise_id, &phone)
                .map_err(|Broken| Error::Stored("contact.phone can't be sealed".to_owned()))
        }
        Kept::Sealed(sealed) => {
            let wrapped = WrappedKey { version: sealed.key_version, sealed: sealed.data_key };
            let anew = keys.rewrap(&wrapped, enterprise_id).map_err(|Broken| Error::Sealed(wrapped.version))?;
            Ok(SealedPhone { key_version: anew.version, data_key: anew.sealed, phone: sealed.phone })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTERPRISE: &str = "91331102MA2W000018";
    const ONE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

    fn keys(text: &str) -> MasterKeys {
        let text = format!("index={ONE},{}", text.replace("ONE", ONE).replace("TWO", TWO));
        MasterKeys::read("personal.data_keys", SEALED, &text.into(), "").unwrap()
    }

    fn opened(keys: &MasterKeys, kept: &Kept) -> String {
        open(keys, ENTERPRISE, kept).unwrap().reveal().to_owned()
    }

    #[test]
    fn a_phone_is_read_as_before_whether_sealed_or_not_yet() {
        let (old, both, new) = (keys("1=ONE"), keys("1=ONE,2=TWO"), keys("2=TWO"));
        let plain = Kept::Plain("13800001234".to_owned());
        assert_eq!(opened(&old, &plain), "13800001234");
        let first = Kept::Sealed(seal_anew(&old, ENTERPRISE, plain).unwrap());
        assert_eq!((opened(&old, &first), opened(&both, &first)), ("13800001234".to_owned(), "13800001234".to_owned()));
        let second = seal_anew(&both, ENTERPRISE, first).unwrap();
        assert_eq!(second.key_version, 2);
        assert_eq!(opened(&new, &Kept::Sealed(second)), "13800001234");
    }

    #[test]
    fn a_phone_that_cannot_be_opened_says_by_which_key_it_is_sealed() {
        let sealed = seal(&keys("1=ONE"), ENTERPRISE, &Phone::parse("13800001234").unwrap()).unwrap();
        let kept = Kept::Sealed(sealed);
        for wrong in ["2=TWO", "1=TWO"] {
            let refused = open(&keys(wrong), ENTERPRISE, &kept).unwrap_err().to_string();
            assert!(refused.contains("sealed with key 1") && refused.contains("personal.data_keys"), "{refused}");
        }
        assert!(open(&keys("1=ONE"), "91331102MA2W000026", &kept).is_err(), "it is not another enterprise's");
        assert!(seal_anew(&keys("2=TWO"), ENTERPRISE, kept).is_err());
    }
}

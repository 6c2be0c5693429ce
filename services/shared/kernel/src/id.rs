//! Typed ids, so that a loan is never taken for an order.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a UUID.
    #[error("not a UUID")]
    Uuid,
    /// Not a slug.
    #[error("an institution's id has 2 to 32 characters of a-z, 0-9 and -, and begins with a letter")]
    Slug,
}

/// Makes new ids; handed in, so that a rule never makes one by itself.
pub trait Ids: Send + Sync {
    /// A new id.
    fn next(&self) -> Uuid;
}

/// Ids of UUID version 7 (RFC 9562), in order of time.
#[derive(Debug, Clone, Copy, Default)]
pub struct UuidV7;

impl Ids for UuidV7 {
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// Ids in a row, the same in every run, for tests: `01980000-0000-7000-8000-000000000001` and on.
#[derive(Debug, Default)]
pub struct CountingIds(AtomicU64);

impl Ids for CountingIds {
    fn next(&self) -> Uuid {
        let count = self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        // The variant bits of RFC 9562 stand above the count, which never comes near them.
        Uuid::from_u64_pair(0x0198_0000_0000_7000, 0x8000_0000_0000_0000 | count)
    }
}

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// The id with this UUID.
            #[must_use]
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                // Only the usual form: the library alone would take braces, `urn:uuid:` and bare digits too.
                if text.len() != 36 {
                    return Err(Error::Uuid);
                }
                text.parse().map(Self).map_err(|_| Error::Uuid)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }
    )* };
}

uuid_ids! {
    /// An order.
    OrderId,
    /// A loan.
    LoanId,
    /// A grant of a subsidy.
    GrantId,
    /// A subsidy policy.
    PolicyId,
    /// A product.
    ProductId,
    /// A rating.
    RatingId,
    /// A budget.
    BudgetId,
    /// An SMS.
    SmsId,
    /// A consent.
    ConsentId,
    /// An event.
    EventId,
    /// One run of the calculator for one enterprise.
    CalculationId,
    /// A rate coupon.
    CouponId,
    /// A settlement batch.
    SettlementId,
    /// A line of a settlement batch.
    LineId,
    /// A compensation of a loss.
    CompensationId,
}

/// An institution, by its slug.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstitutionId(String);

impl InstitutionId {
    /// The slug.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstitutionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let begins_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if (2..=32).contains(&text.len()) && begins_well && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::Slug)
        }
    }
}

impl AsRef<str> for InstitutionId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstitutionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for InstitutionId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<InstitutionId> for String {
    fn from(id: InstitutionId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_in_the_usual_form_only() {
        let text = "0198c0de-0000-7000-8000-000000000001";
        assert_eq!(text.parse::<OrderId>().unwrap().to_string(), text);
        assert_eq!(text.replace('-', "").parse::<OrderId>(), Err(Error::Uuid));
        assert_eq!("".parse::<LoanId>(), Err(Error::Uuid));
        let unhyphenated = format!("{:>36}", text.replace('-', ""));
        assert_eq!(unhyphenated.parse::<OrderId>(), Err(Error::Uuid));
    }

    #[test]
    fn new_ids_differ_and_rise() {
        for ids in [&UuidV7 as &dyn Ids, &CountingIds::default()] {
            let made: Vec<Uuid> = (0..1000).map(|_| ids.next()).collect();
            assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(made.iter().all(|id| id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122));
        }
    }

    #[test]
    fn counted_ids_are_the_same_in_every_run() {
        let ids = CountingIds::default();
        assert_eq!(ids.next().to_string(), "01980000-0000-7000-8000-000000000001");
        assert_eq!(ids.next().to_string(), "01980000-0000-7000-8000-000000000002");
    }

    #[test]
    fn a_slug_is_small_and_plain() {
        assert!("sample-bank-01".parse::<InstitutionId>().is_ok());
        for text in ["", "a", "1bank", "Bank", "bank_1", "银行", "a-very-long-name-of-an-institution"] {
            assert_eq!(text.parse::<InstitutionId>(), Err(Error::Slug), "{text}");
        }
    }
}

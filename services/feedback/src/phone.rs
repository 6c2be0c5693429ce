//! A mainland mobile number.

use std::fmt;

/// Why a text is not a mobile number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mainland mobile number has 11 digits and begins with 13 to 19")]
pub struct Error;

/// A mainland mobile number, 11 digits. Prints masked, so that it can't reach a log by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Phone(String);

impl Phone {
    /// Reads a number; full-width digits, spaces, hyphens and a leading +86 are understood.
    ///
    /// # Errors
    /// When it is not a mainland mobile number.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > 64 {
            return Err(Error);
        }
        let digits: String = text
            .chars()
            .filter(|character| !matches!(character, ' ' | '-' | '\u{3000}'))
            .map(|character| match character {
                '０'..='９' => char::from_u32(u32::from(character).wrapping_sub(0xFEE0)).unwrap_or(character),
                '＋' => '+',
                other => other,
            })
            .collect();
        let number = digits.strip_prefix("+86").unwrap_or(&digits);
        let valid = number.len() == 11
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && matches!(number.as_bytes(), [b'1', b'3'..=b'9', ..]);
        if valid { Ok(Self(number.to_owned())) } else { Err(Error) }
    }

    /// The number in clear, for the provider and for sealing it alone.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The first three and the last four digits: `138****5678`.
    #[must_use]
    pub fn masked(&self) -> String {
        let head: String = self.0.chars().take(3).collect();
        let tail: String = self.0.chars().skip(7).collect();
        format!("{head}****{tail}")
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for text in ["13800005678", "138-0000-5678", "+86 138 0000 5678", "１３８００００５６７８", "＋8613800005678"]
        {
            assert_eq!(Phone::parse(text).unwrap().reveal(), "13800005678", "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_mobile_number() {
        for text in ["", "12800005678", "1380000567", "138000056789", "0571-88888888", "1380000567a", "+8513800005678"]
        {
            assert_eq!(Phone::parse(text), Err(Error), "{text}");
        }
    }

    #[test]
    fn never_prints_in_clear() {
        let phone = Phone::parse("13812345678").unwrap();
        assert_eq!(phone.masked(), "138****5678");
        assert_eq!(format!("{phone:?}"), "138****5678");
    }
}

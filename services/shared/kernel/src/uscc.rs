//! The unified social credit code (统一社会信用代码) of GB 32100-2015.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The 31 characters of the standard in order of value; I, O, S, V and Z are left out.
const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
/// Weights of the first 17 places: 3 to the power of the place, modulo 31.
const WEIGHTS: [u32; 17] = [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28];
const LENGTH: usize = 18;

/// Why a text is not a code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not 18 characters.
    #[error("a unified social credit code has 18 characters, this has {0}")]
    Length(usize),
    /// A full-width character, as Chinese input methods make.
    #[error("character {place} is the full-width `{found}`; use half-width characters")]
    FullWidth {
        /// From 1.
        place: usize,
        /// The character.
        found: char,
    },
    /// A lower-case letter.
    #[error("character {place} is the lower-case `{found}`; use capital letters")]
    LowerCase {
        /// From 1.
        place: usize,
        /// The character.
        found: char,
    },
    /// A character that the standard does not use.
    #[error("character {place} is `{found}`; only digits and capital letters without I, O, S, V, Z are allowed")]
    Character {
        /// From 1.
        place: usize,
        /// The character.
        found: char,
    },
    /// The check character does not match.
    #[error("the check character is `{found}` but must be `{expected}`; a character is mistyped")]
    Check {
        /// What stands there.
        found: char,
        /// What the first 17 characters give.
        expected: char,
    },
}

/// A valid code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Uscc(String);

impl Uscc {
    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The code that begins with these 17 characters.
    ///
    /// # Errors
    /// When they are not 17 characters of the standard.
    pub fn with_check(first: &str) -> Result<Self, Error> {
        let values = values(first)?;
        if values.len() != WEIGHTS.len() {
            return Err(Error::Length(values.len().saturating_add(1)));
        }
        Ok(Self(format!("{first}{}", check_character(&values))))
    }
}

impl FromStr for Uscc {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let values = values(text)?;
        if values.len() != LENGTH {
            return Err(Error::Length(values.len()));
        }
        let expected = check_character(values.get(..WEIGHTS.len()).unwrap_or_default());
        match text.chars().last() {
            Some(found) if found == expected => Ok(Self(text.to_owned())),
            found => Err(Error::Check { found: found.unwrap_or(' '), expected }),
        }
    }
}

/// The value of each character. A text of a wrong length is reported before its characters, unless one of these explains more.
fn values(text: &str) -> Result<Vec<u32>, Error> {
    let length = text.chars().take(1000).count();
    if length > 64 {
        return Err(Error::Length(length));
    }
    let value = |(index, found): (usize, char)| {
        let place = index.saturating_add(1);
        let position = ALPHABET.iter().position(|known| char::from(*known) == found);
        match position.and_then(|position| u32::try_from(position).ok()) {
            Some(value) => Ok(value),
            None if matches!(found, '\u{FF01}'..='\u{FF5E}' | '\u{3000}') => Err(Error::FullWidth { place, found }),
            None if length != LENGTH && length != WEIGHTS.len() => Err(Error::Length(length)),
            None if found.is_ascii_lowercase() => Err(Error::LowerCase { place, found }),
            None => Err(Error::Character { place, found }),
        }
    };
    text.chars().enumerate().map(value).collect()
}

fn check_character(values: &[u32]) -> char {
    let sum: u32 = values.iter().zip(WEIGHTS).map(|(value, weight)| value.saturating_mul(weight)).sum();
    let check = 31_u32.saturating_sub(sum % 31) % 31;
    usize::try_from(check).ok().and_then(|index| ALPHABET.get(index)).map_or('0', |byte| char::from(*byte))
}

impl fmt::Display for Uscc {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl AsRef<str> for Uscc {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Uscc {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Uscc> for String {
    fn from(uscc: Uscc) -> Self {
        uscc.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_mistake_has_its_own_error() {
        let good = Uscc::with_check("91331102MA2E00000").unwrap();
        assert_eq!(good.as_str().parse(), Ok(good.clone()));
        assert_eq!("".parse::<Uscc>(), Err(Error::Length(0)));
        assert_eq!("91331102MA2E0000".parse::<Uscc>(), Err(Error::Length(16)));
        assert_eq!("９1331102MA2E00000X".parse::<Uscc>(), Err(Error::FullWidth { place: 1, found: '９' }));
        assert_eq!("91331102ma2e00000X".parse::<Uscc>(), Err(Error::LowerCase { place: 9, found: 'm' }));
        assert_eq!("91331102IA2E00000X".parse::<Uscc>(), Err(Error::Character { place: 9, found: 'I' }));
        let wrong: String = good.as_str().replace("91331102", "91331103");
        assert!(matches!(wrong.parse::<Uscc>(), Err(Error::Check { .. })));
        assert_eq!("1".repeat(1_000_000).parse::<Uscc>(), Err(Error::Length(1000)));
    }

    #[test]
    fn follows_the_standard() {
        // The example in annex A of GB 32100-2015 has the code 91350100M000100Y43.
        assert!("91350100M000100Y43".parse::<Uscc>().is_ok());
    }

    /// Not a sample: all 31 places of the alphabet and look-alikes, at all 18 places of one code.
    #[test]
    fn every_single_change_of_a_code_is_found() {
        let good = Uscc::with_check("91331102MA2E00000").unwrap();
        for place in 0..LENGTH {
            let others = ALPHABET.iter().map(|byte| char::from(*byte)).chain("IOSVZa９Ａ-　 ".chars());
            for other in others {
                let mut characters: Vec<char> = good.as_str().chars().collect();
                if characters[place] != other {
                    characters[place] = other;
                    let wrong: String = characters.into_iter().collect();
                    assert!(wrong.parse::<Uscc>().is_err(), "{wrong}");
                }
            }
        }
    }

    #[test]
    fn the_error_names_the_character_that_was_expected() {
        let error = "91350100M000100Y44".parse::<Uscc>().unwrap_err();
        assert_eq!(error, Error::Check { found: '4', expected: '3' });
        assert!(error.to_string().contains("must be `3`"));
        assert_eq!("91350100M000100Y４3".parse::<Uscc>(), Err(Error::FullWidth { place: 17, found: '４' }));
    }

    #[test]
    fn a_check_character_is_added_to_17_characters_only() {
        assert_eq!(Uscc::with_check("91350100M000100Y4").unwrap().as_str(), "91350100M000100Y43");
        assert!(Uscc::with_check("91350100M000100Y").is_err());
        assert!(Uscc::with_check("91350100M000100Y43").is_err());
    }

    proptest! {
        #[test]
        fn swapped_neighbours_are_found(first in "[0-9A-HJ-NP-RTUW-Y]{17}", place in 0_usize..17) {
            let good = Uscc::with_check(&first).unwrap();
            let mut characters: Vec<char> = good.as_str().chars().collect();
            prop_assume!(characters[place] != characters[place + 1]);
            characters.swap(place, place + 1);
            let wrong: String = characters.into_iter().collect();
            prop_assert!(wrong.parse::<Uscc>().is_err(), "{wrong}");
        }

        #[test]
        fn every_single_mistyped_character_is_found(
            first in "[0-9A-HJ-NP-RTUW-Y]{17}",
            place in 0_usize..18,
            other in "[0-9A-HJ-NP-RTUW-Y]",
        ) {
            let good = Uscc::with_check(&first).unwrap();
            let mut characters: Vec<char> = good.as_str().chars().collect();
            let other = other.chars().next().unwrap();
            prop_assume!(characters[place] != other);
            characters[place] = other;
            let wrong: String = characters.into_iter().collect();
            let found = matches!(wrong.parse::<Uscc>(), Err(Error::Check { .. }));
            prop_assert!(found);
        }
    }
}

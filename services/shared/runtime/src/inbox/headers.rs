//! The headers of a message.

use std::collections::BTreeMap;

use async_nats::{HeaderMap, HeaderName, HeaderValue};

/// The headers of a message as they came. A name is found in whatever case it was written.
#[derive(Debug, Clone, Default)]
pub struct Headers(HeaderMap);

impl Headers {
    /// The last value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Names, in the case they were written in, with their last values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, values)| Some((name.as_ref(), values.last()?.as_str())))
    }

    /// What is kept of them: names in lower case, without NUL, which the database does not hold.
    pub(super) fn kept(&self) -> BTreeMap<String, String> {
        self.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.replace('\0', ""))).collect()
    }
}

impl From<Option<HeaderMap>> for Headers {
    fn from(headers: Option<HeaderMap>) -> Self {
        Self(headers.unwrap_or_default())
    }
}

impl FromIterator<(String, String)> for Headers {
    /// What no header can be is left out.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let read = |(name, value): (String, String)| {
            Some((HeaderName::try_from(name).ok()?, value.parse::<HeaderValue>().ok()?))
        };
        Self(pairs.into_iter().filter_map(read).collect())
    }
}

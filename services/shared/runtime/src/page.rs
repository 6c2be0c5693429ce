//! Pages of lists: the size asked for, and an opaque token that says where the next page begins.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

use crate::problem::Problem;

/// Entries of a page when the request does not say.
pub const DEFAULT_SIZE: i64 = 50;
/// Entries of a page at most; a request for more gets this many.
pub const MAX_SIZE: i64 = 500;

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<C> {
    /// Entries, 1 to [`MAX_SIZE`].
    pub size: i64,
    /// The last entry of the page before; none for the first page.
    pub after: Option<C>,
}

/// Reads `page_size` and `page_token` of a list request.
///
/// # Errors
/// `INVALID_ARGUMENT` when the size is negative or the token was not made by [`encode`] for this list.
pub fn parse<C: DeserializeOwned>(page_size: i32, page_token: &str) -> Result<Page<C>, Problem> {
    let size = match i64::from(page_size) {
        negative if negative < 0 => {
            return Err(Problem::invalid("PAGE_SIZE_INVALID", "the page size is negative")
                .field("page_size", "must not be negative")
                .zh("每页条数不能为负"));
        }
        0 => DEFAULT_SIZE,
        size => size.min(MAX_SIZE),
    };
    let after = if page_token.is_empty() { None } else { Some(decode(page_token)?) };
    Ok(Page { size, after })
}

/// The token of the page that follows `last`.
///
/// # Errors
/// `INTERNAL` when the cursor is not representable, such as a map with keys that are no texts.
pub fn encode<C: Serialize>(last: &C) -> Result<String, Problem> {
    let json = serde_json::to_vec(last).map_err(Problem::internal)?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

fn decode<C: DeserializeOwned>(token: &str) -> Result<C, Problem> {
    let json = URL_SAFE_NO_PAD.decode(token).ok();
    json.and_then(|json| serde_json::from_slice(&json).ok()).ok_or_else(|| {
        Problem::invalid("PAGE_TOKEN_INVALID", "the page token is not one of this list")
            .field("page_token", "must be the next_page_token of the page before")
            .zh("分页标识无效")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_where_the_page_before_ended() {
        let token = encode(&(7_i64, "b")).unwrap();
        let page: Page<(i64, String)> = parse(20, &token).unwrap();
        assert_eq!(page, Page { size: 20, after: Some((7, "b".to_owned())) });
    }

    #[test]
    fn a_size_is_clamped_and_zero_means_fifty() {
        assert_eq!(parse::<i64>(0, "").unwrap().size, 50);
        assert_eq!(parse::<i64>(100_000, "").unwrap().size, 500);
    }

    #[test]
    fn a_negative_size_and_a_foreign_token_are_refused() {
        assert_eq!(parse::<i64>(-1, "").unwrap_err().reason(), "PAGE_SIZE_INVALID");
        assert_eq!(parse::<i64>(1, "?").unwrap_err().reason(), "PAGE_TOKEN_INVALID");
        let other = encode(&"text").unwrap();
        assert_eq!(parse::<i64>(1, &other).unwrap_err().reason(), "PAGE_TOKEN_INVALID");
    }
}

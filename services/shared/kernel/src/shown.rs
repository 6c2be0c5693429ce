//! What somebody else sent and is repeated where everybody reads it: in a log, an event, an error's text. It may be personal in
//! any place, a phone where a name should stand, so that only what looks like a name or an id is repeated.

/// Longest text that is repeated, in characters.
pub const LONGEST: usize = 64;
/// So many digits on end may be a phone; an id number has more.
const MANY_DIGITS: usize = 11;
const HIDDEN: char = '*';

/// A name that nobody has declared: a field, a category, a type. Letters, digits, `_`, `-` and `.` are shown, but no eleven digits
/// and more, whatever stands between them; all else is hidden, as people's names are written in it.
#[must_use]
pub fn name(text: &str) -> String {
    let between = |letter: char| matches!(letter, '_' | '-' | '.');
    let mut letters: Vec<char> = text
        .chars()
        .take(LONGEST)
        .map(|letter| if letter.is_ascii_alphanumeric() || between(letter) { letter } else { HIDDEN })
        .collect();
    // a phone is also written 138-0000-0001, or with blanks, which are hidden by now
    for run in runs(&letters, |letter| between(letter) || letter == HIDDEN) {
        hide(&mut letters, &run);
    }
    letters.into_iter().collect()
}

/// A media type: as [`name`], with what stands between its parts.
#[must_use]
pub fn media_type(text: &str) -> String {
    text.chars().take(LONGEST).collect::<String>().split('/').map(name).collect::<Vec<_>>().join("/")
}

/// An id that its sender has given to a thing, of at most so many characters. Ids are often long numbers, so that of eleven digits on
/// end and more the first three and the last two are left: too little to call anybody, enough to look for it. Where no digit is
/// shown it is none, and may be a person's name.
#[must_use]
pub fn id(text: &str, longest: usize) -> String {
    let mut letters: Vec<char> = text.chars().filter(|letter| !letter.is_control()).take(longest).collect();
    // of full width they are digits all the same
    let wide = |letter: char| letter.is_numeric() && !letter.is_ascii();
    let mut hidden = false;
    for run in runs(&letters, |_| false) {
        hide(&mut letters, run.get(3..run.len().saturating_sub(2)).unwrap_or_default());
        hidden = true;
    }
    let shows_digits = !hidden && letters.iter().any(char::is_ascii_digit);
    let shown = |letter: char| if !letter.is_ascii() && (wide(letter) || !shows_digits) { HIDDEN } else { letter };
    letters.into_iter().map(shown).collect()
}

/// The places of digits that follow each other in such number that they may be a person's, with the X that ends an id number.
fn runs(letters: &[char], between: impl Fn(char) -> bool) -> Vec<Vec<usize>> {
    let (mut all, mut run) = (Vec::new(), Vec::new());
    for (place, letter) in letters.iter().enumerate() {
        if letter.is_ascii_digit() {
            run.push(place);
        } else if run.len() >= MANY_DIGITS && matches!(letter, 'x' | 'X') {
            run.push(place);
            all.push(std::mem::take(&mut run));
        } else if !between(*letter) {
            all.push(std::mem::take(&mut run));
        }
    }
    all.push(run);
    all.retain(|run| run.len() >= MANY_DIGITS);
    all
}

fn hide(letters: &mut [char], places: &[usize]) {
    for place in places {
        if let Some(letter) = letters.get_mut(*place) {
            *letter = HIDDEN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_and_what_may_be_a_person_s_is_not() {
        for same in ["owner_phone", "patent-2026.count", "x_2026-03-01", "IP_Office9", "1380000000", ""] {
            assert_eq!(name(same), same);
        }
        for (text, shown) in [
            ("13800000001", "***********"),
            ("phone_13800000001", "phone_***********"),
            ("138-0000-0001", "***-****-****"),
            ("138 0000 0001", "*************"),
            ("11010519491231002X", "******************"),
            ("11010519491231002x.y", "******************.y"),
            ("张三", "**"),
            ("张三 13800000001 a", "***************a"),
            ("a`b\u{7}\n", "a*b**"),
            ("１３８", "***"),
        ] {
            assert_eq!(name(text), shown, "{text}");
        }
        assert_eq!(name(&"x".repeat(100)).len(), LONGEST);
        assert_eq!(media_type("text/html"), "text/html");
        assert_eq!(media_type("text/张三13800000001"), "text/*************");
    }

    #[test]
    fn ids_are_shown_but_for_the_middle_of_long_numbers() {
        for same in
            ["r-17", "PAT-2026-000123", "浙丽许字〔2026〕12号", "0192f0c4-7b1e-7c3a-9f00-5a7e9d3c1b2a", "abc", "ZL2026"]
        {
            assert_eq!(id(same, 128), same);
        }
        for (text, shown) in [
            ("13800000001", "138******01"),
            ("11010519491231002X", "110*************2X"),
            ("p-13800000001-1", "p-138******01-1"),
            ("8613800000001", "861********01"),
            ("张三", "**"),
            ("张三 13800000001", "** 138******01"),
            ("１３８００００００01", "*********01"),
            ("d9\u{7}", "d9"),
        ] {
            assert_eq!(id(text, 128), shown, "{text}");
        }
        assert_eq!(id(&"x".repeat(200), 128).len(), 128);
    }
}

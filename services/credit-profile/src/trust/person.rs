//! Personal data as they are checked and masked: pure.

use zhirong_proto::profile::v1::LegalRepresentative;

/// What is wrong, by field; says nothing of the value.
#[must_use]
pub fn violations(person: &LegalRepresentative) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    let name = person.name.as_str();
    if !(1..=64).contains(&name.chars().count()) || name.chars().any(char::is_control) || name.trim() != name {
        found.push(("legal_representative.name", "must be 1 to 64 characters"));
    }
    if !is_id_number(&person.id_number) {
        found.push(("legal_representative.id_number", "must be 18 characters with a right check character (GB 11643)"));
    }
    if !is_phone(&person.phone) {
        found.push(("legal_representative.phone", "must be 11 digits beginning with 13 to 19"));
    }
    if person.masked {
        found.push(("legal_representative.masked", "must be false"));
    }
    found
}

/// Whether this is a mobile phone number of mainland China.
#[must_use]
pub fn is_phone(text: &str) -> bool {
    matches!(text.as_bytes(), [b'1', b'3'..=b'9', rest @ ..] if rest.len() == 9 && rest.iter().all(u8::is_ascii_digit))
}

/// ISO 7064 MOD 11-2, as in GB 11643.
fn is_id_number(text: &str) -> bool {
    let Some((check, digits)) = text.as_bytes().split_last() else { return false };
    if digits.len() != 17 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum = digits.iter().fold(0_u32, |sum, digit| {
        let digit = u32::from(digit.saturating_sub(b'0'));
        // Each digit weighs twice the one after it, modulo 11.
        sum.saturating_add(digit).saturating_mul(2).checked_rem(11).unwrap_or_default()
    });
    let expected = 12_u32.saturating_sub(sum).checked_rem(11).unwrap_or_default();
    let written = match check {
        b'X' => 10,
        digit if digit.is_ascii_digit() => u32::from(digit.saturating_sub(b'0')),
        _ => return false,
    };
    expected == written
}

/// For whoever need not know: enough to tell two people apart, too little to call one.
#[must_use]
pub fn masked(person: &LegalRepresentative) -> LegalRepresentative {
    LegalRepresentative {
        enterprise_id: person.enterprise_id.clone(),
        name: hide(&person.name, 1, 0),
        id_number: hide(&person.id_number, 3, 2),
        phone: hide(&person.phone, 3, 4),
        masked: true,
    }
}

/// Keeps so many characters at the beginning and the end; none of a text that has no more than these.
fn hide(text: &str, first: usize, last: usize) -> String {
    let length = text.chars().count();
    let short = length <= first.saturating_add(last);
    let shown = |place: usize| !short && (place < first || place >= length.saturating_sub(last));
    text.chars().enumerate().map(|(place, letter)| if shown(place) { letter } else { '*' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> LegalRepresentative {
        LegalRepresentative {
            enterprise_id: String::new(),
            name: "示例人".to_owned(),
            // The example of GB 11643.
            id_number: "11010519491231002X".to_owned(),
            phone: "13800000001".to_owned(),
            masked: false,
        }
    }

    #[test]
    fn each_field_is_checked_and_no_value_is_repeated() {
        assert!(violations(&person()).is_empty());
        for (change, field) in [
            (LegalRepresentative { name: String::new(), ..person() }, "name"),
            (LegalRepresentative { name: "a\nb".to_owned(), ..person() }, "name"),
            (LegalRepresentative { id_number: "110105194912310021".to_owned(), ..person() }, "id_number"),
            (LegalRepresentative { id_number: "11010519491231002x".to_owned(), ..person() }, "id_number"),
            (LegalRepresentative { phone: "12800000001".to_owned(), ..person() }, "phone"),
            (LegalRepresentative { phone: "１3800000001".to_owned(), ..person() }, "phone"),
            (LegalRepresentative { masked: true, ..person() }, "masked"),
        ] {
            let found = violations(&change);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].0.ends_with(field), "{found:?}");
        }
    }

    #[test]
    fn a_mask_keeps_little() {
        let masked = masked(&person());
        assert_eq!((masked.name.as_str(), masked.phone.as_str()), ("示**", "138****0001"));
        assert_eq!(masked.id_number, "110*************2X");
        assert!(masked.masked);
        for (name, shown) in [("示", "*"), ("示例", "示*")] {
            assert_eq!(super::masked(&LegalRepresentative { name: name.to_owned(), ..person() }).name, shown);
        }
    }
}

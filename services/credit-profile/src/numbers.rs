//! The numbers of a category's fields in its protobuf message: pure. Whoever was built by an older version of the message must read
//! the same under each number, or nothing.

use std::{collections::BTreeSet, ops::RangeInclusive};

use zhirong_proto::profile::v1::{Category, CategoryField};

/// What protobuf has room for.
const NUMBERS: RangeInclusive<i32> = 1..=536_870_911;
/// What protobuf keeps for itself.
const KEPT: RangeInclusive<i32> = 19_000..=19_999;
const MOST_WITHDRAWN: usize = 512;

/// What is wrong with the numbers of a declaration, whatever was declared before: field path and sentence.
#[must_use]
pub fn within(category: &Category) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let withdrawn: BTreeSet<i32> = category.withdrawn_numbers.iter().copied().collect();
    if category.withdrawn_numbers.len() > MOST_WITHDRAWN || !withdrawn.iter().all(|number| allowed(*number)) {
        found.push((
            "category.withdrawn_numbers".to_owned(),
            format!("must be at most {MOST_WITHDRAWN}, each 1 to 536870911 without 19000 to 19999"),
        ));
    }
    let mut taken = BTreeSet::new();
    for (index, field) in category.fields.iter().enumerate().take(64) {
        let why = if !allowed(field.number) {
            "must be 1 to 536870911 without 19000 to 19999"
        } else if withdrawn.contains(&field.number) {
            "is withdrawn: it was another field's"
        } else if !taken.insert(field.number) {
            "must not repeat"
        } else {
            continue;
        };
        found.push((path(index), why.to_owned()));
    }
    found
}

/// What would have another meaning than in the version before: field path and sentence. A field from before there were numbers has none.
#[must_use]
pub fn across(before: &Category, after: &Category) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut missing = BTreeSet::new();
    for was in before.fields.iter().filter(|field| field.number > 0) {
        match after.fields.iter().enumerate().find(|(_, field)| field.number == was.number) {
            Some((_, field)) if same(was, field) => {}
            Some((index, _)) => found.push((
                path(index),
                format!("is that of `{}` with its type and unit; take another and withdraw it", was.name),
            )),
            None if after.withdrawn_numbers.contains(&was.number) => {}
            None => {
                missing.insert(was.number);
            }
        }
    }
    missing.extend(before.withdrawn_numbers.iter().filter(|number| !after.withdrawn_numbers.contains(number)));
    if !missing.is_empty() {
        let numbers: Vec<String> = missing.iter().map(ToString::to_string).collect();
        found.push((
            "category.withdrawn_numbers".to_owned(),
            format!("must hold {}, of fields that are no longer there", numbers.join(", ")),
        ));
    }
    found
}

fn allowed(number: i32) -> bool {
    NUMBERS.contains(&number) && !KEPT.contains(&number)
}

fn same(was: &CategoryField, is: &CategoryField) -> bool {
    (&was.name, was.r#type, &was.unit) == (&is.name, is.r#type, &is.unit)
}

fn path(index: usize) -> String {
    format!("category.fields[{index}].number")
}

#[cfg(test)]
mod tests {
    use zhirong_proto::profile::v1::FieldType;

    use super::*;

    fn field(name: &str, number: i32) -> CategoryField {
        CategoryField {
            name: name.to_owned(),
            number,
            r#type: FieldType::Integer.into(),
            unit: "fen".to_owned(),
            ..CategoryField::default()
        }
    }

    fn category(fields: &[(&str, i32)], withdrawn: &[i32]) -> Category {
        let fields = fields.iter().map(|(name, number)| field(name, *number)).collect();
        Category { fields, withdrawn_numbers: withdrawn.to_vec(), ..Category::default() }
    }

    fn places(found: Vec<(String, String)>) -> Vec<String> {
        found.into_iter().map(|(place, _)| place).collect()
    }

    #[test]
    fn each_field_has_a_number_of_its_own_that_protobuf_has_room_for() {
        assert_eq!(within(&category(&[("a", 1), ("b", 536_870_911), ("c", 18_999)], &[2, 20_000])), []);
        let wrong = category(&[("a", 0), ("b", -1), ("c", 19_000), ("d", 536_870_912), ("e", 7), ("f", 7)], &[]);
        let of = |index: usize| format!("category.fields[{index}].number");
        assert_eq!(places(within(&wrong)), [of(0), of(1), of(2), of(3), of(5)]);
        assert_eq!(places(within(&category(&[("a", 3)], &[3]))), [of(0)]);
        assert_eq!(places(within(&category(&[("a", 3)], &[0]))), ["category.withdrawn_numbers"]);
        assert_eq!(places(within(&category(&[("a", 3)], &vec![5; 513]))), ["category.withdrawn_numbers"]);
    }

    #[test]
    fn a_number_never_means_another_field() {
        let before = category(&[("a", 1), ("b", 2)], &[9]);
        for (fields, withdrawn, wrong) in [
            (&[("a", 1), ("b", 2)][..], &[9][..], &[][..]),
            // more fields, in another order, and one less
            (&[("c", 3), ("b", 2), ("a", 1)], &[9], &[]),
            (&[("b", 2)], &[1, 9], &[]),
            (&[("b", 2)], &[9], &["category.withdrawn_numbers"]),
            (&[("a", 1), ("b", 2)], &[], &["category.withdrawn_numbers"]),
            (&[("a", 2), ("b", 1)], &[9], &["category.fields[1].number", "category.fields[0].number"]),
            // a field under another name, and a field under another number
            (&[("a", 1), ("c", 2)], &[9], &["category.fields[1].number"]),
            (&[("a", 1), ("b", 3)], &[2, 9], &[]),
        ] {
            assert_eq!(places(across(&before, &category(fields, withdrawn))), wrong, "{fields:?} {withdrawn:?}");
        }
        let (mut kind, mut unit) = (before.clone(), before.clone());
        kind.fields[0].r#type = FieldType::Text.into();
        unit.fields[1].unit = "ppm".to_owned();
        assert_eq!(places(across(&before, &kind)), ["category.fields[0].number"]);
        assert_eq!(places(across(&before, &unit)), ["category.fields[1].number"]);
        let unnumbered = category(&[("a", 0), ("z", 0)], &[]);
        assert_eq!(across(&unnumbered, &before), [], "as it was before there were numbers");
    }
}

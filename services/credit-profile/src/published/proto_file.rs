//! The protobuf message of a category's data.

use std::fmt::Write as _;

use zhirong_proto::profile::v1::{Category, CategoryField, FieldType};

use super::{unit_zh, values};
use crate::schema;

/// Where the messages of all categories stand.
pub const PACKAGE: &str = "zhirong.gov.data.v1";

/// Name of a category's message, in its package: another for each category.
#[must_use]
pub fn message_name(category: &str) -> String {
    let mut name = String::new();
    let mut after = true;
    for letter in category.chars() {
        match letter {
            '_' if after => name.push('_'),
            '_' => after = true,
            letter if after => {
                // `a_1` is not `a1`
                if !name.is_empty() && !letter.is_ascii_lowercase() {
                    name.push('_');
                }
                name.push(letter.to_ascii_uppercase());
                after = false;
            }
            letter => name.push(letter),
        }
    }
    if after {
        name.push('_');
    }
    name
}

/// A proto3 file with the message, whose JSON is what stands in a record's `data`; none while a field has no number.
///
/// All fields have presence, those that a record must carry too: a printer leaves out a false or a 0 of one without, and the record
/// would be refused.
#[must_use]
pub fn proto_file(category: &Category) -> Option<String> {
    if category.fields.iter().any(|field| field.number <= 0) {
        return None;
    }
    let Category { category: slug, label_zh, department_zh, .. } = category;
    let mut file = "// Made from the declaration by which records are checked; not edited by hand. Numbers never change their meaning.\n\
                    syntax = \"proto3\";\n\n"
        .to_owned();
    let _ = writeln!(file, "package {PACKAGE};\n");
    let _ = writeln!(file, "// {}", line(&format!("{label_zh} · {department_zh}: the data of a record of `{slug}`.")));
    if !category.last_day_field.is_empty() {
        let _ = writeln!(
            file,
            "// The record feeds features up to and including the day in `{}`; without one it has no end.",
            category.last_day_field
        );
    }
    let _ = writeln!(file, "message {} {{", message_name(slug));
    if !category.withdrawn_numbers.is_empty() {
        let numbers: Vec<String> = category.withdrawn_numbers.iter().map(ToString::to_string).collect();
        let _ = writeln!(file, "  reserved {};", numbers.join(", "));
    }
    for field in &category.fields {
        let _ = writeln!(file, "  // {}", line(&comment(field)));
        let kind = match field.r#type() {
            FieldType::Integer => "int64",
            FieldType::Boolean => "bool",
            FieldType::Text | FieldType::Date | FieldType::Unspecified => "string",
        };
        let name = &field.name;
        let _ = writeln!(file, "  optional {kind} {name} = {} [json_name = \"{name}\"];", field.number);
    }
    file.push_str("}\n");
    Some(file)
}

fn comment(field: &CategoryField) -> String {
    let required = if field.required { "Required" } else { "May be left out" };
    let mut comment = format!("{}. {required}.", field.label_zh);
    match field.r#type() {
        FieldType::Integer => {
            let _ = write!(comment, " In {}", unit_zh(&field.unit));
            let range = values(field);
            comment.push_str(&if range.is_empty() { ".".to_owned() } else { format!(", {range}.") });
        }
        FieldType::Text if field.allowed_values.is_empty() => {
            let _ = write!(comment, " At most {} characters.", schema::LONGEST_TEXT);
        }
        FieldType::Text => {
            let _ = write!(comment, " One of {}.", values(field));
        }
        FieldType::Date => comment.push_str(" A date, YYYY-MM-DD."),
        FieldType::Boolean | FieldType::Unspecified => {}
    }
    if !field.feature.is_empty() {
        let _ = write!(comment, " Feeds the feature {}.", field.feature);
    }
    comment
}

/// A label may hold whatever an operator wrote; a comment ends with its line.
fn line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_categories_have_one_message() {
        for (category, message) in [
            ("administrative_license", "AdministrativeLicense"),
            ("a1", "A1"),
            ("a_1", "A_1"),
            ("ab", "Ab"),
            ("a_b", "AB"),
            ("a__b", "A_B"),
            ("a__", "A__"),
            ("a_", "A_"),
        ] {
            assert_eq!(message_name(category), message, "{category}");
        }
    }
}

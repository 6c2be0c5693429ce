//! Products as a table, one a row, for spreadsheets. Columns are the fields of the proto files, so that a new field is a new
//! column; lists and maps within a cell are JSON, tags are parted by `|`.

use anyhow::{Context as _, Result, bail};
use prost_reflect::{FieldDescriptor, Kind};
use serde_json::{Map, Value};

use super::Row;
use crate::client;

/// Spreadsheets take a file for UTF-8 only when it begins so.
const MARK: &str = "\u{feff}";

/// A column and what its cells hold.
struct Column {
    name: String,
    field: FieldDescriptor,
}

/// The columns after `product_id`, in the order of the proto files.
fn columns() -> Result<Vec<Column>> {
    let pool = client::descriptors()?;
    let spec = pool.get_message_by_name("zhirong.catalog.v1.ProductSpec").context("the message of a product")?;
    let mut columns = Vec::new();
    for field in spec.fields() {
        match field.kind() {
            Kind::Message(terms) if !field.is_list() => {
                columns.extend(
                    terms
                        .fields()
                        .map(|inner| Column { name: format!("{}.{}", field.name(), inner.name()), field: inner }),
                );
            }
            _ => columns.push(Column { name: field.name().to_owned(), field }),
        }
    }
    Ok(columns)
}

/// Writes products as a table.
pub fn write(entries: &[Value]) -> Result<Vec<u8>> {
    let columns = columns()?;
    let mut writer = csv::Writer::from_writer(MARK.as_bytes().to_vec());
    let names = columns.iter().map(|column| column.name.as_str());
    writer.write_record(std::iter::once("product_id").chain(names))?;
    for entry in entries {
        let id = entry.get("product_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let spec = entry.get("spec").context("a product has its spec")?;
        let cells = columns.iter().map(|column| {
            let value = match column.name.split_once('.') {
                Some((terms, field)) => spec.get(terms).and_then(|terms| terms.get(field)),
                None => spec.get(&column.name),
            };
            value.map(|value| cell(column, value)).unwrap_or_default()
        });
        writer.write_record(std::iter::once(id).chain(cells))?;
    }
    Ok(writer.into_inner().map_err(|error| error.into_error())?)
}

fn cell(column: &Column, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(entries) if is_texts(column) => {
            entries.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|")
        }
        other => other.to_string(),
    }
}

fn is_texts(column: &Column) -> bool {
    column.field.is_list() && column.field.kind() == Kind::String
}

/// Reads a table of products; a row that can't be read says why.
pub fn read(text: &[u8]) -> Result<Vec<Row>> {
    let text = text.strip_prefix(MARK.as_bytes()).unwrap_or(text);
    let columns = columns()?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text);
    let head = reader.headers().context("the head line")?.clone();
    let known = |name: &str| name == "product_id" || columns.iter().any(|column| column.name == name);
    if let Some(name) = head.iter().find(|name| !known(name)) {
        bail!("there is no column `{name}`");
    }
    let mut rows = Vec::new();
    for (record, number) in reader.records().zip(1..) {
        let line = match &record {
            Ok(record) => record.position().map(csv::Position::line),
            Err(error) => error.position().map(csv::Position::line),
        };
        let place = line.map_or_else(|| format!("row {number}"), |line| format!("row {number}, line {line}"));
        let read = match record {
            Ok(record) if record.len() == head.len() => value(&columns, head.iter().zip(record.iter())),
            Ok(record) => Err(format!("has {} cells, not {} as the head line", record.len(), head.len())),
            Err(error) => Err(error.to_string()),
        };
        rows.push(Row { place, read });
    }
    Ok(rows)
}

fn value<'a>(columns: &[Column], cells: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Value, String> {
    let (mut entry, mut spec) = (Map::new(), Map::new());
    for (name, cell) in cells.filter(|(_, cell)| !cell.is_empty()) {
        if name == "product_id" {
            entry.insert(name.to_owned(), Value::String(cell.to_owned()));
            continue;
        }
        let Some(column) = columns.iter().find(|column| column.name == name) else { continue };
        let value = if is_texts(column) {
            Value::Array(cell.split('|').map(|text| Value::String(text.trim().to_owned())).collect())
        } else if column.field.is_list() || matches!(column.field.kind(), Kind::Message(_) | Kind::Bool) {
            serde_json::from_str(cell).map_err(|error| format!("{name}: {error}"))?
        } else {
            // The JSON mapping takes numbers and names of enums as texts.
            Value::String(cell.to_owned())
        };
        match name.split_once('.') {
            None => spec.insert(name.to_owned(), value),
            Some((terms, field)) => match spec.entry(terms).or_insert_with(|| Value::Object(Map::new())) {
                Value::Object(terms) => terms.insert(field.to_owned(), value),
                _ => None,
            },
        };
    }
    entry.insert("spec".to_owned(), Value::Object(spec));
    Ok(Value::Object(entry))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::products::{descriptor, message};

    #[test]
    fn every_product_of_the_seeds_survives_the_table() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../seeds/products");
        let mut products = Vec::new();
        for file in std::fs::read_dir(folder).unwrap() {
            products.extend(crate::seed::list(crate::seed::yaml(&file.unwrap().path()).unwrap()).unwrap());
        }
        assert_eq!(products.len(), 311);
        let rows = read(&write(&products).unwrap()).unwrap();
        assert_eq!(rows.len(), 311);
        let row_of = descriptor("ImportRow").unwrap();
        for (row, product) in rows.into_iter().zip(products) {
            let read = message(&row_of, &row.place, row.read.unwrap()).unwrap();
            assert_eq!(read, message(&row_of, &row.place, product).unwrap());
        }
    }

    #[test]
    fn a_row_that_can_not_be_read_is_named_and_the_others_are_read() {
        let text = "product_id,name_zh,credit.conditions,credit.max_amount_fen\n,好,[],12\n,坏,[{,1\n,短\n,好,,x\n";
        let rows = read(text.as_bytes()).unwrap();
        let row_of = descriptor("ImportRow").unwrap();
        let bad: Vec<String> = rows
            .into_iter()
            .filter_map(|row| {
                let place = row.place.clone();
                row.read.and_then(|value| message(&row_of, &place, value)).err().map(|_| place)
            })
            .collect();
        assert_eq!(bad, ["row 2, line 3", "row 3, line 4", "row 4, line 5"]);
        assert!(read("product_id,no_such\n".as_bytes()).is_err());
    }
}

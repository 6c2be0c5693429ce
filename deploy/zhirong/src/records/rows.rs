//! Rows of a file as records.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::{BufRead as _, BufReader},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{LARGEST, Options, unsent::Unsent};

/// What a CSV may name beside the category's fields.
const ENVELOPE: [&str; 7] = ["source", "category", "record_id", "uscc", "observed_at", "operation", "revision"];

/// A record to be sent.
#[derive(Debug)]
pub struct Record {
    pub source: String,
    pub category: String,
    pub record_id: String,
    /// In JSON.
    pub text: String,
}

/// A file being read.
pub struct Rows<'a> {
    reader: Reader,
    number: u64,
    options: &'a Options,
    /// Types of fields by category, read when the first row needs them.
    types: HashMap<String, HashMap<String, String>>,
}

enum Reader {
    Lines { reader: BufReader<File>, position: u64 },
    Csv { reader: Box<csv::Reader<File>>, head: csv::ByteRecord },
}

#[derive(Deserialize)]
struct Declaration {
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    r#type: String,
}

impl<'a> Rows<'a> {
    pub fn open(options: &'a Options) -> Result<Self> {
        let file = File::open(&options.file).with_context(|| format!("opening {}", options.file.display()))?;
        let reader = if options.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
            let mut reader = Box::new(csv::ReaderBuilder::new().flexible(true).from_reader(file));
            let head = reader.byte_headers().context("the head line")?.clone();
            once_each(&head)?;
            Reader::Csv { reader, head }
        } else {
            Reader::Lines { reader: BufReader::new(file), position: 0 }
        };
        Ok(Self { reader, number: 0, options, types: HashMap::new() })
    }

    /// How many bytes were read.
    pub fn position(&self) -> u64 {
        match &self.reader {
            Reader::Lines { position, .. } => *position,
            Reader::Csv { reader, .. } => reader.position().byte(),
        }
    }

    /// The next row with its number from 1 (a CSV's head line is none); what can't be sent at all is refused here.
    pub fn next(&mut self) -> Result<Option<(u64, Result<Record, Unsent>)>> {
        loop {
            let row = match &mut self.reader {
                Reader::Lines { reader, position } => {
                    let mut line = Vec::new();
                    let read = reader.read_until(b'\n', &mut line)?;
                    if read == 0 {
                        return Ok(None);
                    }
                    *position = position.saturating_add(u64::try_from(read)?);
                    if line.trim_ascii().is_empty() {
                        continue;
                    }
                    // spreadsheets and editors begin a file with a mark
                    let marked = if self.number == 0 { line.strip_prefix(b"\xef\xbb\xbf") } else { None };
                    from_line(marked.unwrap_or(&line).trim_ascii())
                }
                Reader::Csv { reader, head } => {
                    let mut cells = csv::ByteRecord::new();
                    match reader.read_byte_record(&mut cells) {
                        Ok(false) => return Ok(None),
                        Ok(true) => from_cells(head, &cells, self.options, &mut self.types),
                        Err(error) if error.is_io_error() => return Err(error.into()),
                        Err(error) => Err(Unsent::NotCsv(error.to_string())),
                    }
                }
            };
            self.number = self.number.saturating_add(1);
            let row = row.and_then(|record| complete(record, self.options));
            return Ok(Some((self.number, row)));
        }
    }
}

/// Of two columns of one name one would be lost.
fn once_each(head: &csv::ByteRecord) -> Result<()> {
    let mut names = BTreeSet::new();
    for name in head {
        let name = String::from_utf8_lossy(name).trim_start_matches('\u{feff}').trim().to_owned();
        if !name.is_empty() && names.contains(&name) {
            bail!("the head line names the column `{name}` twice");
        }
        names.insert(name);
    }
    Ok(())
}

/// A row as it stands, and its text where that may go as it is.
type Raw = (Value, Option<String>);

fn from_line(line: &[u8]) -> Result<Raw, Unsent> {
    let text = std::str::from_utf8(line).map_err(|_| Unsent::LineEncoding)?;
    // the parser's words may quote what is personal
    let value = serde_json::from_str(text).map_err(|error| Unsent::NotJson(error.column()))?;
    Ok((value, Some(text.to_owned())))
}

fn from_cells(
    head: &csv::ByteRecord,
    cells: &csv::ByteRecord,
    options: &Options,
    types: &mut HashMap<String, HashMap<String, String>>,
) -> Result<Raw, Unsent> {
    if cells.len() != head.len() {
        return Err(Unsent::Cells { cells: cells.len(), columns: head.len() });
    }
    let (mut record, mut given) = (Map::new(), Vec::new());
    for (name, cell) in head.iter().zip(cells) {
        let name = std::str::from_utf8(name).map_err(|_| Unsent::HeadEncoding)?;
        // spreadsheets begin a file with a mark
        let name = name.trim_start_matches('\u{feff}').trim();
        let cell = std::str::from_utf8(cell).map_err(|_| Unsent::CellEncoding(name.to_owned()))?.trim();
        if cell.is_empty() {
            continue;
        }
        if ENVELOPE.contains(&name) {
            record.insert(name.to_owned(), Value::from(cell));
        } else {
            given.push((name, cell));
        }
    }
    let category = record.get("category").and_then(Value::as_str).or(options.category.as_deref()).unwrap_or_default();
    let known = types.entry(category.to_owned()).or_insert_with(|| declared(options, category));
    let data = given.into_iter().map(|(name, cell)| {
        let value = match (known.get(name).map(String::as_str), cell) {
            (Some("FIELD_TYPE_BOOLEAN"), "true" | "TRUE" | "1" | "是") => Value::Bool(true),
            (Some("FIELD_TYPE_BOOLEAN"), "false" | "FALSE" | "0" | "否") => Value::Bool(false),
            // an integer is taken as text too
            _ => Value::from(cell),
        };
        (name.to_owned(), value)
    });
    let data: Map<String, Value> = data.collect();
    if !data.is_empty() {
        record.insert("data".to_owned(), Value::Object(data));
    }
    Ok((Value::Object(record), None))
}

/// The types of a category's fields; none when it is not declared here, then the service says what it thinks of it.
fn declared(options: &Options, category: &str) -> HashMap<String, String> {
    let simple = category.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let file = options.categories.join(format!("{category}.yaml"));
    let text = if simple { fs::read_to_string(file).unwrap_or_default() } else { String::new() };
    let declaration: Option<Declaration> = serde_norway::from_str(&text).ok();
    declaration
        .map(|declaration| declaration.fields.into_iter().map(|field| (field.name, field.r#type)).collect())
        .unwrap_or_default()
}

/// Adds what holds for the whole file. The text of a row stays as it is, so that credit-profile judges what the file says: a
/// name that stands twice, a number that is too long.
fn complete((record, as_is): Raw, options: &Options) -> Result<Record, Unsent> {
    let Value::Object(mut record) = record else {
        return Err(Unsent::NotAnObject);
    };
    if options.reload.is_some() && (record.contains_key("reload_id") || record.contains_key("reloadId")) {
        return Err(Unsent::OwnReload);
    }
    let mut added = Map::new();
    for (name, usual) in [("source", &options.source), ("category", &options.category), ("reload_id", &options.reload)]
    {
        if let Some(usual) = usual
            && !record.contains_key(name)
        {
            added.insert(name.to_owned(), Value::from(usual.as_str()));
        }
    }
    let as_is = as_is.map(|text| match text.strip_prefix('{') {
        Some(rest) if !added.is_empty() => {
            let begin = Value::Object(added.clone()).to_string();
            let comma = if record.is_empty() { "" } else { "," };
            format!("{}{comma}{rest}", begin.trim_end_matches('}'))
        }
        _ => text,
    });
    record.extend(added);
    let text = |name: &str, other: &str| {
        record.get(name).or_else(|| record.get(other)).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let (source, category, record_id) =
        (text("source", "source"), text("category", "category"), text("record_id", "recordId"));
    if category.is_empty() || category.chars().any(|c| c.is_whitespace() || c.is_control() || ".*>".contains(c)) {
        return Err(Unsent::Category);
    }
    if source.is_empty() || source.chars().any(|c| !c.is_ascii_graphic()) {
        return Err(Unsent::Source);
    }
    let text = as_is.unwrap_or_else(|| Value::Object(record).to_string());
    if text.len() > LARGEST {
        return Err(Unsent::TooLarge(text.len()));
    }
    Ok(Record { source, category, record_id, text })
}

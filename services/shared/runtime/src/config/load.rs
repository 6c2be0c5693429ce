//! Layers the sources of settings.

use std::{collections::HashMap, path::Path};

use config::{Config, Environment, File, FileFormat, Value, ValueKind};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::{Common, DEFAULTS, SECTIONS};
use crate::Error;

/// Loads settings: the common defaults, then `defaults` of the service, then the environment. The file is the command
/// line's business; see [`load_from`].
///
/// # Errors
/// [`Error::Config`] with one readable line: a key that is unknown, missing or of the wrong type.
pub fn load<T: DeserializeOwned>(defaults: &str) -> Result<T, Error> {
    load_from(defaults, None, None)
}

/// Loads settings with a file between defaults and environment. `environment` replaces the process's own, for tests.
///
/// # Errors
/// As [`load`]; also when the file can't be read.
pub fn load_from<T: DeserializeOwned>(
    defaults: &str,
    file: Option<&Path>,
    environment: Option<HashMap<String, String>>,
) -> Result<T, Error> {
    let mut sources = Config::builder()
        .add_source(File::from_str(DEFAULTS, FileFormat::Toml))
        .add_source(File::from_str(defaults, FileFormat::Toml));
    if let Some(path) = file {
        sources = sources.add_source(File::from(path).format(FileFormat::Toml));
    }
    sources
        .add_source(
            Environment::with_prefix("ZHIRONG")
                .prefix_separator("__")
                .separator("__")
                .source(environment),
        )
        .build()
        .and_then(Config::try_deserialize)
        .map_err(|error| Error::Config(one_line(&error.to_string())))
}

/// The compiled-in common settings, for programs that fill in the rest themselves.
///
/// # Errors
/// Only when the compiled-in file is broken, which a test excludes.
pub fn defaults() -> Result<Common, Error> {
    let settings: super::Settings = load_from("", None, Some(HashMap::new()))?;
    Ok(settings.common)
}

/// The commented defaults of the shell and of the service as one TOML file: a section that both have stands once, with the
/// service's lines in place of the shell's.
#[must_use]
pub fn printable_defaults(own: &str) -> String {
    let (mut overrides, mut rest) = (HashMap::new(), String::new());
    for (section, line) in with_sections(own) {
        if !SECTIONS.contains(&section) {
            rest.push_str(line);
            rest.push('\n');
        } else if let Some(key) = key_of(line) {
            overrides.insert((section, key), line);
        }
    }
    let mut text = String::new();
    for (section, line) in with_sections(DEFAULTS) {
        let replaced = key_of(line).and_then(|key| overrides.get(&(section, key)));
        text.push_str(replaced.unwrap_or(&line));
        text.push('\n');
    }
    if !rest.trim().is_empty() {
        text.push('\n');
        text.push_str(rest.trim());
        text.push('\n');
    }
    text
}

/// Each line with the top-level section it stands in; a section's name line counts as its own.
fn with_sections(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut section = "";
    text.lines().map(move |line| {
        if let Some(name) = line.trim().strip_prefix('[') {
            section = name.trim_end_matches(']').split('.').next().unwrap_or_default();
        }
        (section, line)
    })
}

fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    (!key.starts_with('#')).then(|| key.trim())
}

/// Separates the common sections from a service's own.
pub(super) fn split<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(Value, Value), D::Error> {
    let all = HashMap::<String, Value>::deserialize(deserializer)?;
    let (common, own): (HashMap<_, _>, HashMap<_, _>) =
        all.into_iter().partition(|(section, _)| SECTIONS.contains(&section.as_str()));
    let table = |sections: HashMap<String, Value>| Value::new(None, ValueKind::Table(sections.into_iter().collect()));
    Ok((table(common), table(own)))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

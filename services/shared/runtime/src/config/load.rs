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
        .add_source(Environment::with_prefix("ZHIRONG").prefix_separator("__").separator("__").source(environment))
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

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;
    use serde::Deserialize;

    use super::*;
    use crate::config::Settings;

    const OWN: &str =
        "# Where this service listens.\n[grpc]\nlisten = \"127.0.0.1:7104\"\n\n[sms]\n# Tries.\nattempts = 3\n";

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Own {
        sms: Sms,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sms {
        attempts: u32,
    }

    fn environment(pairs: &[(&str, &str)]) -> Option<HashMap<String, String>> {
        Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn with_file(text: &str, pairs: &[(&str, &str)]) -> Result<Settings<Own>, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load_from(OWN, Some(file.path()), environment(pairs))
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
        let text = "[sms]\nattempts = 4\n[grpc]\nlisten = \"127.0.0.1:1\"\n[database]\nmax_connections = 7\n";
        let settings =
            with_file(text, &[("ZHIRONG__SMS__ATTEMPTS", "5"), ("ZHIRONG__DATABASE__URL", "12345"), ("OTHER__X", "1")])
                .unwrap();
        assert_eq!(settings.own.sms.attempts, 5);
        assert_eq!(settings.common.grpc.listen.port(), 1);
        assert_eq!(settings.common.database.max_connections, 7);
        assert_eq!(settings.common.database.url.expose_secret(), "12345", "a text of digits stays a text");
        assert_eq!(settings.common.nats.replicas, 1);
    }

    #[test]
    fn unknown_keys_are_refused_wherever_they_come_from() {
        for (text, key, name) in [
            ("[database]\nurll = \"\"\n", "", "urll"),
            ("[smss]\nattempts = 1\n", "", "smss"),
            ("[sms]\nattemps = 1\n", "", "attemps"),
            ("", "ZHIRONG__DATABASE__URLL", "urll"),
            ("", "ZHIRONG__SMSS__ATTEMPTS", "smss"),
            ("", "ZHIRONG__SMS__ATTEMPS", "attemps"),
        ] {
            let pairs: &[_] = if key.is_empty() { &[] } else { &[(key, "1")] };
            let error = with_file(text, pairs).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_wrong_type_is_refused_with_its_key_in_one_line() {
        let error = with_file("", &[("ZHIRONG__DATABASE__MAX_CONNECTIONS", "many")]).unwrap_err().to_string();
        assert!(error.contains("many") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn the_printed_defaults_load_again_with_the_services_values() {
        let printed = printable_defaults(OWN);
        let settings: Settings<Own> = with_file(&printed, &[]).unwrap();
        assert_eq!(settings.common.grpc.listen.port(), 7104);
        assert_eq!(settings.own.sms.attempts, 3);
        assert_eq!(printed.matches("[grpc]").count(), 1);
    }

    #[test]
    fn a_secret_never_prints_and_may_come_from_a_file() {
        let settings = with_file("", &[("ZHIRONG__DATABASE__URL", "postgres://u:hunter2@h/d")]).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-file\n").unwrap();
        let path = file.path().display().to_string();
        let secret = crate::config::read_secret(&settings.common.database.url, &path).unwrap();
        assert_eq!(secret.expose_secret(), "from-file");
        assert!(crate::config::read_secret(&settings.common.database.url, "/no/such/file").is_err());
    }
}

//! Secrets that may come from a file.

use secrecy::{ExposeSecret, SecretString};

use crate::Error;

/// The secret: the file's first line when a file is named, else the value itself.
///
/// # Errors
/// [`Error::Config`] when the file can't be read or is empty.
pub fn read_secret(value: &SecretString, file: &str) -> Result<SecretString, Error> {
    if file.is_empty() {
        return Ok(SecretString::from(value.expose_secret().to_owned()));
    }
    let text =
        std::fs::read_to_string(file).map_err(|error| Error::Config(format!("the secret file {file}: {error}")))?;
    let secret = text.lines().next().unwrap_or_default().trim();
    if secret.is_empty() {
        return Err(Error::Config(format!("the secret file {file} is empty")));
    }
    Ok(SecretString::from(secret.to_owned()))
}

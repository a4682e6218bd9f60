//! Keys of tokens, which come from a file or the environment and from nowhere else.

use super::token::{Algorithm, Token};
use crate::reader::Reader;

/// The token of the key that `{prefix}key_file` or `{prefix}key_env` name; `None` with a problem noted.
pub(super) fn token(reader: &mut Reader<'_>, prefix: &str, algorithm: Algorithm) -> Option<Token> {
    let (file_key, env_key, id_key) =
        (format!("{prefix}key_file"), format!("{prefix}key_env"), format!("{prefix}key_id"));
    let id = reader.parsed(&id_key, check_id);
    let (named, place, key) = match (reader.is_given(&file_key), reader.is_given(&env_key)) {
        (true, true) => {
            reader.problem(&env_key, format!("the key is in `{file_key}` already"));
            return None;
        }
        (true, false) => {
            let path = reader.text(&file_key)?;
            // The error says why, and nothing of what is in the file.
            (
                &file_key,
                path,
                std::fs::read(path).map_err(|error| format!("`{path}` cannot be read: {error}")),
            )
        }
        (false, true) => {
            let name = reader.text(&env_key)?;
            let value = std::env::var_os(name).map(|value| value.into_encoded_bytes());
            (&env_key, name, value.ok_or_else(|| format!("there is no such variable: `{name}`")))
        }
        (false, false) => {
            let message = format!("is missing: the file that the key is in; or a variable, with `{env_key}`");
            reader.problem(&file_key, message);
            return None;
        }
    };
    let token = key.and_then(|key| {
        let key = without_line_break(&key, algorithm);
        if key.is_empty() {
            return Err(format!("the key is empty: `{place}`"));
        }
        Token::of_key(algorithm, key, id.as_deref())
    });
    match token {
        Ok(token) => Some(token),
        Err(message) => {
            reader.problem(named, message);
            None
        }
    }
}

/// An editor ends the last line; a key of exactly the length that is needed is whole.
fn without_line_break(key: &[u8], algorithm: Algorithm) -> &[u8] {
    if algorithm == Algorithm::Blake3 && key.len() == blake3::KEY_LEN {
        return key;
    }
    let key = key.strip_suffix(b"\n").unwrap_or(key);
    key.strip_suffix(b"\r").unwrap_or(key)
}

/// An id stands in a JSON string as it is.
fn check_id(id: &str) -> Result<String, &'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if id.is_empty() || !id.chars().all(legal) {
        return Err("must consist of letters, digits, `.`, `_` and `-`");
    }
    Ok(id.to_owned())
}

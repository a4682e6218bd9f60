//! Durations and sizes as people write them: `500ms`, `10s`, `2m`; `64MiB`, `1GiB`.

use std::time::Duration;

/// Parses a duration: a whole number and one of `ms`, `s`, `m`, `h`.
///
/// # Errors
/// A message for people when the text is no such thing.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let scale_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("must be a duration such as `500ms`, `10s` or `2m`".into()),
    };
    let number: u64 = number.parse().map_err(|_| "must be a duration such as `500ms`, `10s` or `2m`")?;
    number.checked_mul(scale_ms).map(Duration::from_millis).ok_or_else(|| "is too long".into())
}

/// Parses a size in bytes: a whole number and nothing or one of `B`, `KiB`, `MiB`, `GiB`.
///
/// # Errors
/// A message for people when the text is no such thing.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "kib" => 10,
        "mib" => 20,
        "gib" => 30,
        _ => return Err("must be a size such as `512KiB`, `256MiB` or `1GiB`".into()),
    };
    let number: usize = number.parse().map_err(|_| "must be a size such as `512KiB`, `256MiB` or `1GiB`")?;
    number.checked_mul(1 << shift).ok_or_else(|| "is too large".into())
}

/// Parses a number of things: whole, with `_` between digits where that reads better, and perhaps
/// `k`, `M` or `G`, or an exponent as in `1e6`.
///
/// # Errors
/// A message for people when the text is no such thing.
pub(crate) fn parse_count(text: &str) -> Result<u64, String> {
    let message = "must be a whole number such as `1000000`, `1_000_000`, `1M` or `1e6`";
    let (number, unit) = match text.trim().find(|c: char| !c.is_ascii_digit() && c != '_') {
        Some(end) => text.trim().split_at(end),
        None => (text.trim(), ""),
    };
    let power = match unit {
        "" => Some(0),
        "k" | "K" => Some(3),
        "M" => Some(6),
        "G" => Some(9),
        _ => unit.strip_prefix(['e', 'E']).and_then(|power| power.parse().ok()),
    };
    let number = number.replace('_', "").parse::<u64>().map_err(|_| message)?;
    let scale = 10_u64.checked_pow(power.ok_or(message)?).ok_or("is too large")?;
    number.checked_mul(scale).ok_or_else(|| "is too large".into())
}

/// Writes a duration so that [`parse_duration`] reads it back, to the millisecond.
pub(crate) fn format_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0 => "0s".into(),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

/// Writes a size so that [`parse_size`] reads it back.
pub(crate) fn format_size(bytes: usize) -> String {
    match bytes {
        0 => "0B".into(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for ms in [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000, 86_400_000] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
        for bytes in [0, 1, 1_000, 1 << 10, 3 << 20, (1 << 30) + 1, 2 << 30] {
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
    }

    #[test]
    fn counts_are_written_as_people_do() {
        for text in ["1000000", "1_000_000", "1e6", "1E6", "1M", "1000k", " 1M "] {
            assert_eq!(parse_count(text), Ok(1_000_000), "{text}");
        }
        assert_eq!(parse_count("0"), Ok(0));
        assert_eq!(parse_count("2G"), Ok(2_000_000_000));
        for text in ["", "few", "-1", "1.5M", "1m", "M", "1e", "1e-3", "_", "1e20", "20000000000G"] {
            assert!(parse_count(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn units_are_needed_and_known() {
        for text in ["", "10", "s", "-1s", "1.5s", "1d", "10 sec", "18446744073709551615h"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "1MB", "99999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
        assert_eq!(parse_size("64 mib"), Ok(64 << 20));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
    }
}

//! The machine that was measured on, and the date.

use std::{
    fs, thread,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

/// The machine, as the system describes it.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's model.
    pub cpu: String,
    /// The processors that this process may use.
    pub cores: usize,
    /// The memory in MiB.
    pub memory_mib: u64,
    /// The kernel's release.
    pub kernel: String,
}

impl Machine {
    /// This machine.
    pub fn this() -> Machine {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let kib =
            value(&read("/proc/meminfo"), "MemTotal").split(' ').next().and_then(|kib| kib.parse().ok());
        Machine {
            cpu: value(&read("/proc/cpuinfo"), "model name"),
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib.unwrap_or(0_u64) >> 10,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// The value of the first line `NAME: VALUE`; `unknown` without one.
fn value(text: &str, name: &str) -> String {
    let found = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name);
    found.map_or("unknown", |(_, value)| value.trim()).to_owned()
}

/// Today in UTC, as `YYYY-MM-DD`.
pub fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    date(seconds / 86_400)
}

/// The date `days` days after 1970-01-01.
fn date(mut days: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_know_leap_years() {
        let of = [(0, "1970-01-01"), (58, "1970-02-28"), (59, "1970-03-01"), (364, "1970-12-31")];
        let late =
            [(11_016, "2000-02-29"), (11_017, "2000-03-01"), (19_782, "2024-02-29"), (20_088, "2024-12-31")];
        for (days, expected) in of.into_iter().chain(late) {
            assert_eq!(date(days), expected);
        }
    }

    #[test]
    fn values_are_found_by_name() {
        assert_eq!(value("a b\t: c: d\nx: y", "a b"), "c: d");
        assert_eq!(value("", "x"), "unknown");
    }
}

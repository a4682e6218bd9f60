//! The processor time that this process has used.

use std::time::Duration;

/// Ticks per second in `/proc/self/stat`: `USER_HZ`, which Linux keeps at 100 for all programs.
const TICKS_PER_SECOND: u64 = 100;

/// The user and system time of all threads so far, in steps of 10 ms; `None` where the system does
/// not report it as Linux does.
pub fn time_used() -> Option<Duration> {
    parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// The time used since [`time_used`] returned `before`.
pub fn time_used_since(before: Option<Duration>) -> Option<Duration> {
    time_used().zip(before).map(|(after, before)| after.saturating_sub(before))
}

/// As [`time_used`], of the process `id`: until it is waited for, an ended one counts as well.
pub fn time_used_by(id: u32) -> Option<Duration> {
    parse(&std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// The 14th and 15th field of proc_pid_stat(5). The second is a name in parentheses, which may
/// itself hold spaces and parentheses.
fn parse(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let total = ticks()? + ticks()?;
    Some(Duration::from_millis(total * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "7 (a) b (c) R 1 7 7 0 -1 4194304 92 0 0 0 250 31 0 0 20 0 1 0 5 8 9";
        assert_eq!(parse(stat), Some(Duration::from_millis(2810)));
    }

    #[test]
    fn what_is_not_such_a_line_is_none() {
        assert_eq!(parse("7 (a) R 1 2"), None);
        assert_eq!(parse(""), None);
    }
}

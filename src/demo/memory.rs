//! The memory that the machine has left.

use std::fs;

/// The bytes that this process may still take: what the system calls available, within the limit
/// of the control group. `None` where the system does not tell.
pub(super) fn available() -> Option<u64> {
    let of_system = in_meminfo(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok();
    let of_group = read("max").zip(read("current")).and_then(|(max, current)| left(&max, &current));
    Some(of_group.map_or(of_system, |of_group| of_group.min(of_system)))
}

fn in_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// What a control group may still take; `max` without a limit is the word.
fn left(max: &str, current: &str) -> Option<u64> {
    Some(max.trim().parse::<u64>().ok()?.saturating_sub(current.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_and_the_control_group_are_understood() {
        let text = "MemTotal:  24605692 kB\nMemFree:   1000 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(in_meminfo(text), Some(2 << 20));
        assert_eq!(in_meminfo("MemFree: 1000 kB"), None);
        assert_eq!(left("4096\n", "1096\n"), Some(3000));
        assert_eq!(left("max\n", "1096\n"), None);
        assert_eq!(left("4096", "5000"), Some(0));
    }
}

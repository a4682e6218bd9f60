//! The memory of instances: how much it ever was, and whether it grows with the time.

use std::{fs, time::Duration};

/// More than any instance may take: its budget is 256 MiB.
const MOST: u64 = 512 << 20;

/// What each figure is the greatest of.
const MINUTE: Duration = Duration::from_secs(60);

/// With fewer figures than these nothing is said of growth.
const LEAST_FIGURES: usize = 12;

/// The memory of some instances together, as it was while they ran, in bytes.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub peak: u64,
    /// The greatest resident memory of an instance in each minute.
    minutes: Vec<u64>,
}

impl Memory {
    /// Notes that of a process, `at` this time of the trial.
    pub fn look(&mut self, process: u32, at: Duration) {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        self.peak = self.peak.max(field(&status, "VmHWM:"));
        self.note(at, field(&status, "VmRSS:"));
    }

    fn note(&mut self, at: Duration, resident: u64) {
        let minute = (at.as_secs() / MINUTE.as_secs()) as usize;
        self.minutes.resize(self.minutes.len().max(minute + 1), 0);
        self.minutes[minute] = self.minutes[minute].max(resident);
    }

    /// The median minute in the first third of the time, and in the last, if it was long enough to tell. Single
    /// minutes differ by what strikes in them.
    pub fn growth(&self) -> Option<(u64, u64)> {
        let third = self.minutes.len() / 3;
        let median = |minutes: &[u64]| {
            let mut sorted = minutes.to_vec();
            sorted.sort_unstable();
            sorted[sorted.len() / 2]
        };
        (self.minutes.len() >= LEAST_FIGURES)
            .then(|| (median(&self.minutes[..third]), median(&self.minutes[self.minutes.len() - third..])))
    }

    /// What is wrong with it, if anything is.
    pub fn wrong(&self) -> Option<String> {
        if self.peak > MOST {
            return Some(format!("an instance took {} MiB", self.peak >> 20));
        }
        let (first, last) = self.growth()?;
        let grew = || format!("the memory of instances grew from {} to {} MiB", first >> 20, last >> 20);
        (last > first + first / 2 + (8 << 20)).then(grew)
    }
}

/// A field of a process's status, in bytes; 0 when it has ended.
fn field(status: &str, name: &str) -> u64 {
    let rest = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = rest.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That of a trial of so many minutes, in MiB.
    fn memory(minutes: u64, mebibytes: impl Fn(u64) -> u64) -> Memory {
        let mut memory = Memory::default();
        for minute in 0..minutes {
            memory.note(MINUTE * minute as u32, mebibytes(minute) << 20);
            memory.note(MINUTE * minute as u32 + MINUTE / 2, 10 << 20);
        }
        memory
    }

    #[test]
    fn memory_that_grows_with_the_time_is_wrong_and_a_bad_minute_is_not() {
        assert_eq!(memory(30, |minute| if minute == 25 { 200 } else { 40 }).wrong(), None);
        let grown = memory(30, |minute| 40 + 2 * minute).wrong();
        assert_eq!(grown.as_deref(), Some("the memory of instances grew from 50 to 90 MiB"));
        assert_eq!(memory(11, |minute| 40 + 10 * minute).wrong(), None, "too short to tell");
        assert!(Memory { peak: MOST + 1, ..Memory::default() }.wrong().is_some());
    }

    #[test]
    fn the_memory_of_a_process_is_its_own() {
        let mut memory = Memory::default();
        memory.look(std::process::id(), Duration::ZERO);
        assert!(memory.peak > 1 << 20 && memory.minutes[0] > 1 << 20 && memory.minutes[0] <= memory.peak);
    }
}

//! What is written to the source, and so what must be read from the destination: both are functions
//! of a seed, a partition and a number, so that nothing needs to be remembered.

use std::fmt::Write;

use md5::{Digest, Md5};

/// The header with the number of the event, which topicmill must keep.
pub const NUMBER: &str = "number";

/// The keys of a partition besides its hot one.
const COLD_KEYS: u64 = 50;

/// The most bytes of a batch that a destination takes which refuses records.
pub const SIZE_MAX: usize = 32 << 10;

/// The length of a name in an event that is larger.
const OVERSIZE: u64 = 2 * SIZE_MAX as u64;

/// How many events of a partition have the same time: at any rate, their times stay behind the clocks of nodes, which
/// refuse what is an hour ahead (`message.timestamp.after.max.ms`).
const PER_MS: u64 = 100;

/// The beginning of the year 2100, in milliseconds.
const TO_COME: i64 = 4_102_444_800_000;

/// The topic that a record must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The destination.
    Destination,
    /// The topic of dead letters.
    DeadLetter,
}

impl Place {
    /// Both.
    pub const ALL: [Place; 2] = [Place::Destination, Place::DeadLetter];
}

/// The events of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// What the events depend on.
    pub seed: u64,
    /// The time of the first events, in milliseconds. Nodes forget by it, and not by their own clocks, that a producer
    /// has written a batch (`producer.id.expiration.ms`), and take that batch once more.
    pub begin: i64,
    /// How many of a thousand events cannot be transformed.
    pub poison_permille: u64,
    /// How many of a thousand events the destination refuses, if it is set to: half of them for their size, half
    /// for their time.
    pub refused_permille: u64,
}

/// An event, as the source has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The key; a fifth have none, of the others half have the partition's hot one.
    pub key: Option<String>,
    /// The value; `None` is a tombstone.
    pub value: Option<String>,
    /// The time, in milliseconds.
    pub timestamp: i64,
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Name,
    Tombstone,
    Poison,
    /// More than the destination takes.
    Oversized,
    /// Of a time to come.
    Untimely,
}

impl Load {
    /// The topic that the event must come to.
    pub fn place(self, partition: usize, seq: u64) -> Place {
        match self.kind(partition, seq) {
            Kind::Name | Kind::Tombstone => Place::Destination,
            Kind::Poison | Kind::Oversized | Kind::Untimely => Place::DeadLetter,
        }
    }

    /// The number of the event's key within its partition; `None` when it has none.
    pub fn key(self, partition: usize, seq: u64) -> Option<u64> {
        let chance = self.chance(partition, seq, 1);
        match chance % 10 {
            0 | 1 => None,
            2..=5 => Some(0),
            _ => Some(1 + chance / 10 % COLD_KEYS),
        }
    }

    /// The numbers that keys have within a partition.
    pub fn keys() -> std::ops::RangeInclusive<u64> {
        0..=COLD_KEYS
    }

    /// The event.
    pub fn event(self, partition: usize, seq: u64) -> Event {
        let chance = self.chance(partition, seq, 2);
        let kind = self.kind(partition, seq);
        let value = match kind {
            Kind::Name | Kind::Untimely => Some(format!(
                "{{\"first_name\":\"{partition}-{seq}\",\"last_name\":\"{:0width$x}\"}}",
                chance >> 8,
                width = 14 + (chance % 12) as usize
            )),
            Kind::Oversized => {
                // Such as no codec makes small.
                let name = |part| format!("{:016x}", self.chance(partition, seq, part));
                let name: String = (0..OVERSIZE / 16).map(|part| name(10 + part)).collect();
                Some(format!("{{\"first_name\":\"{partition}-{seq}\",\"last_name\":\"{name}\"}}"))
            }
            Kind::Tombstone => None,
            Kind::Poison => Some(format!("{{\"first_name\":\"{partition}-{seq}\",\"last_name\":{chance}")),
        };
        Event {
            key: self.key(partition, seq).map(|key| format!("{partition}:{key}")),
            value,
            timestamp: if kind == Kind::Untimely { TO_COME } else { self.begin } + (seq / PER_MS) as i64,
        }
    }

    /// The value that the event must have where it comes to.
    pub fn output(self, partition: usize, seq: u64) -> Option<String> {
        let value = self.event(partition, seq).value?;
        if self.place(partition, seq) == Place::DeadLetter {
            return Some(value);
        }
        Some(hashed(&value))
    }

    fn kind(self, partition: usize, seq: u64) -> Kind {
        let chance = self.chance(partition, seq, 3);
        let refused = self.poison_permille + self.refused_permille;
        if chance % 1000 < self.poison_permille {
            Kind::Poison
        } else if chance % 1000 < refused {
            if (chance / 1000).is_multiple_of(2) { Kind::Oversized } else { Kind::Untimely }
        } else if (chance / 1000).is_multiple_of(100) {
            Kind::Tombstone
        } else {
            Kind::Name
        }
    }

    /// A number that looks random, by the finalizer of `SplitMix64` (Steele et al., 2014).
    fn chance(self, partition: usize, seq: u64, purpose: u64) -> u64 {
        let mut mixed = self.seed;
        for part in [partition as u64, seq, purpose] {
            mixed = mixed.wrapping_add(part).wrapping_add(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
        }
        mixed
    }
}

/// An object with the hash of all of it.
pub fn hashed(value: &str) -> String {
    let mut output = value.strip_suffix('}').expect("an object").to_owned();
    output.push_str(",\"hash\":\"");
    for byte in Md5::digest(value) {
        write!(output, "{byte:02x}").expect("a string takes everything");
    }
    output.push_str("\"}");
    output
}

/// The number of an event, as its header has it.
pub fn number(partition: usize, seq: u64) -> String {
    format!("{partition}-{seq}")
}

/// Reads a number that [`number`] wrote.
pub fn parse_number(text: &[u8]) -> Option<(usize, u64)> {
    let (partition, seq) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some((partition.parse().ok()?, seq.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_is_the_value_with_its_md5() {
        let load = Load { seed: 1, begin: 0, poison_permille: 0, refused_permille: 0 };
        let seq = (0..).find(|&seq| load.event(0, seq).value.is_some()).unwrap();
        let value = load.event(0, seq).value.unwrap();
        let output = load.output(0, seq).unwrap();
        let (begin, hash) = output.split_once(",\"hash\":").unwrap();
        assert_eq!(format!("{begin}}}"), value);
        assert_eq!(hash.len(), 32 + 3);
    }

    #[test]
    fn events_are_mixed_as_they_are_said_to_be() {
        let load = Load { seed: 7, begin: 0, poison_permille: 60, refused_permille: 40 };
        let share = |what: &dyn Fn(u64) -> bool| (0..100_000).filter(|&seq| what(seq)).count() as f64 / 1e5;
        for (found, expected) in [
            (share(&|seq| load.key(3, seq).is_none()), 0.2),
            (share(&|seq| load.key(3, seq) == Some(0)), 0.4),
            (share(&|seq| load.place(3, seq) == Place::DeadLetter), 0.1),
            (share(&|seq| load.event(3, seq).value.is_none()), 0.009),
            (share(&|seq| load.event(3, seq).value.is_some_and(|value| value.len() > SIZE_MAX)), 0.02),
            (share(&|seq| load.event(3, seq).timestamp >= TO_COME), 0.02),
        ] {
            assert!((found - expected).abs() < 0.01, "{found} for {expected}");
        }
    }

    #[test]
    fn times_go_on_and_stay_behind_the_clock() {
        let load = Load { seed: 3, begin: 1000, poison_permille: 0, refused_permille: 0 };
        let time = |seq| load.event(0, seq).timestamp;
        assert!((0..10_000).all(|seq| time(seq) <= time(seq + 1)) && time(10_000) > time(0));
        // For an hour, at more than a partition can be written.
        let (rate, hour) = (100_000, 3600);
        assert!(time(rate * hour) <= 1000 + 1000 * hour as i64);
    }

    #[test]
    fn a_number_is_read_as_it_is_written() {
        assert_eq!(parse_number(number(5, 1 << 40).as_bytes()), Some((5, 1 << 40)));
        assert_eq!(parse_number(b"5"), None);
    }
}

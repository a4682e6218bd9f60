//! The transforms of the simulation, and what they promise: where the output of each record belongs.

use std::{fmt, sync::Arc};

use topicmill_records::NO_HEADERS;

use super::{PARTITIONS, is_poison};
use crate::{
    batch::TopicPartition,
    transform::{Emission, ErrorClass, Output, Transform, ValueError, Values},
};

/// Writes numbers as they are; every tenth is refused.
pub(super) struct Numbers;

impl Transform for Numbers {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        for (index, value) in values.iter() {
            if is_poison(number(value)) {
                out.fail(index, ValueError::new(ErrorClass::Syntax, "poison"));
            } else {
                out.write(index, &[value]);
            }
        }
    }
}

/// Passes some numbers over, writes several records for others, and chooses topics and partitions.
pub(super) struct Spread;

impl Transform for Spread {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        let routed: Arc<str> = Topic::Routed.name().into();
        let origin = values.origin().partition;
        for (index, value) in values.iter() {
            let offset = number(value);
            if is_poison(offset) {
                out.fail(index, ValueError::new(ErrorClass::Syntax, "poison"));
                continue;
            }
            let belongs = belongs(true, origin, offset);
            if belongs.clone().next().is_none() {
                out.skip(index);
            } else if is_plain(offset) {
                out.write(index, &[value]);
            }
            let timestamp = values.record(index).timestamp;
            for to in belongs.filter(|_| !is_plain(offset)) {
                let topic = (to.topic == Topic::Routed).then_some(&routed);
                let partition = (to.partition != origin).then_some(to.partition);
                let value: &[&[u8]] = &[value];
                let value = Some(value);
                out.emit(
                    index,
                    &Emission { topic, partition, timestamp, key: None, value, headers: NO_HEADERS },
                );
            }
        }
    }
}

fn number(value: &[u8]) -> i64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

fn is_plain(offset: i64) -> bool {
    matches!(offset % 10, 0 | 1 | 2 | 3 | 7)
}

/// The topics that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::mill) enum Topic {
    Destination,
    Routed,
    Letters,
}

impl Topic {
    pub const ALL: [Topic; 3] = [Topic::Destination, Topic::Routed, Topic::Letters];

    pub fn name(self) -> &'static str {
        match self {
            Topic::Destination => "destination",
            Topic::Routed => "routed",
            Topic::Letters => "letters",
        }
    }
}

/// A partition that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::mill) struct Place {
    pub topic: Topic,
    pub partition: i32,
}

impl Place {
    pub fn new(topic: Topic, partition: i32) -> Place {
        Place { topic, partition }
    }

    pub fn of(to: &TopicPartition) -> Place {
        let topic = Topic::ALL.into_iter().find(|topic| *topic.name() == *to.topic);
        Place::new(topic.expect("nothing else is written"), to.partition)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic.name(), self.partition)
    }
}

/// Where the output of a record belongs, one entry for each result.
pub(super) fn belongs(spreads: bool, origin: i32, offset: i64) -> impl Iterator<Item = Place> + Clone {
    use Topic::{Destination, Routed};
    // The topic, and how many partitions further.
    let homes: &'static [(Topic, i32)] = match offset % 10 {
        3 => &[],
        _ if !spreads => &[(Destination, 0)],
        4 => &[],
        5 => &[(Routed, 0)],
        6 => &[(Destination, 0), (Routed, 0)],
        8 => &[(Destination, 0), (Destination, 0), (Routed, 0)],
        9 => &[(Destination, 1)],
        _ => &[(Destination, 0)],
    };
    homes.iter().map(move |(topic, further)| Place::new(*topic, (origin + further) % PARTITIONS))
}

/// Whether a topic refuses the output of a record.
pub(super) fn is_refused(spreads: bool, topic: Topic, offset: i64) -> bool {
    offset % 50 == 7 || spreads && offset % 50 == 28 && topic == Topic::Routed
}

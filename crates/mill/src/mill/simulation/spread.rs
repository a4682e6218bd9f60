//! The transforms of the simulation, and what they promise: where the output of each record belongs.

use topicmill_records::NO_HEADERS;

use super::{PARTITIONS, is_poison};
use crate::{
    batch::TopicPartition,
    transform::{Emission, ErrorClass, Output, Transform, ValueError, Values},
};
use std::sync::Arc;

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
        let routed: Arc<str> = "routed".into();
        let origin = values.origin().partition;
        for (index, value) in values.iter() {
            let offset = number(value);
            if is_poison(offset) {
                out.fail(index, ValueError::new(ErrorClass::Syntax, "poison"));
                continue;
            }
            let belongs = belongs(true, origin, offset);
            if belongs.is_empty() {
                out.skip(index);
            } else if is_plain(offset) {
                out.write(index, &[value]);
            }
            let timestamp = values.record(index).timestamp;
            for to in belongs.iter().filter(|_| !is_plain(offset)) {
                let topic = (*to.topic == *routed).then_some(&routed);
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

/// Where the output of a record belongs, one entry for each result.
pub(super) fn belongs(spreads: bool, origin: i32, offset: i64) -> Vec<TopicPartition> {
    let here = TopicPartition::new("destination", origin);
    let routed = TopicPartition::new("routed", origin);
    match offset % 10 {
        3 => Vec::new(),
        _ if !spreads => vec![here],
        4 => Vec::new(),
        5 => vec![routed],
        6 => vec![here, routed],
        8 => vec![here.clone(), here, routed],
        9 => vec![TopicPartition::new("destination", (origin + 1) % PARTITIONS)],
        _ => vec![here],
    }
}

/// Whether a topic refuses the output of a record.
pub(super) fn is_refused(spreads: bool, to: &TopicPartition, offset: i64) -> bool {
    offset % 50 == 7 || spreads && offset % 50 == 28 && &*to.topic == "routed"
}

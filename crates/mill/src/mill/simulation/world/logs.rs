//! What stands in the logs that are written, by the partition of the source that it is of.

use super::{
    super::spread::{Place, Topic},
    PARTITIONS, RECORDS,
};

/// The logs; a partition that is written has one for each partition of the source.
pub(in crate::mill) struct Logs(Vec<Log>);

/// A log, in order, as the offsets that its records come from.
pub(in crate::mill) struct Log {
    pub to: Place,
    pub origin: i32,
    pub offsets: Vec<i64>,
    /// How often each offset stands there.
    counts: [u16; RECORDS as usize],
}

impl Default for Logs {
    fn default() -> Logs {
        let places =
            Topic::ALL.into_iter().flat_map(|topic| (0..PARTITIONS).map(move |of| Place::new(topic, of)));
        let log = |to, origin| Log { to, origin, offsets: Vec::new(), counts: [0; RECORDS as usize] };
        Logs(places.flat_map(|to| (0..PARTITIONS).map(move |origin| log(to, origin))).collect())
    }
}

impl Logs {
    fn number(to: Place, origin: i32) -> usize {
        ((to.topic as i32 * PARTITIONS + to.partition) * PARTITIONS + origin) as usize
    }

    pub fn append(&mut self, to: Place, origin: i32, offset: i64) {
        let log = &mut self.0[Logs::number(to, origin)];
        log.offsets.push(offset);
        log.counts[offset as usize] += 1;
    }

    /// How often output of a record stands in a partition.
    pub fn count(&self, to: Place, origin: i32, offset: i64) -> usize {
        self.0[Logs::number(to, origin)].counts[offset as usize].into()
    }

    pub fn clear(&mut self) {
        for log in self.0.iter_mut().filter(|log| !log.offsets.is_empty()) {
            log.offsets.clear();
            log.counts.fill(0);
        }
    }

    /// Those in which anything stands.
    pub fn iter(&self) -> impl Iterator<Item = &Log> {
        self.0.iter().filter(|log| !log.offsets.is_empty())
    }
}

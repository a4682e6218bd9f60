//! What stands in the logs, and what belongs there.

use tokio::time::Instant;

use super::{
    super::{
        is_poison,
        spread::{Place, Topic, belongs, is_refused},
    },
    Log, Named, PARTITIONS, RECORDS, Sent, Standing, World,
};
use crate::{batch::TransactionNumber, strategy::Order};

impl World {
    fn has_letter(&self, partition: i32, offset: i64) -> bool {
        self.logs.count(Place::new(Topic::Letters, partition), partition, offset) > 0
    }

    /// Whether a record must have a dead letter.
    fn is_bad(&self, partition: i32, offset: i64) -> bool {
        let mut belongs = belongs(self.spreads, partition, offset);
        is_poison(offset) || belongs.any(|to| is_refused(self.spreads, to.topic, offset))
    }

    /// How often output of a record belongs in a partition and is not refused there.
    pub(super) fn due_in(&self, to: Place, partition: i32, offset: i64) -> usize {
        if is_refused(self.spreads, to.topic, offset) {
            return 0;
        }
        belongs(self.spreads, partition, offset).filter(|of| *of == to).count()
    }

    /// Whether nothing of a record is left to be written.
    pub(super) fn is_final(&self, partition: i32, offset: i64) -> bool {
        let is_written =
            |to: Place| self.logs.count(to, partition, offset) >= self.due_in(to, partition, offset);
        let all_written = || belongs(self.spreads, partition, offset).all(is_written);
        all_written() && (!self.is_bad(partition, offset) || self.has_letter(partition, offset))
    }

    /// Appends what a producer sends of a partition of the source to a log; returns the indexes of refused
    /// records.
    pub fn append(
        &mut self,
        to: Place,
        (instance, origin): (usize, i32),
        assignment: u64,
        transaction: Option<TransactionNumber>,
        offsets: &[i64],
    ) -> Vec<usize> {
        if self.over.get(&(instance, origin)).is_some_and(|over| assignment <= *over) {
            self.violate(format!("{to}: {offsets:?} of assignment {assignment} is sent, which is over"));
        }
        let to_letters = to.topic == Topic::Letters;
        if !to_letters && self.order == Order::Partition {
            self.check_order(to, origin, assignment, offsets);
        }
        let mut refused = Vec::new();
        for (index, offset) in offsets.iter().enumerate() {
            if if to_letters { self.letters_refused } else { is_refused(self.spreads, to.topic, *offset) } {
                refused.push(index);
            } else if let Some(number) = transaction {
                let named = Named { instance, number };
                self.begun.entry(named).or_insert_with(Instant::now);
                let standing = Standing::Open(named);
                self.sent.push(Sent { standing, to, origin, offset: *offset });
            } else {
                self.logs.append(to, origin, *offset);
            }
        }
        refused
    }

    /// Under one assignment every record follows the one before it; none is left out.
    fn check_order(&mut self, to: Place, origin: i32, assignment: u64, offsets: &[i64]) {
        let first = self.expected.get(&(origin, assignment)).copied().unwrap_or(0);
        let key = (to, origin, assignment);
        let (mut expected, mut written) = self.progress.get(&key).copied().unwrap_or((first, 0));
        let gaps = self.gaps.get(&(origin, assignment)).cloned().unwrap_or_default();
        let spreads = self.spreads;
        let results = |of: i64| belongs(spreads, origin, of).filter(|at| *at == to).count();
        let mut violation = None;
        for offset in offsets {
            while let Some(next) = gaps
                .iter()
                .find(|gap| gap.contains(&expected))
                .map(|gap| gap.end)
                .or_else(|| (written >= results(expected)).then_some(expected + 1))
            {
                // No record belongs there any more.
                if expected > RECORDS {
                    break;
                }
                (expected, written) = (next, 0);
            }
            if *offset != expected {
                let text = format!("{to}: {offset} is written where {expected} is due, of {assignment}");
                violation.get_or_insert(text);
            }
            (expected, written) = (*offset, if *offset == expected { written + 1 } else { 1 });
        }
        if let Some(violation) = violation {
            self.violate(violation);
        }
        self.progress.insert(key, (expected, written));
    }

    /// Whether everything promised of a partition has been done.
    pub fn check_complete(&self, partition: i32) -> Result<(), String> {
        if self.committed.get(&partition) != Some(&RECORDS) {
            return Err(format!(
                "partition {partition} is committed to {:?}",
                self.committed.get(&partition)
            ));
        }
        for log in self.logs.iter().filter(|log| log.origin == partition) {
            let mut is_seen = [false; RECORDS as usize];
            let is_first = |offset: &i64| !std::mem::replace(&mut is_seen[*offset as usize], true);
            let first_times: Vec<i64> = log.offsets.iter().copied().filter(is_first).collect();
            let is_ordered = self.order == Order::Partition && log.to.topic != Topic::Letters;
            if is_ordered && !first_times.is_sorted() {
                let to = log.to;
                return Err(format!("{to} is out of order, of partition {partition}: {first_times:?}"));
            }
        }
        let from = self.chosen.get(&partition).copied().unwrap_or(0).max(self.start(partition));
        match (from..RECORDS).find(|offset| !self.stands(partition, *offset)) {
            Some(missing) => Err(format!("partition {partition} lacks {missing}")),
            None => Ok(()),
        }
    }

    /// Whether a record stands where it belongs, and only there.
    pub fn stands(&self, partition: i32, offset: i64) -> bool {
        let mut logs =
            self.logs.iter().filter(|log| log.origin == partition && log.to.topic != Topic::Letters);
        let is_expected = |log: &Log| {
            self.logs.count(log.to, partition, offset) == 0 || self.due_in(log.to, partition, offset) > 0
        };
        self.is_final(partition, offset)
            && self.has_letter(partition, offset) == self.is_bad(partition, offset)
            && logs.all(is_expected)
    }

    /// The records in all logs if each is written once.
    pub fn records_due(&self) -> usize {
        let due = |partition: i32, offset: i64| {
            let belongs = belongs(self.spreads, partition, offset);
            let written = belongs.filter(|to| !is_refused(self.spreads, to.topic, offset)).count();
            written + usize::from(self.is_bad(partition, offset))
        };
        (0..PARTITIONS)
            .map(|partition| (0..RECORDS).map(|offset| due(partition, offset)).sum::<usize>())
            .sum()
    }
}

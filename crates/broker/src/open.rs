//! What a log knows of transactions: those that are open, and those that were aborted (KIP-98).

use std::collections::VecDeque;

use super::transactions::{Marker, Outcome, Producer};

/// The transactions of one log.
#[derive(Debug, Default)]
pub struct LogTransactions {
    /// Those that are open, in the order of their first records.
    open: Vec<Open>,
    /// Those that were aborted, in the order of their ends.
    aborted: VecDeque<Aborted>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    producer: Producer,
    first_offset: i64,
}

#[derive(Clone, Copy, Debug)]
struct Aborted {
    producer_id: i64,
    first_offset: i64,
    /// Where its end stands.
    last_offset: i64,
    /// What was stable once it had ended: whatever ends later has begun there or behind it.
    stable: i64,
}

impl LogTransactions {
    /// The offset of the first record of the first that is open.
    pub fn first_open(&self) -> Option<i64> {
        self.open.first().map(|open| open.first_offset)
    }

    /// Whether this producer has one open.
    pub fn is_open(&self, producer: Producer) -> bool {
        self.open.iter().any(|open| open.producer == producer)
    }

    /// Whether a producer of this id has one open, whatever its epoch.
    pub fn is_open_for(&self, producer_id: i64) -> bool {
        self.open.iter().any(|open| open.producer.id == producer_id)
    }

    /// A record of `producer` stands at `offset`, the end of the log so far.
    pub fn appended(&mut self, producer: Producer, offset: i64) {
        match self.open.iter_mut().find(|open| open.producer.id == producer.id) {
            Some(open) => open.producer.epoch = producer.epoch,
            None => self.open.push(Open { producer, first_offset: offset }),
        }
    }

    /// The end of a transaction stands at `offset`, the last of the log.
    pub fn ended(&mut self, marker: Marker, offset: i64) {
        let Marker { producer, outcome } = marker;
        // Without a record here it leaves no trace.
        let Some(at) = self.open.iter().position(|open| open.producer.id == producer.id) else { return };
        let Open { first_offset, .. } = self.open.remove(at);
        if outcome == Outcome::Abort {
            let stable = self.first_open().unwrap_or(offset + 1);
            let aborted = Aborted { producer_id: producer.id, first_offset, last_offset: offset, stable };
            self.aborted.push_back(aborted);
        }
    }

    /// The producer's id and the first offset of each aborted transaction that has records in what
    /// is read, from `from` to before `end`.
    pub fn aborted(&self, from: i64, end: i64) -> Vec<(i64, i64)> {
        let after = self.aborted.partition_point(|aborted| aborted.last_offset < from);
        let mut found = Vec::new();
        for aborted in self.aborted.range(after..) {
            if aborted.first_offset < end {
                found.push((aborted.producer_id, aborted.first_offset));
            }
            if aborted.stable >= end {
                break;
            }
        }
        found
    }

    /// Forgets what ended below the start of the log.
    pub fn drop_below(&mut self, start: i64) {
        while self.aborted.pop_front_if(|aborted| aborted.last_offset < start).is_some() {}
    }

    /// The log ends at `end` now; `left` are the transactional batches that it still has, from
    /// `start` on: offset, producer, and whether it is an end.
    pub fn truncate(&mut self, start: i64, end: i64, left: impl Iterator<Item = (i64, Producer, bool)>) {
        self.open.retain(|open| open.first_offset < start);
        while self.aborted.pop_back_if(|aborted| aborted.last_offset >= end).is_some() {}
        for (offset, producer, is_end) in left {
            if is_end {
                self.open.retain(|open| open.producer.id != producer.id);
            } else {
                self.appended(producer, offset);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Producer = Producer { id: 1, epoch: 0 };
    const B: Producer = Producer { id: 2, epoch: 0 };

    fn marker(producer: Producer, outcome: Outcome) -> Marker {
        Marker { producer, outcome }
    }

    #[test]
    fn what_is_stable_ends_where_the_first_open_transaction_begins() {
        let mut log = LogTransactions::default();
        assert_eq!(log.first_open(), None);
        log.appended(A, 0);
        log.appended(B, 3);
        log.appended(A, 5);
        assert_eq!(log.first_open(), Some(0));
        log.ended(marker(A, Outcome::Commit), 8);
        assert_eq!((log.first_open(), log.is_open(A), log.is_open(B)), (Some(3), false, true));
        log.ended(marker(B, Outcome::Abort), 9);
        assert_eq!(log.first_open(), None);
    }

    #[test]
    fn a_reader_is_told_of_the_aborted_transactions_in_what_it_reads() {
        let mut log = LogTransactions::default();
        log.appended(A, 0);
        log.appended(B, 2);
        log.ended(marker(B, Outcome::Abort), 4);
        log.appended(B, 5);
        log.ended(marker(A, Outcome::Abort), 7);
        log.ended(marker(B, Outcome::Commit), 8);
        log.appended(A, 9);
        log.ended(marker(A, Outcome::Abort), 10);
        for (from, end, aborted) in [
            (0, 2, vec![(1, 0)]),
            (0, 3, vec![(2, 2), (1, 0)]),
            (0, 11, vec![(2, 2), (1, 0), (1, 9)]),
            (5, 8, vec![(1, 0)]),
            (8, 9, vec![]),
            (8, 11, vec![(1, 9)]),
        ] {
            assert_eq!(log.aborted(from, end), aborted, "{from}..{end}");
        }
        log.drop_below(5);
        assert_eq!(log.aborted(0, 11), [(1, 0), (1, 9)]);
    }

    #[test]
    fn a_truncated_end_opens_its_transaction_again() {
        let mut log = LogTransactions::default();
        log.appended(A, 0);
        log.ended(marker(A, Outcome::Abort), 1);
        log.appended(B, 2);
        log.ended(marker(B, Outcome::Abort), 3);
        log.appended(A, 4);
        log.truncate(0, 3, [(0, A, false), (1, A, true), (2, B, false)].into_iter());
        assert_eq!((log.first_open(), log.is_open(A)), (Some(2), false));
        assert_eq!(log.aborted(0, 3), [(1, 0)]);
    }
}

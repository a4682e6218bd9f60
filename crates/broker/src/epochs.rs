//! The leader epochs of a log (KIP-101): which there were, and where each of them began.

/// The leader epochs of one partition. The first is 0 and begins with the log.
#[derive(Debug)]
pub struct Epochs {
    /// The current epoch; while there is no leader, nothing is appended in it.
    current: i32,
    /// Each epoch that had a leader, with the end of the log when it began; both ascend.
    began: Vec<(i32, i64)>,
}

impl Default for Epochs {
    fn default() -> Epochs {
        Epochs { current: 0, began: vec![(0, 0)] }
    }
}

impl Epochs {
    /// The current epoch.
    pub fn current(&self) -> i32 {
        self.current
    }

    /// The leader is gone: that makes an epoch in which nothing can be appended.
    pub fn depose(&mut self) {
        self.current += 1;
    }

    /// There is a new leader, whose log ends at `end`. Epochs that would begin there or later
    /// have left no records and are forgotten.
    pub fn elect(&mut self, end: i64) {
        self.current += 1;
        self.began.retain(|(_, from)| *from < end);
        self.began.push((self.current, end));
    }

    /// The epoch that the record at `offset` was appended in.
    pub fn at(&self, offset: i64) -> i32 {
        let after = self.began.partition_point(|(_, from)| *from <= offset);
        self.began[..after].last().map_or(0, |(epoch, _)| *epoch)
    }

    /// The greatest epoch that is not above `epoch`, and the offset at which it ended; `end` is
    /// the log's. `None` for an epoch that is not known yet (KIP-101).
    pub fn end_of(&self, epoch: i32, end: i64) -> Option<(i32, i64)> {
        let after = self.began.partition_point(|(known, _)| *known <= epoch);
        let floor = self.began[..after].last();
        match self.began.get(after) {
            Some((_, next)) => Some((floor.map_or(epoch, |(epoch, _)| *epoch), *next)),
            None => floor.filter(|(known, _)| *known == epoch).map(|_| (epoch, end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.end_of(0, 7), Some((0, 7)));
        assert_eq!(epochs.end_of(1, 7), None);
        epochs.depose();
        epochs.elect(10);
        assert_eq!(epochs.current(), 2);
        assert_eq!((epochs.at(9), epochs.at(10)), (0, 2));
        for (epoch, ended) in [(0, Some((0, 10))), (1, Some((0, 10))), (2, Some((2, 15))), (3, None)] {
            assert_eq!(epochs.end_of(epoch, 15), ended, "{epoch}");
        }
    }

    #[test]
    fn an_epoch_without_records_leaves_no_trace() {
        let mut epochs = Epochs::default();
        for _ in 0..100 {
            epochs.elect(10);
        }
        assert_eq!(epochs.began, [(0, 0), (100, 10)]);
        epochs.elect(0);
        assert_eq!(epochs.began, [(101, 0)]);
        assert_eq!(epochs.end_of(100, 5), Some((100, 0)));
    }
}

//! How long the work took: from the first batch to the last commit, without what comes before and
//! after.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The first batch and the last commit of a run.
#[derive(Debug, Default)]
pub struct WorkTime {
    ends: Mutex<(Option<Instant>, Option<Instant>)>,
}

impl WorkTime {
    /// From the first batch that was read to the last commit; `None` without either.
    pub fn elapsed(&self) -> Option<Duration> {
        let (began, committed) = *self.ends.lock();
        Some(committed?.saturating_duration_since(began?))
    }

    /// A batch was read.
    pub(super) fn batch(&self) {
        self.ends.lock().0.get_or_insert_with(Instant::now);
    }

    /// The coordinator agreed to a commit.
    pub(super) fn committed(&self) {
        self.ends.lock().1 = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_spans_the_first_batch_and_the_last_commit() {
        let work = WorkTime::default();
        assert_eq!(work.elapsed(), None);
        work.batch();
        assert_eq!(work.elapsed(), None);
        work.committed();
        let first = work.elapsed().unwrap();
        work.batch();
        work.committed();
        assert!(work.elapsed().unwrap() >= first);
    }
}

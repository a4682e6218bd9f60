//! Records that are refused in transactions, by what is in them.
//!
//! To find those that a broker does not take, and does not name, a batch goes in halves. That takes as many trips as
//! there are halves, and may take longer than a transaction may. Then all of it is aborted and read again, and would
//! have to be looked through again, for ever. So what was found outlasts the abort: when it comes again, it is
//! refused before it is sent. It is forgotten when the transaction is committed in which it came again: what is
//! alike and comes later may be taken, as topics are set anew.
//!
//! A record on which a broker closes the connection cannot even be left out: it is not certain that it is in no log,
//! and in a transaction no number can be left out. So it has its transaction aborted, and is known when it comes
//! again. As each like it would have one aborted, it is not forgotten.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    mem::take,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use topicmill_mill::{
    batch::{TopicPartition, TransactionNumber},
    transform::ValueError,
};
use topicmill_records::{Codec, EncodedBatch, Record, RecordsError};

use super::carrier::SUSPECT_BYTES_MIN;

/// The most records that are kept for sure; of twice as many, the oldest go.
const KEPT_MAX: usize = 10_000;

/// The least size in bytes of a batch that may hold any that is known.
const NONE: usize = usize::MAX;

/// The records.
#[derive(Debug)]
pub struct Known {
    kept: Mutex<Kept>,
    /// Batches that are smaller are not looked through.
    least: AtomicUsize,
    hasher: RandomState,
}

impl Default for Known {
    fn default() -> Known {
        let (kept, hasher) = (Mutex::default(), RandomState::new());
        Known { kept, least: AtomicUsize::new(NONE), hasher }
    }
}

/// By digest; what has not come again for long is in `old`.
#[derive(Debug, Default)]
struct Kept {
    young: HashMap<u64, Refused>,
    old: HashMap<u64, Refused>,
    /// The last transaction that is aborted: what was refused up to there comes again.
    aborted: Option<TransactionNumber>,
}

#[derive(Clone, Debug)]
struct Refused {
    error: ValueError,
    /// The last transaction that it came in; `None` when the connection was closed on it.
    came_in: Option<TransactionNumber>,
}

/// Why a record is known.
#[derive(Clone, Copy, Debug)]
enum Reason {
    Closed,
    Answered(Codec),
}

impl Known {
    /// Keeps the records of `batch`, on which the broker closes the connection.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn keep_closing(
        &self,
        to: &TopicPartition,
        batch: &EncodedBatch,
        error: &ValueError,
    ) -> Result<(), RecordsError> {
        let records = batch.records()?;
        let mut kept = self.kept.lock();
        for record in &records {
            let digest = self.digest(to, batch, record, Reason::Closed);
            kept.insert(digest, Refused { error: error.clone(), came_in: None });
        }
        self.least.fetch_min(SUSPECT_BYTES_MIN, Ordering::Release);
        Ok(())
    }

    /// Keeps records of `batch`, by their index, that the broker refuses when they are compressed like this.
    ///
    /// # Errors
    /// When its records cannot be read.
    pub fn keep_refused(
        &self,
        to: &TopicPartition,
        batch: &EncodedBatch,
        codec: Codec,
        transaction: TransactionNumber,
        refused: &[(usize, ValueError)],
    ) -> Result<(), RecordsError> {
        let records = batch.records()?;
        let mut kept = self.kept.lock();
        for (index, error) in refused {
            let Some(record) = records.get(*index) else { continue };
            let digest = self.digest(to, batch, record, Reason::Answered(codec));
            kept.insert(digest, Refused { error: error.clone(), came_in: Some(transaction) });
        }
        // The abort may have come before the answer.
        if Some(transaction) <= kept.aborted {
            self.least.store(0, Ordering::Release);
        }
        Ok(())
    }

    /// The records of a batch that are known, by their index in ascending order.
    ///
    /// # Errors
    /// When its records cannot be read.
    pub fn find(
        &self,
        to: &TopicPartition,
        batch: &EncodedBatch,
        codec: Codec,
        transaction: TransactionNumber,
    ) -> Result<Vec<(usize, ValueError)>, RecordsError> {
        if batch.bytes.len() < self.least.load(Ordering::Acquire) {
            return Ok(Vec::new());
        }
        let records = batch.records()?;
        let mut kept = self.kept.lock();
        let known = |(index, record)| {
            let reasons = [Reason::Closed, Reason::Answered(codec)];
            let mut digests = reasons.into_iter().map(|reason| self.digest(to, batch, record, reason));
            Some((index, digests.find_map(|digest| kept.find(digest, transaction))?))
        };
        Ok(records.iter().enumerate().filter_map(known).collect())
    }

    /// What was sent in transactions up to this one comes again.
    pub fn aborted(&self, last: TransactionNumber) {
        let mut kept = self.kept.lock();
        kept.aborted = kept.aborted.max(Some(last));
        self.least.store(kept.least(), Ordering::Release);
    }

    /// What came in this transaction does not come again.
    pub fn committed(&self, transaction: TransactionNumber) {
        let mut kept = self.kept.lock();
        if kept.young.is_empty() && kept.old.is_empty() {
            return;
        }
        let Kept { young, old, .. } = &mut *kept;
        [young, old].into_iter().for_each(|part| part.retain(|_, of| of.came_in != Some(transaction)));
        self.least.store(kept.least(), Ordering::Release);
    }

    /// What a record is known by. When the connection is closed on it, neither its time counts, which may be that of
    /// the writing, nor how it is compressed.
    fn digest(&self, to: &TopicPartition, batch: &EncodedBatch, record: &Record, reason: Reason) -> u64 {
        let as_it_was = match reason {
            Reason::Closed => None,
            Reason::Answered(codec) => Some((codec.compression.as_str(), codec.level, record.timestamp)),
        };
        let parts = [record.key, record.value, record.headers].map(|span| span.get(&batch.bytes));
        self.hasher.hash_one((to, as_it_was, parts))
    }
}

impl Kept {
    fn insert(&mut self, digest: u64, refused: Refused) {
        if self.young.len() >= KEPT_MAX {
            self.old = take(&mut self.young);
        }
        self.young.insert(digest, refused);
    }

    /// Why a record was refused that comes again.
    fn find(&mut self, digest: u64, transaction: TransactionNumber) -> Option<ValueError> {
        if !self.young.contains_key(&digest) {
            let refused = self.old.remove(&digest)?;
            self.insert(digest, refused);
        }
        let Refused { error, came_in } = self.young.get_mut(&digest)?;
        if let Some(last) = came_in {
            *last = transaction;
        }
        Some(error.clone())
    }

    /// The least size of a batch that may hold any.
    fn least(&self) -> usize {
        let all = || self.young.values().chain(self.old.values());
        if all().any(|of| of.came_in.is_some() && of.came_in <= self.aborted) {
            0
        } else if all().any(|of| of.came_in.is_none()) {
            // A broker reads what is smaller.
            SUSPECT_BYTES_MIN
        } else {
            NONE
        }
    }
}

#[cfg(test)]
mod tests {
    use topicmill_mill::transform::ErrorClass;
    use topicmill_records::{Compression, NO_HEADERS, RecordWriter};

    use super::*;

    fn batch(values: &[&[u8]]) -> EncodedBatch {
        batch_at(7, values)
    }

    fn batch_at(time: i64, values: &[&[u8]]) -> EncodedBatch {
        let mut writer = RecordWriter::new(1 << 20, 0);
        values.iter().for_each(|value| writer.push(time, None, Some(&[value]), NO_HEADERS));
        writer.finish().remove(0)
    }

    fn error() -> ValueError {
        ValueError::new(ErrorClass::Oversized, "unread")
    }

    fn find(known: &Known, partition: i32, batch: &EncodedBatch, number: u64) -> Vec<usize> {
        let to = TopicPartition::new("t", partition);
        let found = known.find(&to, batch, Codec::default(), TransactionNumber(number)).unwrap();
        found.into_iter().map(|(index, _)| index).collect()
    }

    #[test]
    fn a_record_is_known_by_its_bytes_in_its_partition() {
        let to = TopicPartition::new("t", 0);
        let (large, alike) = (vec![b'x'; 70_000], vec![b'x'; 70_001]);
        let known = Known::default();
        let whole = batch(&[b"a", &large, &alike, b"b", &large]);
        assert!(find(&known, 0, &whole, 0).is_empty());
        known.keep_closing(&to, &batch_at(9, &[&large]), &error()).unwrap();
        assert_eq!(find(&known, 0, &whole, 0), [1, 4]);
        assert!(find(&known, 1, &whole, 0).is_empty());
        // For good.
        known.committed(TransactionNumber(0));
        assert_eq!(find(&known, 0, &whole, 1), [1, 4]);
    }

    #[test]
    fn what_was_refused_is_known_from_an_abort_until_a_commit() {
        let to = TopicPartition::new("t", 0);
        let known = Known::default();
        let whole = batch(&[b"a", b"b", b"c"]);
        let keep = |number| {
            let refused = [(1, error())];
            known.keep_refused(&to, &whole, Codec::default(), TransactionNumber(number), &refused).unwrap();
        };
        keep(4);
        assert!(find(&known, 0, &whole, 5).is_empty(), "what is alike may be taken");
        known.aborted(TransactionNumber(5));
        assert_eq!(find(&known, 0, &whole, 6), [1]);
        let other = Codec::from(Compression::Zstd);
        assert!(known.find(&to, &whole, other, TransactionNumber(6)).unwrap().is_empty());
        assert!(find(&known, 0, &batch_at(8, &[b"b"]), 6).is_empty());
        // It is aborted as well, and then one is committed that the record is not in.
        known.aborted(TransactionNumber(7));
        known.committed(TransactionNumber(8));
        assert_eq!(find(&known, 0, &whole, 9), [1]);
        known.committed(TransactionNumber(9));
        assert!(find(&known, 0, &whole, 10).is_empty());
        // An answer that comes after the abort.
        keep(7);
        assert_eq!(find(&known, 0, &whole, 11), [1]);
    }

    #[test]
    fn no_more_are_kept_than_may_be() {
        let to = TopicPartition::new("t", 0);
        let known = Known::default();
        let values: Vec<String> = (0..3 * KEPT_MAX).map(|number| number.to_string()).collect();
        let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
        let whole = batch(&values);
        let refused: Vec<_> = (0..values.len()).map(|index| (index, error())).collect();
        known.keep_refused(&to, &whole, Codec::default(), TransactionNumber(0), &refused).unwrap();
        known.aborted(TransactionNumber(0));
        let found = find(&known, 0, &whole, 1);
        assert!((KEPT_MAX..=2 * KEPT_MAX).contains(&found.len()), "{}", found.len());
        assert!(found.contains(&(values.len() - 1)));
    }
}

//! Records on which a broker closes the connection, in transactions.
//!
//! It is not certain that such a record is in no log, and in a transaction no number can be left out. So the
//! transaction is aborted, and all of it read again. Then the record comes again, and is known: it is refused before
//! it is sent.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
};

use parking_lot::Mutex;
use topicmill_mill::{batch::TopicPartition, transform::ValueError};
use topicmill_records::{EncodedBatch, Record, RecordsError};

use super::carrier::SUSPECT_BYTES_MIN;

/// The most records that are kept; the oldest go first.
const KEPT_MAX: usize = 1000;

/// The records, by what is in them.
#[derive(Debug, Default)]
pub struct Unread {
    kept: Mutex<VecDeque<(TopicPartition, u64, ValueError)>>,
}

impl Unread {
    /// Keeps the only record of `batch`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn keep(
        &self,
        to: &TopicPartition,
        batch: &EncodedBatch,
        error: &ValueError,
    ) -> Result<(), RecordsError> {
        let records = batch.records()?;
        let mut kept = self.kept.lock();
        for record in &records {
            if kept.len() >= KEPT_MAX {
                kept.pop_front();
            }
            kept.push_back((to.clone(), digest(batch, record), error.clone()));
        }
        Ok(())
    }

    /// The records of a batch that are kept, by their index in ascending order.
    ///
    /// # Errors
    /// When its records cannot be read.
    pub fn find(
        &self,
        to: &TopicPartition,
        batch: &EncodedBatch,
    ) -> Result<Vec<(usize, ValueError)>, RecordsError> {
        // A broker reads what is smaller.
        if batch.bytes.len() < SUSPECT_BYTES_MIN || self.kept.lock().is_empty() {
            return Ok(Vec::new());
        }
        let records = batch.records()?;
        let kept = self.kept.lock();
        let known = |(index, record)| {
            let digest = digest(batch, record);
            let found = kept.iter().find(|(at, of, _)| *of == digest && at == to)?;
            Some((index, found.2.clone()))
        };
        Ok(records.iter().enumerate().filter_map(known).collect())
    }
}

/// What a record is known by. The time is left out: it may be that of the writing.
fn digest(batch: &EncodedBatch, record: &Record) -> u64 {
    let mut hasher = DefaultHasher::new();
    for span in [record.key, record.value, record.headers] {
        span.get(&batch.bytes).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use topicmill_mill::transform::ErrorClass;
    use topicmill_records::{NO_HEADERS, RecordWriter};

    use super::*;

    fn batch(values: &[&[u8]]) -> EncodedBatch {
        let mut writer = RecordWriter::new(1 << 20, 0);
        values.iter().for_each(|value| writer.push(7, None, Some(&[value]), NO_HEADERS));
        writer.finish().remove(0)
    }

    #[test]
    fn a_record_is_known_by_its_bytes_in_its_partition() {
        let (to, other) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
        let (large, alike) = (vec![b'x'; 70_000], vec![b'x'; 70_001]);
        let unread = Unread::default();
        let error = ValueError::new(ErrorClass::Oversized, "unread");
        let whole = batch(&[b"a", &large, &alike, b"b", &large]);
        assert!(unread.find(&to, &whole).unwrap().is_empty());
        unread.keep(&to, &batch(&[&large]), &error).unwrap();
        let found: Vec<usize> = unread.find(&to, &whole).unwrap().iter().map(|(index, _)| *index).collect();
        assert_eq!(found, [1, 4]);
        assert!(unread.find(&other, &whole).unwrap().is_empty());
    }
}

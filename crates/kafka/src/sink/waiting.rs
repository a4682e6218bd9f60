//! What waits to be written to one partition. Small chunks are joined, so that a sink that is fed
//! more often than the broker answers writes few large batches instead of many small ones. Pure.

use std::{collections::VecDeque, ops::Range, sync::Arc, time::Duration};

use tokio::time::Instant;
use topicmill_records::{Codec, EncodedBatch, RecordsError};

use super::transaction::Transaction;
use crate::settings::ProduceSettings;

/// A chunk is small enough to be worth copying if this many make a wire batch.
const JOINED_CHUNKS_MIN: usize = 4;

/// Records that have no sequence number yet.
#[derive(Debug)]
pub struct Unsealed {
    pub records: EncodedBatch,
    /// The number of the first record in the partition's order of writing.
    pub first: u64,
    /// How they are to be compressed.
    pub codec: Codec,
    /// The transaction that they belong to.
    pub transaction: Option<Arc<Transaction>>,
}

impl Unsealed {
    /// Whether they belong to this transaction.
    pub fn is_with(&self, transaction: &Option<Arc<Transaction>>) -> bool {
        match (&self.transaction, transaction) {
            (None, None) => true,
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// The number of the record after the last.
    fn end(&self) -> u64 {
        self.first + u64::from(self.records.count)
    }
}

/// The chunks that wait, in order.
#[derive(Debug)]
pub struct WaitingRecords {
    chunks: VecDeque<(Instant, Unsealed)>,
    bytes: usize,
    /// `batch.size`, or less where the broker took no batch of that size.
    batch_size: usize,
    /// `max.request.size`, or less where the broker took no records of that size, in a transaction.
    limit: usize,
    /// `linger.ms`.
    linger: Duration,
}

impl WaitingRecords {
    pub fn new(settings: &ProduceSettings) -> WaitingRecords {
        WaitingRecords {
            chunks: VecDeque::new(),
            bytes: 0,
            batch_size: settings.batch_size(),
            limit: settings.max_request_size,
            linger: settings.linger,
        }
    }

    /// Adds a chunk, in parts if it is over the limit.
    ///
    /// # Errors
    /// When its records cannot be read.
    pub fn push(&mut self, chunk: Unsealed) -> Result<(), RecordsError> {
        let Unsealed { records, first, codec, transaction } = chunk;
        let count = records.count as usize;
        if records.bytes.len() <= self.limit || count < 2 {
            self.bytes += records.bytes.len();
            self.chunks.push_back((Instant::now(), Unsealed { records, first, codec, transaction }));
            return Ok(());
        }
        let mut first = first;
        for records in records.cut(&[0..count / 2, count / 2..count])? {
            let next = first + u64::from(records.count);
            self.push(Unsealed { records, first, codec, transaction: transaction.clone() })?;
            first = next;
        }
        Ok(())
    }

    /// Puts a chunk back in front of all.
    pub fn put_back(&mut self, chunk: Unsealed) {
        self.bytes += chunk.records.bytes.len();
        self.chunks.push_front((Instant::now(), chunk));
    }

    /// Drops the chunks that begin with a record of these numbers.
    pub fn forget(&mut self, numbers: &[Range<u64>]) {
        self.chunks.retain(|(_, chunk)| !numbers.iter().any(|range| range.contains(&chunk.first)));
        self.bytes = self.chunks.iter().map(|(_, chunk)| chunk.records.bytes.len()).sum();
    }

    /// Drops all chunks.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.bytes = 0;
    }

    /// The numbers of the records of each chunk.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.chunks.iter().map(|(_, chunk)| chunk.first..chunk.end())
    }

    /// The number of the first record.
    pub fn first(&self) -> Option<u64> {
        self.chunks.front().map(|(_, chunk)| chunk.first)
    }

    /// The oldest chunk.
    pub fn front(&self) -> Option<&Unsealed> {
        self.chunks.front().map(|(_, chunk)| chunk)
    }

    /// Whether the next batch would gain nothing by waiting for more.
    pub fn is_full(&self) -> bool {
        let front = self.chunks.front().map_or(0, |(_, chunk)| chunk.records.bytes.len());
        self.bytes >= self.batch_size || front > self.batch_size / JOINED_CHUNKS_MIN
    }

    /// The oldest chunk with as many of the following ones as fit into one batch, are compressed
    /// alike, and have no dropped records in between.
    ///
    /// # Errors
    /// When the records of one cannot be read.
    pub fn pop(&mut self) -> Result<Option<Unsealed>, RecordsError> {
        let Some((_, mut oldest)) = self.chunks.pop_front() else { return Ok(None) };
        let mut size = oldest.records.bytes.len();
        let (mut end, batch_size) = (oldest.end(), self.batch_size);
        let mut joined = vec![std::mem::take(&mut oldest.records)];
        let fits = |size: usize, end: u64, next: &Unsealed| {
            let more = next.records.bytes.len();
            let is_next =
                next.first == end && next.codec == oldest.codec && next.is_with(&oldest.transaction);
            is_next && more <= batch_size / JOINED_CHUNKS_MIN && size + more <= batch_size
        };
        while let Some((_, next)) = self.chunks.pop_front_if(|chunk| fits(size, end, &chunk.1)) {
            size += next.records.bytes.len();
            end = next.end();
            joined.push(next.records);
        }
        self.bytes -= size;
        oldest.records = if joined.len() == 1 { joined.remove(0) } else { EncodedBatch::join(joined)? };
        Ok(Some(oldest))
    }

    /// Until when the oldest chunk has to linger, if it still has to.
    pub fn lingers_until(&self) -> Option<Instant> {
        let (since, _) = self.chunks.front().filter(|_| self.bytes < self.batch_size)?;
        Some(*since + self.linger).filter(|until| *until > Instant::now())
    }

    /// No more chunks will come: there is nothing to linger for.
    pub fn hurry(&mut self) {
        self.linger = Duration::ZERO;
    }

    /// Uncompressed records of this size were too large for the broker in one batch: what waits, and what comes, is
    /// cut before it is sent.
    ///
    /// # Errors
    /// When the records of a chunk cannot be read.
    pub fn cut_below(&mut self, size: usize) -> Result<(), RecordsError> {
        if size > self.limit {
            return Ok(());
        }
        self.limit = size.saturating_sub(1);
        self.bytes = 0;
        for (_, chunk) in std::mem::take(&mut self.chunks) {
            self.push(chunk)?;
        }
        Ok(())
    }

    /// A batch of this size was too large for the broker.
    pub fn too_large(&mut self, size: usize) {
        self.batch_size = self.batch_size.min(size / 2);
    }
}

#[cfg(test)]
mod tests {
    use topicmill_records::{Compression, NO_HEADERS, RecordWriter};

    use super::*;
    use crate::NativeSettings;

    fn waiting(batch_size: usize, limit: usize, linger: Duration) -> WaitingRecords {
        let mut produce = NativeSettings::default().produce;
        (produce.batch_size, produce.max_request_size, produce.linger) = (batch_size, limit, linger);
        WaitingRecords::new(&produce)
    }

    /// A chunk of `count` records of about 100 bytes each.
    fn chunk(first: u64, count: usize) -> Unsealed {
        let mut writer = RecordWriter::new(usize::MAX, 0);
        (0..count).for_each(|_| writer.push(1, None, Some(&[&[b'x'; 92]]), NO_HEADERS));
        Unsealed { records: writer.finish().remove(0), first, codec: Codec::default(), transaction: None }
    }

    /// The number of the first record and the count of each wire batch.
    fn batches(waiting: &mut WaitingRecords) -> Vec<(u64, u32)> {
        let next = || waiting.pop().unwrap().map(|batch| (batch.first, batch.records.count));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn small_chunks_are_joined_up_to_the_size_of_a_batch_and_large_ones_go_as_they_are() {
        let mut waiting = waiting(10_000, 1 << 20, Duration::ZERO);
        let mut first = 0;
        for count in [10, 10, 20, 40, 10, 10, 80, 10, 20] {
            waiting.push(chunk(first, count)).unwrap();
            first += count as u64;
        }
        assert_eq!(batches(&mut waiting), [(0, 40), (40, 60), (100, 90), (190, 20)]);
        assert_eq!(waiting.bytes, 0);
        // The broker has said that it accepts less.
        waiting.too_large(4000);
        (0..5).for_each(|i| waiting.push(chunk(i * 4, 4)).unwrap());
        assert_eq!(batches(&mut waiting), [(0, 16), (16, 4)]);
    }

    #[test]
    fn only_what_follows_and_is_compressed_alike_is_joined() {
        let mut waiting = waiting(10_000, 1 << 20, Duration::ZERO);
        for (i, source) in [0, 1, 1, 1, 1, 0].into_iter().enumerate() {
            let codec = Codec::from(Compression::ALL[source]);
            waiting.push(Unsealed { codec, ..chunk(i as u64 * 4, 4) }).unwrap();
        }
        waiting.forget(std::slice::from_ref(&(8..12)));
        assert_eq!(batches(&mut waiting), [(0, 4), (4, 4), (12, 8), (20, 4)]);
        assert_eq!(waiting.bytes, 0);
    }

    #[test]
    fn no_batch_is_larger_than_a_request_may_be_unless_a_record_is() {
        let mut waiting = waiting(1 << 20, 2000, Duration::ZERO);
        waiting.push(chunk(5, 50)).unwrap();
        let cut = batches(&mut waiting);
        assert!(cut.iter().all(|(_, count)| *count <= 20), "{cut:?}");
        assert_eq!((cut[0].0, cut.iter().map(|(_, count)| count).sum()), (5, 50u32));
        let mut tiny = self::waiting(100, 100, Duration::ZERO);
        tiny.push(chunk(0, 2)).unwrap();
        assert_eq!(batches(&mut tiny), [(0, 1), (1, 1)]);
    }

    #[test]
    fn what_was_too_large_is_cut_before_it_is_sent() {
        let mut waiting = waiting(10_000, 1 << 20, Duration::ZERO);
        waiting.push(chunk(0, 100)).unwrap();
        waiting.push(chunk(100, 1)).unwrap();
        waiting.cut_below(3000).unwrap();
        waiting.push(chunk(101, 48)).unwrap();
        waiting.cut_below(6000).unwrap();
        assert_eq!(waiting.first(), Some(0));
        waiting.too_large(3000);
        assert_eq!(
            batches(&mut waiting),
            [(0, 25), (25, 25), (50, 25), (75, 25), (100, 1), (101, 24), (125, 24)]
        );
        assert_eq!(waiting.bytes, 0);
    }

    #[test]
    fn what_is_not_full_lingers_if_it_is_told_to() {
        let mut waiting = waiting(10_000, 1 << 20, Duration::from_secs(60));
        assert_eq!(waiting.lingers_until(), None, "nothing waits");
        waiting.push(chunk(0, 10)).unwrap();
        assert!(waiting.lingers_until().is_some());
        waiting.push(chunk(10, 100)).unwrap();
        assert_eq!(waiting.lingers_until(), None, "there is a full batch");
        waiting.pop().unwrap();
        waiting.pop().unwrap();
        waiting.push(chunk(110, 1)).unwrap();
        waiting.hurry();
        assert_eq!(waiting.lingers_until(), None);
    }
}

//! Takes a batch apart again when a broker does not accept it as it is, and joins small ones.

use std::ops::Range;

use super::{BatchHeader, Compression, EncodedBatch, HEADER_LEN, RecordWriter, RecordsError, walk};
use crate::Record;

impl EncodedBatch {
    /// The batch that [`seal`](EncodedBatch::seal) made `wire` of, to be cut and sealed again.
    ///
    /// # Errors
    /// When `wire` is not a sealed batch.
    pub fn unseal(wire: &[u8]) -> Result<EncodedBatch, RecordsError> {
        let header = BatchHeader::read(wire)?;
        header.check_crc(wire)?;
        let mut bytes = vec![0; HEADER_LEN];
        let codec = Compression::of(&header)?;
        let unpacked = codec.decompress(&wire[HEADER_LEN..header.size], &mut bytes, i32::MAX as usize);
        unpacked.map_err(|error| RecordsError::Decompress {
            base_offset: header.base_offset,
            codec: codec.as_str(),
            message: error.to_string(),
        })?;
        Ok(EncodedBatch {
            bytes: bytes.into(),
            count: header.count as u32,
            base_timestamp: header.base_timestamp,
            max_timestamp: header.max_timestamp,
        })
    }

    /// The records of each range as a batch of their own; of an empty range there is none.
    ///
    /// # Errors
    /// When `bytes` and `count` are not what a [`RecordWriter`] wrote, or a range goes beyond.
    pub fn cut(&self, ranges: &[Range<usize>]) -> Result<Vec<EncodedBatch>, RecordsError> {
        let records = self.records()?;
        let mut batches = Vec::with_capacity(ranges.len());
        for range in ranges {
            let malformed =
                RecordsError::Malformed { base_offset: 0, what: "it has fewer records than are asked for" };
            let records = records.get(range.clone()).ok_or(malformed)?;
            let mut writer = RecordWriter::new(usize::MAX, self.bytes.len() / ranges.len());
            records.iter().for_each(|record| self.copy(record, &mut writer));
            batches.extend(writer.finish());
        }
        Ok(batches)
    }

    /// All records of `batches`, in order, in one batch.
    ///
    /// # Errors
    /// When one is not what a [`RecordWriter`] wrote.
    pub fn join(batches: Vec<EncodedBatch>) -> Result<EncodedBatch, RecordsError> {
        let more: usize =
            batches.iter().skip(1).map(|batch| batch.bytes.len() + 4 * batch.count as usize).sum();
        let mut batches = batches.into_iter();
        let mut first = batches.next().unwrap_or_default();
        first.bytes.reserve(first.bytes.len() + more);
        let mut writer = RecordWriter::resume(first);
        for batch in batches {
            batch.records()?.iter().for_each(|record| batch.copy(record, &mut writer));
        }
        Ok(writer.finish().pop().unwrap_or_default())
    }

    /// The records in order; their spans lie in `bytes`, and offsets count from 0.
    ///
    /// # Errors
    /// When `bytes` and `count` are not what a [`RecordWriter`] wrote.
    pub fn records(&self) -> Result<Vec<Record>, RecordsError> {
        // Without room by the count, which may be wrong: `walk` makes as much as the bytes can fill.
        let mut records = Vec::new();
        walk(&self.header(), &self.bytes, HEADER_LEN, self.bytes.len(), 0, &mut records)?;
        Ok(records)
    }

    fn copy(&self, record: &Record, writer: &mut RecordWriter) {
        let [key, value, headers] =
            [record.key, record.value, record.headers].map(|span| span.get(&self.bytes));
        let value = value.as_ref().map(std::slice::from_ref);
        writer.push(record.timestamp, key, value, headers.unwrap_or_default());
    }

    /// The header that reading the records needs.
    fn header(&self) -> BatchHeader {
        BatchHeader {
            base_offset: 0,
            size: self.bytes.len(),
            leader_epoch: -1,
            crc: 0,
            attributes: 0,
            last_offset_delta: self.count as i32 - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: self.count as i32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Assembler, HeadersWriter, ProducerStamp, Span};

    fn batch(values: &[Vec<u8>]) -> EncodedBatch {
        let mut headers = HeadersWriter::default();
        headers.push(b"trace", None);
        let headers = headers.finish();
        let mut writer = RecordWriter::new(1 << 30, 0);
        for (i, value) in values.iter().enumerate() {
            let key = (i % 3 == 0).then_some(&b"k"[..]);
            let value = (!value.is_empty()).then_some(&value[..]);
            writer.push(100 - i as i64, key, value.as_ref().map(std::slice::from_ref), &headers);
        }
        writer.finish().remove(0)
    }

    fn values(lengths: impl Iterator<Item = usize>) -> Vec<Vec<u8>> {
        lengths.map(|length| vec![b'x'; length]).collect()
    }

    /// Timestamp, key, value and headers of each record.
    fn contents(batch: EncodedBatch) -> Vec<(i64, [Option<Vec<u8>>; 3])> {
        let wire = batch.seal(ProducerStamp::NONE, Compression::None);
        let piece = Assembler::new(wire, 0, Vec::new(), Default::default()).next().unwrap().unwrap();
        let owned = |span: Span| span.get(&piece.buffer).map(<[u8]>::to_vec);
        piece.records.iter().map(|r| (r.timestamp, [r.key, r.value, r.headers].map(owned))).collect()
    }

    #[test]
    fn the_parts_hold_their_records_and_joined_they_are_the_whole() {
        let whole = batch(&values((0..101).map(|i| i * 7 % 90)));
        let parts = whole.cut(&[0..30, 30..31, 31..31, 31..101]).unwrap();
        assert_eq!(parts.iter().map(|part| part.count).collect::<Vec<_>>(), [30, 1, 70]);
        assert_eq!((parts[0].max_timestamp, parts[1].base_timestamp), (100, 70));
        assert_eq!(parts.iter().cloned().flat_map(contents).collect::<Vec<_>>(), contents(whole.clone()));
        assert_eq!(EncodedBatch::join(parts).unwrap(), whole);
    }

    #[test]
    fn many_small_batches_are_joined() {
        let small: Vec<_> = (0..500).map(|i| batch(&values(i % 40..i % 40 + 10))).collect();
        let joined = EncodedBatch::join(small.clone()).unwrap();
        assert_eq!((joined.count, joined.max_timestamp), (5000, 100));
        assert_eq!(contents(joined), small.into_iter().flat_map(contents).collect::<Vec<_>>());
    }

    #[test]
    fn rubbish_and_ranges_beyond_the_end_are_errors() {
        assert!(matches!(batch(&values(1..4)).cut(&[0..1, 1..4]), Err(RecordsError::Malformed { .. })));
        let rubbish = EncodedBatch { bytes: vec![7; 100].into(), count: 3, ..EncodedBatch::default() };
        assert!(matches!(rubbish.cut(&[0..1, 1..3]), Err(RecordsError::Malformed { .. })));
        let joined = EncodedBatch::join(vec![batch(&values(1..4)), rubbish.clone()]);
        assert!(matches!(joined, Err(RecordsError::Malformed { .. })));
        // Room for so many records cannot be had.
        let sealed =
            EncodedBatch { count: i32::MAX as u32, ..rubbish }.seal(ProducerStamp::NONE, Compression::None);
        let unsealed = EncodedBatch::unseal(&sealed).unwrap();
        assert!(matches!(unsealed.records(), Err(RecordsError::Malformed { .. })));
    }

    #[test]
    fn unseal_undoes_seal() {
        let whole = batch(&vec![vec![b'x'; 80]; 50]);
        for codec in Compression::ALL {
            let wire = whole.clone().seal(ProducerStamp::NONE, codec);
            let unsealed = EncodedBatch::unseal(&wire).unwrap();
            assert_eq!(unsealed.bytes[HEADER_LEN..], whole.bytes[HEADER_LEN..], "{codec}");
            assert_eq!((unsealed.count, unsealed.max_timestamp), (whole.count, whole.max_timestamp));
        }
        assert!(EncodedBatch::unseal(&whole.bytes).is_err());
    }
}

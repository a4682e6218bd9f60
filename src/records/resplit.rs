//! Halves a batch that the broker found too large.

use super::{BatchHeader, Compression, EncodedBatch, HEADER_LEN, RecordWriter, RecordsError, walk};
use crate::batch::Record;

impl EncodedBatch {
    /// The batch that [`seal`](EncodedBatch::seal) made `wire` of, to be split and sealed anew.
    ///
    /// # Errors
    /// When `wire` is not a sealed batch.
    pub fn unseal(wire: &[u8]) -> Result<EncodedBatch, RecordsError> {
        let header = BatchHeader::read(wire)?;
        header.check_crc(wire)?;
        let mut bytes = vec![0; HEADER_LEN];
        Compression::of(&header)?.unpack(&header, wire, &mut bytes, i32::MAX as usize)?;
        Ok(EncodedBatch {
            bytes,
            count: header.count as u32,
            base_timestamp: header.base_timestamp,
            max_timestamp: header.max_timestamp,
        })
    }

    /// The records in two batches of about the same size; `None` for a single record. For a
    /// broker that answers `MESSAGE_TOO_LARGE`.
    ///
    /// # Errors
    /// When `bytes` and `count` are not what a [`RecordWriter`] wrote.
    pub fn split(&self) -> Result<Option<(EncodedBatch, EncodedBatch)>, RecordsError> {
        let end = self.bytes.len();
        let mut records = Vec::new();
        walk(&self.header(), &self.bytes, HEADER_LEN, end, 0, &mut records)?;
        let Some(last) = records.len().checked_sub(1).filter(|&last| last > 0) else {
            return Ok(None);
        };
        // What ends beyond the middle goes to the second half.
        let middle = (HEADER_LEN + end) / 2;
        let is_first = |r: &Record| r.headers.start() + r.headers.len() <= middle;
        let (first, second) = records.split_at(records.partition_point(is_first).clamp(1, last));
        Ok(Some((self.part(first), self.part(second))))
    }

    /// Some of the records as a batch of their own.
    fn part(&self, records: &[Record]) -> EncodedBatch {
        let mut writer = RecordWriter::new(usize::MAX, self.bytes.len() / 2);
        for record in records {
            let [key, value, headers] =
                [record.key, record.value, record.headers].map(|span| span.get(&self.bytes));
            let value = value.as_ref().map(std::slice::from_ref);
            writer.push(record.timestamp, key, value, headers.unwrap_or_default());
        }
        writer.finish().swap_remove(0)
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
    use crate::records::{Assembler, HeadersWriter, ProducerStamp};

    fn batch(values: &[Vec<u8>]) -> EncodedBatch {
        let mut headers = HeadersWriter::default();
        headers.push(b"trace", None);
        let headers = headers.finish();
        let mut writer = RecordWriter::new(1 << 30, 0);
        for (i, value) in values.iter().enumerate() {
            let value = (!value.is_empty()).then_some(&value[..]);
            writer.push(100 - i as i64, Some(b"k"), value.as_ref().map(std::slice::from_ref), &headers);
        }
        writer.finish().remove(0)
    }

    /// Timestamp, value and headers of each record.
    fn contents(batch: EncodedBatch) -> Vec<(i64, Option<Vec<u8>>, Vec<u8>)> {
        let wire = batch.seal(ProducerStamp::NONE, Compression::None);
        let piece = Assembler::new(wire, 0, Vec::new(), Default::default()).next().unwrap().unwrap();
        let owned = |span: crate::batch::Span| span.get(&piece.buffer).map(<[u8]>::to_vec);
        piece.records.iter().map(|r| (r.timestamp, owned(r.value), owned(r.headers).unwrap())).collect()
    }

    #[test]
    fn the_halves_hold_all_records_in_order() {
        let values: Vec<Vec<u8>> = (0..101).map(|i| vec![b'x'; i * 7 % 90]).collect();
        let whole = batch(&values);
        let (first, second) = whole.split().unwrap().unwrap();
        let (a, b) = (first.bytes.len(), second.bytes.len());
        assert!(a.abs_diff(b) < 300, "{a} and {b} bytes");
        assert_eq!((first.max_timestamp, second.base_timestamp), (100, second.max_timestamp));
        let joined = [contents(first), contents(second)].concat();
        assert_eq!(joined, contents(whole));
    }

    #[test]
    fn a_large_record_at_either_end_is_parted_from_the_rest() {
        let (small, large) = (vec![b's'; 10], vec![b'l'; 1000]);
        for values in [vec![large.clone(), small.clone(), small.clone()], vec![small.clone(), small, large]] {
            let (first, second) = batch(&values).split().unwrap().unwrap();
            assert_eq!(first.count + second.count, 3);
            assert!(first.count == 1 || second.count == 1);
        }
    }

    #[test]
    fn a_single_record_cannot_be_split_and_rubbish_is_an_error() {
        assert_eq!(batch(&[vec![b'x'; 100]]).split(), Ok(None));
        let rubbish = EncodedBatch { bytes: vec![7; 100], count: 3, ..EncodedBatch::default() };
        assert!(matches!(rubbish.split(), Err(RecordsError::Malformed { .. })));
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

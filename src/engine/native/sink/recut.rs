//! Takes a sealed batch apart again, when the broker does not take it as it is. A rare path.

use std::ops::Range;

use bytes::Bytes;

use crate::records::{BatchHeader, Compression, EncodedBatch, HEADER_LEN, RecordWriter, RecordsError, walk};

/// The greatest size in bytes that a batch of our own making decompresses to.
const LIMIT: usize = i32::MAX as usize;

/// The records of each range, as batches of their own.
pub fn cut(sealed: &[u8], ranges: &[Range<usize>]) -> Result<Vec<EncodedBatch>, RecordsError> {
    let header = BatchHeader::read(sealed)?;
    let mut body = Vec::new();
    let compression = Compression::from_id(header.codec())
        .ok_or(RecordsError::Malformed { base_offset: 0, what: "its compression is unknown" })?;
    compression.decompress(&sealed[HEADER_LEN..header.size], &mut body, LIMIT).map_err(|e| {
        RecordsError::Decompress { base_offset: 0, codec: compression.as_str(), message: e.to_string() }
    })?;
    let mut records = Vec::new();
    walk(&header, &body, 0, body.len(), 0, &mut records)?;
    let mut batches = Vec::new();
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        let records = records
            .get(range.clone())
            .ok_or(RecordsError::Malformed { base_offset: 0, what: "it has fewer records than that" })?;
        let mut writer = RecordWriter::new(usize::MAX, body.len() + HEADER_LEN);
        for record in records {
            let value = record.value.get(&body).map(|value| [value]);
            let headers = record.headers.get(&body).unwrap_or_default();
            writer.push(
                record.timestamp,
                record.key.get(&body),
                value.as_ref().map(|pieces| &pieces[..]),
                headers,
            );
        }
        batches.extend(writer.finish());
    }
    Ok(batches)
}

/// What is left of `count` records without those at the `refused` indexes, as runs.
pub fn runs(count: usize, refused: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    for index in refused.take_while(|index| *index < count) {
        runs.push(start..index);
        start = index + 1;
    }
    runs.push(start..count);
    runs.retain(|run| !run.is_empty());
    runs
}

/// The same sealed batch with another sequence number.
pub fn restamp(sealed: &Bytes, sequence: i32) -> Bytes {
    let mut bytes = sealed.to_vec();
    bytes[53..57].copy_from_slice(&sequence.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{NO_HEADERS, ProducerStamp};

    fn sealed(compression: Compression) -> Bytes {
        let mut writer = RecordWriter::new(usize::MAX, 0);
        for i in 0..100u8 {
            let value = [i; 50];
            let key = (i % 3 == 0).then_some(&value[..1]);
            let pieces = [&value[..]];
            let value = (i % 7 != 0).then_some(&pieces[..]);
            writer.push(1000 + i64::from(i), key, value, NO_HEADERS);
        }
        let stamp = ProducerStamp { producer_id: 5, epoch: 1, base_sequence: 10, transactional: false };
        writer.finish().remove(0).seal(stamp, compression)
    }

    #[test]
    fn cut_batches_put_together_are_the_whole() {
        for compression in [Compression::None, Compression::Zstd, Compression::Lz4] {
            let whole = sealed(compression);
            let parts = cut(&whole, &[0..30, 30..31, 31..100]).unwrap();
            assert_eq!(parts.iter().map(|part| part.count).collect::<Vec<_>>(), [30, 1, 69]);
            assert_eq!(parts[1].base_timestamp, 1030);
            let mut values = Vec::new();
            for part in parts {
                let part = part.seal(ProducerStamp::NONE, Compression::None);
                let header = BatchHeader::read(&part).unwrap();
                let mut records = Vec::new();
                walk(&header, &part, HEADER_LEN, part.len(), 0, &mut records).unwrap();
                values.extend(
                    records
                        .iter()
                        .map(|record| (record.timestamp, record.value.get(&part).map(<[u8]>::to_vec))),
                );
            }
            let expected: Vec<_> =
                (0..100u8).map(|i| (1000 + i64::from(i), (i % 7 != 0).then(|| vec![i; 50]))).collect();
            assert_eq!(values, expected);
        }
    }

    #[test]
    fn runs_leave_out_what_is_refused() {
        assert_eq!(runs(5, [1, 3].into_iter()), [0..1, 2..3, 4..5]);
        assert!(runs(3, [0, 1, 2].into_iter()).is_empty());
        assert_eq!(runs(2, [7].into_iter()), runs(2, std::iter::empty()));
    }

    #[test]
    fn a_restamped_batch_is_whole() {
        let bytes = restamp(&sealed(Compression::None), 77);
        let header = BatchHeader::read(&bytes).unwrap();
        assert_eq!(header.base_sequence, 77);
        header.check_crc(&bytes).unwrap();
    }
}

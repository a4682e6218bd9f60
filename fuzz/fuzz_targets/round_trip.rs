//! Any records, written, compressed, cut, joined and read again.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use topicmill_fuzz::{Plain, RECORD_BYTES_MAX, read_all};
use topicmill_records::{
    AssembleSettings, Codec, Compression, EncodedBatch, HeadersWriter, ProducerStamp, RecordWriter, layout,
};

const BASE_OFFSET: i64 = 1000;

#[derive(Arbitrary, Debug)]
struct Input {
    records: Vec<Written>,
    codec: u8,
    level: Option<i8>,
    limit: u16,
    skip: u8,
    max_bytes: u16,
    max_records: u8,
    cut_at: u8,
}

#[derive(Arbitrary, Debug)]
struct Written {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    /// How often the value is repeated, so that lengths of several bytes need no long input.
    times: u8,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fuzz_target!(|input: Input| {
    let records: Vec<Plain> = input.records.into_iter().zip(BASE_OFFSET..).map(plain).collect();
    let bytes: usize = records.iter().map(|record| record.value.as_ref().map_or(0, Vec::len)).sum();
    if bytes > RECORD_BYTES_MAX / 2 {
        return;
    }
    let batches = encode(&records, input.limit.into());
    assert!(batches.iter().all(|batch| batch.count == 1 || batch.bytes.len() <= input.limit.into()));
    let codec = Codec {
        compression: Compression::ALL[usize::from(input.codec) % Compression::ALL.len()],
        // The highest take memory and time of their own.
        level: input.level.map(|level| i32::from(level) % 10),
    };
    let settings = AssembleSettings {
        max_bytes: input.max_bytes.into(),
        max_records: usize::from(input.max_records).max(1),
        ..AssembleSettings::default()
    };
    let expected = &records[usize::from(input.skip).min(records.len())..];
    let from = BASE_OFFSET + i64::from(input.skip);
    assert_eq!(read_all(wire(batches.clone(), codec), from, settings), (expected.to_vec(), Some(Ok(()))));
    if batches.is_empty() {
        return;
    }

    let joined = EncodedBatch::join(batches).expect("they were written here");
    assert_eq!(joined.count as usize, records.len());
    let at = usize::from(input.cut_at).min(records.len());
    let parts = joined.cut(&[0..at, at..records.len()]).expect("the ranges exist");
    let whole = AssembleSettings::default();
    assert_eq!(read_all(wire(parts, codec), 0, whole), (records.clone(), Some(Ok(()))));

    let sealed = joined.clone().seal(ProducerStamp::NONE, codec);
    let unsealed = EncodedBatch::unseal(&sealed).expect("it was sealed here");
    assert_eq!(unsealed.records(), joined.records());
    let stamp = ProducerStamp { producer_id: 7, epoch: 3, base_sequence: 11, transactional: false };
    assert_eq!(layout::restamp(&sealed, stamp), joined.seal(stamp, codec), "as if it had been sealed so");
});

fn plain((written, offset): (Written, i64)) -> Plain {
    let Written { timestamp, key, value, times, headers } = written;
    let value = value.map(|value| value.repeat(times.into()));
    Plain { offset, timestamp, key, value, headers }
}

fn encode(records: &[Plain], limit: usize) -> Vec<EncodedBatch> {
    let mut writer = RecordWriter::new(limit, 100);
    for record in records {
        let mut headers = HeadersWriter::default();
        record.headers.iter().for_each(|(key, value)| headers.push(key, value.as_deref()));
        // The value in two pieces, as a transform writes it.
        let pieces = record.value.as_deref().map(|value| value.split_at(value.len() / 3));
        let pieces = pieces.map(|(front, back)| [front, back]);
        let value = pieces.as_ref().map(|pieces| &pieces[..]);
        writer.push(record.timestamp, record.key.as_deref(), value, &headers.finish());
    }
    writer.finish()
}

/// The batches sealed and one after the other, as a broker stores them.
fn wire(batches: Vec<EncodedBatch>, codec: Codec) -> Bytes {
    let mut bytes = BytesMut::new();
    let mut base_offset = BASE_OFFSET;
    for batch in batches {
        let count = batch.count;
        let mut sealed = batch.seal(ProducerStamp::NONE, codec).to_vec();
        layout::BASE_OFFSET.put(&mut sealed, base_offset.to_be_bytes());
        bytes.extend_from_slice(&sealed);
        base_offset += i64::from(count);
    }
    bytes.freeze()
}

//! Properties of the codec as a whole: what is written is read, by this codec and by an independent
//! implementation, and no bytes make reading panic or point outside its buffer.

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    indexmap::IndexMap,
    protocol::StrBytes,
    records as other,
    records::{RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions},
};
use proptest::{collection::vec, option, prelude::*, sample::Index};

use super::*;

/// A record with its parts owned.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

const STAMP: ProducerStamp =
    ProducerStamp { producer_id: 5, epoch: 2, base_sequence: 100, transactional: false };

fn blob() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), 0..70), 1 => vec(any::<u8>(), 120..140), 1 => vec(0u8..3, 8100..8300)]
}

fn record() -> impl Strategy<Value = Plain> {
    let timestamp = prop_oneof![4 => 1_700_000_000_000..1_700_000_100_000i64, 1 => any::<i64>()];
    let headers = prop_oneof![3 => Just(Vec::new()), 1 => vec((blob(), option::of(blob())), 0..4)];
    (timestamp, option::of(blob()), option::of(blob()), headers)
        .prop_map(|(timestamp, key, value, headers)| Plain { timestamp, key, value, headers })
}

fn encode(records: &[Plain], limit: usize) -> Vec<EncodedBatch> {
    let mut writer = RecordWriter::new(limit, 100);
    for record in records {
        let mut headers = HeadersWriter::default();
        record.headers.iter().for_each(|(key, value)| headers.push(key, value.as_deref()));
        // The value in three pieces, split at thirds.
        let pieces = record.value.as_deref().map(|v| {
            let (a, rest) = v.split_at(v.len() / 3);
            let (b, c) = rest.split_at(rest.len() / 2);
            [a, b, c]
        });
        let value = pieces.as_ref().map(|pieces| &pieces[..]);
        writer.push(record.timestamp, record.key.as_deref(), value, &headers.finish());
    }
    writer.finish()
}

/// Seals the batches one after the other from `base_offset` on, as a broker would store them.
fn wire(batches: Vec<EncodedBatch>, mut base_offset: i64, codec: Compression) -> Bytes {
    let mut bytes = BytesMut::new();
    for batch in batches {
        let count = batch.count;
        bytes.extend_from_slice(&base_offset.to_be_bytes());
        bytes.extend_from_slice(&batch.seal(STAMP, codec)[8..]);
        base_offset += i64::from(count);
    }
    bytes.freeze()
}

/// All records of `bytes` and their offsets.
fn read(bytes: Bytes, from: i64) -> Result<Vec<(i64, Plain)>, RecordsError> {
    read_in_pieces(bytes, from, AssembleSettings::default())
}

fn read_in_pieces(
    bytes: Bytes,
    from: i64,
    settings: AssembleSettings,
) -> Result<Vec<(i64, Plain)>, RecordsError> {
    let mut all = Vec::new();
    for piece in Assembler::new(bytes, from, Vec::new(), settings) {
        let piece = piece?;
        let owned = |span: crate::Span| span.get(&piece.buffer).map(<[u8]>::to_vec);
        all.extend(piece.records.iter().map(|record| {
            let headers = Headers::new(record.headers.get(&piece.buffer).unwrap());
            let headers = headers.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
            let (key, value) = (owned(record.key), owned(record.value));
            (record.offset, Plain { timestamp: record.timestamp, key, value, headers })
        }));
    }
    Ok(all)
}

/// Reads `bytes` in every way and checks what has to hold of anything that is read.
fn read_safely(bytes: &Bytes) {
    for (read_committed, check_crc) in [(true, true), (true, false), (false, false)] {
        let settings =
            AssembleSettings { read_committed, check_crc, max_bytes: 1 << 16, ..AssembleSettings::default() };
        let aborted = vec![AbortedTransaction { producer_id: 5, first_offset: 0 }];
        let mut assembler = Assembler::new(bytes.clone(), 3, aborted, settings);
        let mut previous = 2;
        while let Some(piece) = assembler.next() {
            let Ok(piece) = piece else {
                assert!(assembler.next().is_none(), "something follows an error");
                break;
            };
            for record in &piece.records {
                assert!(record.offset > previous && record.offset < piece.next_offset);
                previous = record.offset;
                record.key.get(&piece.buffer);
                record.value.get(&piece.buffer);
                Headers::new(record.headers.get(&piece.buffer).unwrap()).for_each(drop);
            }
            assert!(piece.next_offset > previous);
        }
    }
}

fn to_other(record: &Plain, offset: i64) -> other::Record {
    let keys = (0..record.headers.len()).map(|i| StrBytes::from_string(format!("header {i}")));
    let values = record.headers.iter().map(|(_, value)| value.clone().map(Bytes::from));
    other::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: STAMP.producer_id,
        producer_epoch: STAMP.epoch,
        timestamp_type: other::TimestampType::Creation,
        offset,
        sequence: STAMP.base_sequence + offset as i32,
        timestamp: record.timestamp,
        key: record.key.clone().map(Bytes::from),
        value: record.value.clone().map(Bytes::from),
        headers: keys.zip(values).collect::<IndexMap<_, _>>(),
    }
}

/// Gives the headers the keys that [`to_other`] gives them, and a timestamp of this century:
/// the other implementation's differences of timestamps overflow.
fn with_header_names(mut record: Plain) -> Plain {
    record.headers.iter_mut().enumerate().for_each(|(i, header)| header.0 = format!("header {i}").into());
    record.timestamp &= (1 << 42) - 1;
    record
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_read(
        records in vec(record(), 1..40),
        limit in prop_oneof![Just(1usize << 20), 100..20_000usize],
        codec in 0..5i16,
        skip in 0..50i64,
        max_bytes in 1..10_000usize,
        max_records in 1..20usize,
    ) {
        let codec = Compression::from_id(codec).unwrap();
        let batches = encode(&records, limit);
        prop_assert!(batches.iter().all(|batch| batch.count == 1 || batch.bytes.len() <= limit));
        let bytes = wire(batches, 1000, codec);
        let expected: Vec<_> = (1000..).zip(records).skip(skip as usize).collect();
        prop_assert_eq!(read(bytes.clone(), 1000 + skip).unwrap(), expected.clone());
        let small = AssembleSettings { max_bytes, max_records, ..AssembleSettings::default() };
        prop_assert_eq!(read_in_pieces(bytes, 1000 + skip, small).unwrap(), expected);
    }

    #[test]
    fn the_other_implementation_reads_what_we_write(records in vec(record(), 1..20)) {
        let records: Vec<Plain> = records.into_iter().map(with_header_names).collect();
        let mut bytes = wire(encode(&records, 1 << 20), 0, Compression::None);
        let read = RecordBatchDecoder::decode(&mut bytes).unwrap();
        let expected: Vec<_> = (0..).zip(&records).map(|(offset, record)| to_other(record, offset)).collect();
        prop_assert_eq!(read.records, expected);
    }

    #[test]
    fn the_other_implementation_reads_what_is_stamped_anew(
        records in vec(record(), 1..20),
        codec in 0..5i16,
        producer_id in 0..i64::MAX,
        epoch in 0..i16::MAX,
        base_sequence in 0..1_000_000i32,
        transactional in any::<bool>(),
    ) {
        let records: Vec<Plain> = records.into_iter().map(with_header_names).collect();
        let codec = Compression::from_id(codec).unwrap();
        let [batch] = encode(&records, usize::MAX).try_into().unwrap();
        let [other_one] = encode(&records, usize::MAX).try_into().unwrap();
        let stamp = ProducerStamp { producer_id, epoch, base_sequence, transactional };
        let stamped = layout::restamp(&batch.seal(ProducerStamp { transactional, ..STAMP }, codec), stamp);
        prop_assert_eq!(&stamped, &other_one.seal(stamp, codec), "as if it had been sealed so");
        if codec == Compression::None {
            let read = RecordBatchDecoder::decode(&mut stamped.clone()).unwrap();
            for (record, sequence) in read.records.iter().zip(base_sequence..) {
                prop_assert_eq!((record.producer_id, record.producer_epoch), (producer_id, epoch));
                prop_assert_eq!((record.sequence, record.transactional), (sequence, transactional));
            }
        }
    }

    #[test]
    fn we_read_what_the_other_implementation_writes(records in vec(record(), 1..20)) {
        let records: Vec<Plain> = records.into_iter().map(with_header_names).collect();
        let others: Vec<_> = (0..).zip(&records).map(|(offset, record)| to_other(record, offset)).collect();
        let mut bytes = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: other::Compression::None };
        RecordBatchEncoder::encode(&mut bytes, &others, &options).unwrap();
        let expected: Vec<_> = (0..).zip(records).collect();
        prop_assert_eq!(read(bytes.freeze(), 0).unwrap(), expected);
    }

    #[test]
    fn damaged_batches_never_panic(
        records in vec(record(), 1..10),
        codec in 0..5i16,
        damage in vec((any::<Index>(), any::<u8>()), 0..6),
        cut in option::of(any::<Index>()),
    ) {
        let mut bytes = wire(encode(&records, 500), 0, Compression::from_id(codec).unwrap()).to_vec();
        let len = bytes.len();
        damage.iter().for_each(|(at, byte)| bytes[at.index(len)] = *byte);
        bytes.truncate(cut.map_or(len, |cut| cut.index(len + 1)));
        read_safely(&bytes.into());
    }
}

#[test]
fn arbitrary_bytes_never_panic() {
    bolero::check!().with_iterations(5000).for_each(|input: &[u8]| {
        read_safely(&Bytes::copy_from_slice(input));
        // The same as the records of a batch with a sound header.
        for (codec, count) in [0u8, 1, 2, 3, 4].into_iter().zip([1i32, 2, 3, 50, i32::MAX]) {
            let batch = EncodedBatch {
                bytes: [&[0; HEADER_LEN], input].concat().into(),
                count: count as u32,
                ..EncodedBatch::default()
            };
            let mut bytes = batch.seal(STAMP, Compression::None).to_vec();
            bytes[22] = codec;
            read_safely(&bytes.into());
        }
    });
}

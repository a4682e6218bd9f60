//! Any bytes as a fetch response: no panic, bounded memory, and the same records whatever the pieces.
//!
//! Few inputs would get past a header's checks by themselves. The first bytes say how the rest is
//! wrapped: as it is, as the records of a batch or message with a sound header, or compressed within.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::{Corpus, fuzz_target};
use topicmill_fuzz::read_all;
use topicmill_records::{
    AssembleSettings, Codec, Compression, EncodedBatch, HEADER_LEN, ProducerStamp, WireBatch, layout,
};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&[how, settings, count], rest)) = input.split_first_chunk() else { return Corpus::Reject };
    let codec = Compression::ALL[usize::from(how >> 3) % Compression::ALL.len()];
    let bytes: Bytes = match how % 5 {
        0 => rest.to_vec(),
        1 => batch(codec, count, rest),
        2 => batch(codec, count, &compressed(codec, rest)),
        3 => message(how >> 6 & 1, codec, rest),
        _ => message(how >> 6 & 1, codec, &compressed(codec, rest)),
    }
    .into();
    read(bytes, settings);
    Corpus::Keep
});

fn read(bytes: Bytes, settings: u8) {
    let small = AssembleSettings {
        read_committed: settings & 1 != 0,
        check_crc: settings & 2 != 0,
        max_bytes: 1 << (settings >> 4),
        max_records: usize::from(settings >> 2 & 3) + 1,
    };
    let large = AssembleSettings { max_bytes: 1 << 20, max_records: usize::MAX, ..small };
    let (by_few, by_few_end) = read_all(bytes.clone(), 3, small);
    let (by_many, by_many_end) = read_all(bytes.clone(), 3, large);
    match (by_few_end, by_many_end) {
        (Some(Ok(())), Some(Ok(()))) => assert_eq!(by_few, by_many),
        // A batch that turns out to be broken was handed out in part if its pieces are small.
        (Some(Err(_)), Some(Err(_))) | (None, _) | (_, None) => {
            let both = by_few.len().min(by_many.len());
            assert_eq!(by_few[..both], by_many[..both]);
        }
        (few, many) => panic!("in small pieces {few:?}, in large ones {many:?}"),
    }
    if let Ok(batch) = WireBatch::read(&bytes) {
        assert!(batch.size() <= bytes.len());
    }
    // What was sealed is taken apart again when a broker refuses it; anything else is an error.
    if let Ok(batch) = EncodedBatch::unseal(&bytes)
        && let Ok(records) = batch.records()
    {
        let parts = batch.cut(&[0..records.len() / 2, records.len() / 2..records.len()]).expect("all exist");
        assert_eq!(parts.iter().map(|part| part.count).sum::<u32>() as usize, records.len());
    }
}

fn compressed(codec: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    Codec::from(codec).compress(bytes, &mut packed).expect("there is memory");
    packed
}

/// A record batch v2 of `records`, of `codec` by its header, with its checksum.
fn batch(codec: Compression, count: u8, records: &[u8]) -> Vec<u8> {
    // The greatest ones stand for counts that cannot be.
    let count = if count > 250 { i32::MAX as u32 } else { count.into() };
    let batch =
        EncodedBatch { bytes: [&[0; HEADER_LEN], records].concat().into(), count, ..EncodedBatch::default() };
    let mut bytes = batch.seal(ProducerStamp::NONE, Compression::None).to_vec();
    layout::ATTRIBUTES.put(&mut bytes, codec.id().to_be_bytes());
    layout::put_crc(&mut bytes);
    bytes
}

/// A message of the formats before, whose value is `value`, without its checksum.
fn message(magic: u8, codec: Compression, value: &[u8]) -> Vec<u8> {
    let mut rest = vec![0, 0, 0, 0, magic, codec.id() as u8];
    if magic == 1 {
        rest.extend_from_slice(&1_000_000i64.to_be_bytes());
    }
    rest.extend_from_slice(&(-1i32).to_be_bytes());
    rest.extend_from_slice(&(value.len() as i32).to_be_bytes());
    rest.extend_from_slice(value);
    [&5i64.to_be_bytes(), &(rest.len() as i32).to_be_bytes()[..], &rest].concat()
}

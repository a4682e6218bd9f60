use proptest::{collection::vec, option, prelude::*, sample::Index};

use super::*;
use crate::{
    AssembleSettings, Assembled, Assembler, Codec, NO_HEADERS, ProducerStamp, RecordWriter, WireBatch,
};

/// What a message says, as the encoder below takes it.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

/// How a set of messages is stored.
#[derive(Clone, Copy, Debug)]
struct Format {
    magic: u8,
    codec: Compression,
    /// The broker's timestamp, if that is what counts.
    append_time: Option<i64>,
}

/// An entry: offset, size, and the message with its checksum.
fn entry(offset: i64, magic: u8, attributes: u8, plain: &Plain) -> Vec<u8> {
    let mut body = vec![magic, attributes];
    if magic == 1 {
        body.extend(plain.timestamp.to_be_bytes());
    }
    for part in [&plain.key, &plain.value] {
        body.extend(part.as_ref().map_or(-1, |bytes| bytes.len() as i32).to_be_bytes());
        body.extend(part.iter().flatten());
    }
    let crc = crc_fast::crc32_iso_hdlc(&body);
    [&offset.to_be_bytes()[..], &(body.len() as i32 + 4).to_be_bytes(), &crc.to_be_bytes(), &body].concat()
}

/// The messages at their offsets, in one wrapper if they are compressed.
fn encode(format: Format, messages: &[(i64, Plain)]) -> Vec<u8> {
    let stamped = u8::from(format.append_time.is_some()) << 3;
    let first = messages[0].0;
    let inner = messages.iter().flat_map(|(offset, plain)| {
        let is_relative = format.magic == 1 && format.codec != Compression::None;
        let offset = if is_relative { offset - first } else { *offset };
        let timestamp = format.append_time.filter(|_| format.codec == Compression::None);
        let plain = Plain { timestamp: timestamp.unwrap_or(plain.timestamp), ..plain.clone() };
        entry(offset, format.magic, stamped, &plain)
    });
    let inner: Vec<u8> = inner.collect();
    if format.codec == Compression::None {
        return inner;
    }
    let mut packed = Vec::new();
    Codec::from(format.codec).compress(&inner, &mut packed).unwrap();
    if format.codec == Compression::Lz4 && format.magic == 0 {
        // The checksum as old clients computed it, over the magic number as well (KIP-57).
        packed[6] = (xxhash_rust::xxh32::xxh32(&packed[..6], 0) >> 8) as u8;
    }
    let last = messages.last().unwrap();
    let timestamp = format.append_time.unwrap_or(last.1.timestamp);
    let wrapper = Plain { timestamp, key: None, value: Some(packed) };
    entry(last.0, format.magic, stamped | format.codec.id() as u8, &wrapper)
}

fn pieces(bytes: Vec<u8>, from: i64, settings: AssembleSettings) -> Vec<Result<Assembled, RecordsError>> {
    Assembler::new(bytes.into(), from, Vec::new(), settings).collect()
}

/// The offsets and contents of all records.
fn read(bytes: Vec<u8>, from: i64, settings: AssembleSettings) -> Vec<(i64, Plain)> {
    let mut all = Vec::new();
    for piece in pieces(bytes, from, settings) {
        let piece = piece.unwrap();
        let owned = |span: Span| span.get(&piece.buffer).map(<[u8]>::to_vec);
        for record in &piece.records {
            assert_eq!(record.headers.get(&piece.buffer), Some(NO_HEADERS));
            assert!(record.offset < piece.next_offset);
            let (key, value) = (owned(record.key), owned(record.value));
            all.push((record.offset, Plain { timestamp: record.timestamp, key, value }));
        }
    }
    all
}

/// What is to be read of messages that were stored in `format`.
fn expected(format: Format, messages: &[(i64, Plain)]) -> Vec<(i64, Plain)> {
    let timestamp = |plain: &Plain| match format.magic {
        0 => -1,
        _ => format.append_time.unwrap_or(plain.timestamp),
    };
    messages
        .iter()
        .map(|(offset, plain)| (*offset, Plain { timestamp: timestamp(plain), ..plain.clone() }))
        .collect()
}

/// The five messages of `java_messages.txt` with the offsets that they have.
fn messages_of_java() -> Vec<(i64, Plain)> {
    let plain = |i: usize| {
        let value = format!(r#"{{"first_name":"Ada","last_name":"Lovelace","hash":"","n":{i}}}"#);
        Plain {
            timestamp: 1_700_000_000_000 + [0, -100, 200, -300, 400][i],
            key: (i != 0).then(|| format!("key-{i}").into_bytes()),
            value: (i != 1).then(|| value.into_bytes()),
        }
    };
    // Offsets 1004 and 1005 are missing, as after compaction.
    [1000, 1001, 1002, 1003, 1006].into_iter().zip((0..5).map(plain)).collect()
}

#[test]
fn messages_that_kafkas_own_library_writes_are_read() {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let mut all = Vec::new();
    let lines = include_str!("java_messages.txt").lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let [magic, codec, stamp, hex] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let bytes: Vec<u8> = hex.as_bytes().chunks(2).map(byte).collect();
        let append_time = (stamp == "append").then_some(1_700_000_009_000);
        let format = Format { magic: magic.parse().unwrap(), codec: codec.parse().unwrap(), append_time };
        let messages = messages_of_java();
        let name = format!("{magic} {codec} {stamp}");
        assert_eq!(read(bytes.clone(), 0, Default::default()), expected(format, &messages), "{name}");
        assert_eq!(read(bytes.clone(), 1002, Default::default()), expected(format, &messages[2..]), "{name}");
        let [piece] = &pieces(bytes, 0, Default::default())[..] else { panic!("{name}") };
        let piece = piece.as_ref().unwrap();
        assert_eq!((piece.next_offset, piece.compression), (1007, format.codec), "{name}");
        all.push((magic.to_owned(), codec.to_owned(), stamp.to_owned()));
    }
    assert_eq!(all.len(), 12);
}

#[test]
fn formats_that_follow_each_other_are_all_read() {
    let messages = messages_of_java();
    let old = |magic, codec| encode(Format { magic, codec, append_time: None }, &messages);
    let mut writer = RecordWriter::new(1 << 20, 0);
    writer.push(7, Some(b"key"), Some(&[b"new"]), NO_HEADERS);
    let mut new = writer.finish().remove(0).seal(ProducerStamp::NONE, Compression::None).to_vec();
    new[..8].copy_from_slice(&2000i64.to_be_bytes());
    // The entries of one magic lie before those of the next, but a leader may have both at once.
    let mut second = old(1, Compression::Gzip);
    second[..8].copy_from_slice(&1506i64.to_be_bytes());
    let bytes = [old(0, Compression::None), second, new].concat();
    let offsets: Vec<i64> = read(bytes.clone(), 0, Default::default()).iter().map(|(at, _)| *at).collect();
    assert_eq!(offsets, [1000, 1001, 1002, 1003, 1006, 1500, 1501, 1502, 1503, 1506, 2000]);
    let read: Vec<Assembled> =
        pieces(bytes, 1003, Default::default()).into_iter().map(Result::unwrap).collect();
    let ends: Vec<_> = read.iter().map(|piece| (piece.records.len(), piece.next_offset)).collect();
    assert_eq!(ends, [(2, 1007), (5, 1507), (1, 2001)]);
}

#[test]
fn what_is_wrong_is_told() {
    let messages = messages_of_java();
    let error = |bytes: Vec<u8>| {
        let all = pieces(bytes, 0, Default::default());
        all.into_iter().find_map(Result::err).expect("something is wrong")
    };
    for (magic, codec) in
        [(0, Compression::None), (1, Compression::None), (0, Compression::Lz4), (1, Compression::Gzip)]
    {
        let good = encode(Format { magic, codec, append_time: None }, &messages[..1]);
        for at in 16..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let error = error(bad);
            let is_told = matches!(
                error,
                RecordsError::Crc { .. } | RecordsError::Malformed { .. } | RecordsError::Magic { .. }
            );
            assert!(is_told, "{magic} {codec} {at}: {error}");
        }
        let cut = error(good[..good.len() - 1].to_vec());
        assert!(matches!(cut, RecordsError::Truncated { .. }), "{cut}");
    }
    // A wrapper's own checksum is right, and what stands in it is not.
    let wrapped = |inner: Vec<u8>, offset: i64| {
        let mut packed = Vec::new();
        Codec::from(Compression::Gzip).compress(&inner, &mut packed).unwrap();
        entry(offset, 1, 1, &Plain { timestamp: 0, key: None, value: Some(packed) })
    };
    let inner = encode(Format { magic: 1, codec: Compression::None, append_time: None }, &messages[..1]);
    let mut corrupt = inner.clone();
    *corrupt.last_mut().unwrap() ^= 1;
    assert!(matches!(error(wrapped(corrupt, 1000)), RecordsError::Crc { base_offset: 1000, .. }));
    for (bad, what) in [
        (wrapped(inner[..inner.len() - 1].to_vec(), 1000), "cut off"),
        (wrapped(Vec::new(), 1000), "no message within"),
        (wrapped(inner.clone(), 999), "less than that of a message within"),
        (wrapped(wrapped(inner.clone(), 1000), 1000), "compressed again"),
        (wrapped([inner.clone(), inner].concat(), 1000), "ascend"),
        (entry(5, 1, 1, &Plain { timestamp: 0, key: None, value: None }), "null"),
        (entry(5, 1, 4, &Plain { timestamp: 0, key: None, value: Some(vec![1]) }), "compression is unknown"),
    ] {
        let error = error(bad).to_string();
        assert!(error.contains(what), "{error}: {what}");
    }
}

#[test]
fn a_large_wrapper_is_spread_over_pieces() {
    let value = |i: i64| Plain { timestamp: i, key: None, value: Some(vec![b'x'; 1000 + i as usize % 7]) };
    let messages: Vec<(i64, Plain)> = (0..5000).map(|i| (i, value(i))).collect();
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4] {
        for magic in [0, 1] {
            let format = Format { magic, codec, append_time: None };
            let settings = AssembleSettings { max_bytes: 100_000, ..AssembleSettings::default() };
            let bytes = encode(format, &messages);
            for piece in pieces(bytes.clone(), 0, settings) {
                let piece = piece.unwrap();
                assert!(piece.memory <= 512 << 10, "{}", piece.memory);
            }
            assert_eq!(read(bytes, 0, settings), expected(format, &messages), "{codec} {magic}");
        }
    }
}

fn format() -> impl Strategy<Value = Format> {
    let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4];
    (0..2u8, prop::sample::select(codecs.to_vec()), option::of(1000..2000i64)).prop_map(
        |(magic, codec, append_time)| Format {
            magic,
            codec,
            append_time: append_time.filter(|_| magic == 1),
        },
    )
}

fn plain() -> impl Strategy<Value = Plain> {
    let bytes = || option::of(vec(any::<u8>(), 0..40));
    (0..i64::MAX, bytes(), bytes()).prop_map(|(timestamp, key, value)| Plain { timestamp, key, value })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_encoded_is_read(
        sets in vec((format(), vec((1..4i64, plain()), 1..12)), 1..5),
        skip in 0..60usize,
        max_bytes in 20..400usize,
        max_records in 1..20usize,
    ) {
        let (mut bytes, mut all, mut offset) = (Vec::new(), Vec::new(), 100);
        for (format, messages) in sets {
            let messages: Vec<(i64, Plain)> = messages
                .into_iter()
                .map(|(step, plain)| { offset += step; (offset, plain) })
                .collect();
            bytes.extend(encode(format, &messages));
            all.extend(expected(format, &messages));
        }
        let from = all.get(skip).map_or(offset + 1, |(offset, _)| *offset);
        all.drain(..skip.min(all.len()));
        let settings = AssembleSettings { max_bytes, max_records, ..AssembleSettings::default() };
        prop_assert_eq!(read(bytes, from, settings), all);
    }

    #[test]
    fn damaged_messages_never_panic(
        format in format(),
        messages in vec(plain(), 1..8),
        damage in vec((any::<Index>(), any::<u8>()), 0..6),
        cut in option::of(any::<Index>()),
        check_crc: bool,
    ) {
        let messages: Vec<(i64, Plain)> = (3..).zip(messages).collect();
        let mut bytes = encode(format, &messages);
        let len = bytes.len();
        damage.iter().for_each(|(at, byte)| bytes[at.index(len)] = *byte);
        bytes.truncate(cut.map_or(len, |cut| cut.index(len + 1)));
        if let Ok(batch) = WireBatch::read(&bytes) {
            prop_assert!(batch.size() <= bytes.len());
        }
        let mut previous = 4;
        let settings = AssembleSettings { check_crc, max_bytes: 60, ..AssembleSettings::default() };
        for piece in pieces(bytes, 5, settings) {
            let Ok(piece) = piece else { break };
            for record in &piece.records {
                prop_assert!(record.offset > previous && record.offset < piece.next_offset);
                previous = record.offset;
                let _ = (record.key.get(&piece.buffer), record.value.get(&piece.buffer));
            }
        }
    }
}

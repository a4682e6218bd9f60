use super::*;
use crate::{NO_HEADERS, ProducerStamp, RecordWriter};

const STAMP: ProducerStamp =
    ProducerStamp { producer_id: 9, epoch: 0, base_sequence: 0, transactional: true };

/// A wire batch of one value for each of `values`, from `base_offset` on.
fn wire(base_offset: i64, values: &[&str], stamp: ProducerStamp, compression: Compression) -> Vec<u8> {
    let mut writer = RecordWriter::new(usize::MAX >> 1, 1000);
    for value in values {
        writer.push(5, Some(b"key"), Some(&[value.as_bytes(), &[b' '; 100]]), NO_HEADERS);
    }
    let mut bytes = writer.finish().remove(0).seal(stamp, compression).to_vec();
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes
}

fn plain(base_offset: i64, values: &[&str]) -> Vec<u8> {
    wire(base_offset, values, ProducerStamp::NONE, Compression::None)
}

/// Changes a wire batch's header and puts the checksum right.
fn patch(mut bytes: Vec<u8>, at: usize, field: &[u8]) -> Vec<u8> {
    bytes[at..at + field.len()].copy_from_slice(field);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The end of producer 9's transaction: 0 for abort, 1 for commit.
fn marker(base_offset: i64, kind: u8) -> Vec<u8> {
    let mut writer = RecordWriter::new(1000, 0);
    writer.push(5, Some(&[0, 0, 0, kind]), Some(&[&[0; 6]]), NO_HEADERS);
    let bytes = writer.finish().remove(0).seal(STAMP, Compression::None).to_vec();
    let bytes = patch(bytes, 21, &0x30i16.to_be_bytes());
    [&base_offset.to_be_bytes(), &bytes[8..]].concat()
}

fn pieces(
    batches: &[Vec<u8>],
    from: i64,
    aborted: Vec<AbortedTransaction>,
    settings: AssembleSettings,
) -> Vec<Result<Assembled, RecordsError>> {
    Assembler::new(batches.concat().into(), from, aborted, settings).collect()
}

fn read(batches: &[Vec<u8>], from: i64) -> Vec<Result<Assembled, RecordsError>> {
    pieces(batches, from, Vec::new(), AssembleSettings::default())
}

/// The offsets and values of a piece.
fn contents(piece: &Assembled) -> Vec<(i64, &str)> {
    let value = |record: &Record| record.value.get(&piece.buffer).unwrap();
    let pairs = piece.records.iter().map(|r| (r.offset, std::str::from_utf8(value(r)).unwrap().trim_end()));
    pairs.collect()
}

#[test]
fn uncompressed_batches_share_the_memory_of_the_response() {
    let bytes = Bytes::from([plain(10, &["a", "b"]), plain(12, &["c"])].concat());
    let mut assembler = Assembler::new(bytes.clone(), 10, Vec::new(), AssembleSettings::default());
    let piece = assembler.next().unwrap().unwrap();
    assert_eq!(contents(&piece), [(10, "a"), (11, "b"), (12, "c")]);
    assert_eq!(piece.next_offset, 13);
    assert_eq!((piece.buffer.as_ptr(), piece.buffer.len()), (bytes.as_ptr(), bytes.len()));
    assert!(assembler.next().is_none());
    assert_eq!(assembler.next_offset(), 13);
}

#[test]
fn compressed_batches_are_joined_and_a_change_of_kind_ends_the_piece() {
    let packed = |at, codec| wire(at, &["p", "q"], ProducerStamp::NONE, codec);
    for codec in Compression::ALL.into_iter().skip(1) {
        let all = [plain(0, &["a"]), packed(1, codec), packed(3, codec), plain(5, &["b"])];
        let read: Vec<Assembled> = read(&all, 0).into_iter().map(Result::unwrap).collect();
        let read: Vec<_> = read.iter().map(|piece| (contents(piece), piece.next_offset)).collect();
        let middle = vec![(1, "p"), (2, "q"), (3, "p"), (4, "q")];
        assert_eq!(read, [(vec![(0, "a")], 1), (middle, 5), (vec![(5, "b")], 6)], "{codec}");
    }
}

#[test]
fn records_below_the_offset_asked_for_are_left_out() {
    let all = [plain(10, &["a", "b"]), plain(12, &["c", "d"]), plain(14, &["e"])];
    let read = read(&all, 13);
    assert_eq!(contents(read[0].as_ref().unwrap()), [(13, "d"), (14, "e")]);
}

#[test]
fn a_batch_that_is_cut_off_waits_for_the_next_fetch_unless_it_is_alone() {
    let (first, second) = (plain(0, &["a"]), plain(1, &["b"]));
    for kept in [1, 16, 60, 61, second.len() - 1] {
        let cut = second[..kept].to_vec();
        let read = read(&[first.clone(), cut.clone()], 0);
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].as_ref().unwrap().next_offset, 1);
        let alone = super::tests::read(&[cut], 1);
        assert!(matches!(alone[..], [Err(RecordsError::Truncated { have, .. })] if have == kept));
    }
    assert!(read(&[], 7).is_empty());
}

#[test]
fn what_precedes_a_corrupt_batch_is_read_and_nothing_follows_it() {
    let mut bad = plain(1, &["b"]);
    bad[70] ^= 1;
    let all = [plain(0, &["a"]), bad, plain(2, &["c"])];
    let read = read(&all, 0);
    assert_eq!(contents(read[0].as_ref().unwrap()), [(0, "a")]);
    assert!(matches!(read[1], Err(RecordsError::Crc { base_offset: 1, .. })));
    assert_eq!(read.len(), 2);
}

#[test]
fn every_flipped_bit_under_the_checksum_is_found() {
    let good = plain(0, &["a", "b"]);
    for at in 21..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let read = read(&[bad], 0);
        // A changed count or delta may be refused before the checksum is looked at.
        assert!(matches!(read[..], [Err(RecordsError::Crc { .. } | RecordsError::Malformed { .. })]), "{at}");
    }
    let unchecked = AssembleSettings { check_crc: false, ..AssembleSettings::default() };
    let mut bad = good;
    bad[17] ^= 1;
    assert!(pieces(&[bad], 0, Vec::new(), unchecked)[0].is_ok());
}

#[test]
fn a_flipped_length_or_magic_is_an_error() {
    let mut bad = plain(0, &["a"]);
    bad[16] = 3;
    assert!(matches!(read(&[bad.clone()], 0)[..], [Err(RecordsError::Magic { magic: 3, .. })]));
    bad[16] = 2;
    bad[8..12].copy_from_slice(&48i32.to_be_bytes());
    assert!(matches!(read(&[bad], 0)[..], [Err(RecordsError::Malformed { .. })]));
}

#[test]
fn gaps_and_empty_batches_of_compaction_move_the_offset_on() {
    // Compaction removed the last of four records, then all of a batch.
    let gap = patch(plain(0, &["a", "b", "c"]), 23, &3i32.to_be_bytes());
    let empty = patch(plain(4, &["x"])[..61].to_vec(), 57, &0i32.to_be_bytes());
    let empty = patch(empty, 23, &5i32.to_be_bytes());
    let empty = [&empty[..8], &49i32.to_be_bytes(), &empty[12..]].concat();
    let all = [gap, empty.clone(), plain(20, &["d"])];
    let piece = read(&all, 0).remove(0).unwrap();
    assert_eq!(contents(&piece), [(0, "a"), (1, "b"), (2, "c"), (20, "d")]);
    assert_eq!(piece.next_offset, 21);
    let alone = read(&[empty], 4).remove(0).unwrap();
    assert_eq!((alone.records.len(), alone.next_offset), (0, 10));
}

#[test]
fn log_append_time_is_every_records_timestamp() {
    let stamped = patch(plain(0, &["a", "b"]), 21, &8i16.to_be_bytes());
    let stamped = patch(stamped, 35, &77i64.to_be_bytes());
    let piece = read(&[stamped], 0).remove(0).unwrap();
    assert_eq!(piece.records.iter().map(|r| r.timestamp).collect::<Vec<_>>(), [77, 77]);
}

#[test]
fn aborted_transactions_are_left_out_when_reading_committed() {
    let ours = |at, value| wire(at, &[value], STAMP, Compression::None);
    let other = ProducerStamp { producer_id: 8, ..STAMP };
    let all = [
        ours(0, "committed"),
        marker(1, 1),
        ours(2, "aborted"),
        wire(3, &["theirs"], other, Compression::None),
        plain(4, &["plain"]),
        ours(5, "aborted too"),
        marker(6, 0),
        ours(7, "kept"),
        marker(8, 1),
    ];
    let aborted = vec![AbortedTransaction { producer_id: 9, first_offset: 2 }];
    let committed = pieces(&all, 0, aborted.clone(), AssembleSettings::default()).remove(0).unwrap();
    assert_eq!(contents(&committed), [(0, "committed"), (3, "theirs"), (4, "plain"), (7, "kept")]);
    assert_eq!(committed.next_offset, 9);
    let settings = AssembleSettings { read_committed: false, ..AssembleSettings::default() };
    let everything = pieces(&all, 0, aborted, settings).remove(0).unwrap();
    assert_eq!(everything.records.iter().map(|r| r.offset).collect::<Vec<_>>(), [0, 2, 3, 4, 5, 7]);
}

#[test]
fn pieces_end_at_their_limits_and_lose_nothing() {
    let all: Vec<Vec<u8>> = (0..10).map(|i| plain(2 * i, &["a", "b"])).collect();
    let size = all[0].len();
    for (max_bytes, max_records, sizes) in [
        (2 * size, usize::MAX, vec![4; 5]),
        (2 * size - 1, usize::MAX, vec![2; 10]),
        (1, usize::MAX, vec![1; 20]),
        (usize::MAX, 5, vec![5; 4]),
    ] {
        let settings = AssembleSettings { max_bytes, max_records, ..AssembleSettings::default() };
        let read: Vec<Assembled> =
            pieces(&all, 0, Vec::new(), settings).into_iter().map(Result::unwrap).collect();
        assert_eq!(read.iter().map(|piece| piece.records.len()).collect::<Vec<_>>(), sizes);
        let offsets: Vec<i64> = read.iter().flat_map(|piece| &piece.records).map(|r| r.offset).collect();
        assert_eq!(offsets, (0..20).collect::<Vec<_>>());
        assert!(read.iter().all(|piece| piece.records.last().unwrap().offset + 1 == piece.next_offset));
    }
}

/// A wire batch of `count` values of `len` bytes each.
fn large(count: usize, len: usize, compression: Compression) -> Vec<u8> {
    let mut writer = RecordWriter::new(usize::MAX >> 1, count * (len + 20) + 100);
    for number in 0..count {
        writer.push(5, None, Some(&[number.to_string().as_bytes(), b" ", &vec![b'x'; len]]), NO_HEADERS);
    }
    writer.finish().remove(0).seal(ProducerStamp::NONE, compression).to_vec()
}

#[test]
fn a_large_batch_is_spread_over_pieces_that_take_little_memory() {
    const MAX: usize = 256 << 10;
    for compression in Compression::ALL {
        let settings = AssembleSettings { max_bytes: MAX, ..AssembleSettings::default() };
        let (count, len) = (8000, 5000);
        let bytes = large(count, len, compression);
        let mut next = 0;
        for piece in pieces(&[bytes], 0, Vec::new(), settings) {
            let piece = piece.unwrap();
            assert_eq!(piece.compression, compression);
            assert!(piece.buffer.len() <= MAX + (128 << 10), "{compression}: {}", piece.buffer.len());
            assert!(piece.memory <= 4 * MAX, "{compression}: {}", piece.memory);
            for (offset, value) in contents(&piece) {
                assert_eq!(offset, next);
                assert!(value.starts_with(&format!("{next} x")), "{compression}: {offset}");
                next += 1;
            }
            assert_eq!(piece.next_offset, next, "{compression}");
        }
        assert_eq!(next, count as i64, "{compression}");
    }
}

#[test]
fn small_records_end_a_piece_by_their_number() {
    for compression in Compression::ALL {
        let settings = AssembleSettings { max_records: 1000, ..AssembleSettings::default() };
        let sizes: Vec<usize> = pieces(&[large(4500, 1, compression)], 0, Vec::new(), settings)
            .into_iter()
            .map(|piece| piece.unwrap().records.len())
            .collect();
        assert_eq!(sizes, [1000, 1000, 1000, 1000, 500], "{compression}");
    }
}

#[test]
fn a_record_larger_than_a_piece_is_told_before_it_is_unpacked() {
    let settings = AssembleSettings { max_bytes: 100_000, ..AssembleSettings::default() };
    for compression in Compression::ALL.into_iter().skip(1) {
        let all = [wire(0, &["small"], ProducerStamp::NONE, compression), large(2, 3_000_000, compression)];
        let mut second = all[1].clone();
        second[..8].copy_from_slice(&1i64.to_be_bytes());
        let bytes = Bytes::from([all[0].clone(), second].concat());
        let mut assembler = Assembler::new(bytes, 0, Vec::new(), settings);
        let mut needs = Vec::new();
        let mut records = Vec::new();
        loop {
            let needed = assembler.needs();
            let Some(piece) = assembler.next() else { break };
            let piece = piece.unwrap();
            assert!(piece.buffer.len() < 200_000 || needed.is_some_and(|needed| needed >= 3_000_000));
            needs.push(needed.is_some());
            records.push(piece.records.len());
        }
        assert_eq!(records.iter().sum::<usize>(), 3, "{compression}");
        assert_eq!(needs.iter().filter(|needed| **needed).count(), 2, "{compression}: {records:?}");
    }
}

#[test]
fn where_a_large_batch_is_read_from_its_middle_every_call_is_bounded() {
    let settings = AssembleSettings { max_bytes: 100_000, ..AssembleSettings::default() };
    for compression in Compression::ALL {
        let read = pieces(&[large(2000, 1000, compression)], 1990, Vec::new(), settings);
        let read: Vec<Assembled> = read.into_iter().map(Result::unwrap).collect();
        assert!(read.len() > 5, "{compression}: {}", read.len());
        let offsets: Vec<i64> = read.iter().flat_map(|piece| &piece.records).map(|r| r.offset).collect();
        assert_eq!(offsets, (1990..2000).collect::<Vec<_>>(), "{compression}");
        assert!(read.iter().all(|piece| piece.records.is_empty() == (piece.next_offset == 1990)));
    }
}

#[test]
fn what_is_wrong_late_in_a_large_batch_is_told_where_it_stands() {
    let settings = AssembleSettings { max_bytes: 100_000, check_crc: false, ..AssembleSettings::default() };
    for compression in Compression::ALL {
        // One record more than there are, so that the last one is cut off.
        let bytes = patch(large(2000, 1000, compression), 57, &2001i32.to_be_bytes());
        let bytes = patch(bytes, 23, &2000i32.to_be_bytes());
        let mut assembler = Assembler::new(bytes.into(), 0, Vec::new(), settings);
        let mut read = 0;
        let error = loop {
            match assembler.next().unwrap() {
                Ok(piece) => read += piece.records.len(),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, RecordsError::Malformed { base_offset: 0, .. }), "{compression}: {error}");
        assert_eq!(assembler.next_offset(), read as i64, "{compression}");
        assert!(read > 1000, "{compression}: {read}");
        assert!(assembler.next().is_none());
    }
}

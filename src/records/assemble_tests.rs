use super::*;
use crate::records::{NO_HEADERS, ProducerStamp, RecordWriter};

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
    bad[16] = 1;
    assert!(matches!(read(&[bad.clone()], 0)[..], [Err(RecordsError::Magic { magic: 1, .. })]));
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
        (1, usize::MAX, vec![2; 10]),
        (usize::MAX, 5, vec![6, 6, 6, 2]),
    ] {
        let settings = AssembleSettings { max_bytes, max_records, ..AssembleSettings::default() };
        let read: Vec<Assembled> =
            pieces(&all, 0, Vec::new(), settings).into_iter().map(Result::unwrap).collect();
        assert_eq!(read.iter().map(|piece| piece.records.len()).collect::<Vec<_>>(), sizes);
        let offsets: Vec<i64> = read.iter().flat_map(|piece| &piece.records).map(|r| r.offset).collect();
        assert_eq!(offsets, (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn a_batch_that_decompresses_to_too_much_is_refused() {
    let bomb = wire(0, &["a"; 1000], ProducerStamp::NONE, Compression::Zstd);
    let settings = AssembleSettings { max_decompressed: 50_000, ..AssembleSettings::default() };
    let read = pieces(&[bomb], 0, Vec::new(), settings);
    assert!(matches!(read[..], [Err(RecordsError::Decompress { codec: "zstd", .. })]));
}

#[test]
fn a_message_of_an_old_format_is_told_by_its_magic_however_short() {
    for magic in [0, 1] {
        // Offset, size, checksum, magic, attributes, and a key and a value that are null.
        let mut message = [&[0; 7][..], &[41, 0, 0, 0, 14], &[9; 4], &[magic, 0]].concat();
        message.extend_from_slice(&[0xff; 8]);
        let pieces: Vec<_> =
            Assembler::new(message.into(), 41, Vec::new(), AssembleSettings::default()).collect();
        assert_eq!(pieces, [Err(RecordsError::Magic { base_offset: 41, magic: magic as i8 })]);
    }
}

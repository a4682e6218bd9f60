//! Batches that the Java client wrote, in every compression.

use bytes::Bytes;

use super::*;

/// The batches of `java_batches.txt` with their compressions.
fn batches() -> Vec<(Compression, Bytes)> {
    let lines = include_str!("java_batches.txt").lines().filter(|line| !line.starts_with('#'));
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    lines
        .map(|line| {
            let (name, hex) = line.split_once(' ').unwrap();
            (name.parse().unwrap(), hex.as_bytes().chunks(2).map(byte).collect())
        })
        .collect()
}

#[test]
fn batches_of_the_java_client_are_read() {
    let batches = batches();
    assert_eq!(batches.iter().map(|(codec, _)| *codec).collect::<Vec<_>>(), Compression::ALL);
    for (codec, bytes) in batches {
        let header = BatchHeader::read(&bytes).unwrap();
        assert_eq!(header.codec(), codec.id());
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (77, 3, 21));
        assert!(header.is_transactional());
        // To stamp it as it is changes nothing: each field is where Java has it.
        let (producer_id, epoch, base_sequence) = (77, 3, 21);
        let stamp = ProducerStamp { producer_id, epoch, base_sequence, transactional: true };
        assert_eq!(layout::restamp(&bytes, stamp), bytes);

        let piece = Assembler::new(bytes, 0, Vec::new(), Default::default()).next().unwrap().unwrap();
        assert_eq!(piece.next_offset, 1007);
        let text = |span: crate::Span| {
            span.get(&piece.buffer).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
        };
        for (i, record) in piece.records.iter().enumerate() {
            // Offsets 1004 and 1005 are missing, as after compaction.
            assert_eq!(record.offset, [1000, 1001, 1002, 1003, 1006][i], "{codec}");
            assert_eq!(record.timestamp - 1_700_000_000_000, [0, -100, 200, -300, 400][i]);
            assert_eq!(text(record.key), (i != 0).then(|| format!("key-{i}")));
            let value = format!(r#"{{"first_name":"Ada","last_name":"Lovelace","hash":"","n":{i}}}"#);
            assert_eq!(text(record.value), (i != 1).then_some(value));
            let headers: Vec<_> = Headers::new(record.headers.get(&piece.buffer).unwrap()).collect();
            let expected = [(&b"trace"[..], Some(&b"abc"[..])), (b"none", None)];
            assert_eq!(headers, if i == 2 { &expected[..] } else { &[] });
        }
        assert_eq!(piece.records.len(), 5);
    }
}

use super::*;

const LIMIT: usize = 1 << 20;

fn compressed(compression: Compression, level: Option<i32>, input: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    Codec { compression, level }.compress(input, &mut out).unwrap();
    out.split_off(6)
}

fn decompressed(compression: Compression, input: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut out = b"before".to_vec();
    compression.decompress(input, &mut out, limit)?;
    Ok(out.split_off(6))
}

/// Compressible, and longer than a block of snappy or lz4.
fn text() -> Vec<u8> {
    (0..20_000).flat_map(|i| format!("{{\"n\":{}}}", i % 977).into_bytes()).collect()
}

#[test]
fn names_and_ids_are_kafkas() {
    for (id, name) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
        let compression: Compression = name.parse().unwrap();
        assert_eq!(compression.id(), id as i16);
        assert_eq!(Compression::from_id(id as i16), Some(compression));
        assert_eq!(compression.to_string(), name);
    }
    assert_eq!("brotli".parse::<Compression>(), Err(UnknownCompression("brotli".into())));
    assert_eq!(Compression::from_id(5), None);
    assert_eq!(Compression::from_id(-1), None);
}

#[test]
fn every_codec_and_level_gives_back_its_input() {
    for compression in Compression::ALL {
        for level in [None, Some(i32::MIN), Some(1), Some(9)] {
            for input in [&b""[..], b"x", &text()] {
                let packed = compressed(compression, level, input);
                assert_eq!(
                    decompressed(compression, &packed, LIMIT).unwrap(),
                    input,
                    "{compression} {level:?}"
                );
            }
        }
    }
}

#[test]
fn what_exceeds_the_limit_is_refused() {
    let input = text();
    for compression in Compression::ALL {
        let packed = compressed(compression, None, &input);
        assert!(decompressed(compression, &packed, input.len()).is_ok(), "{compression}");
        assert!(decompressed(compression, &packed, input.len() - 1).is_err(), "{compression}");
    }
}

#[test]
fn streams_that_follow_each_other_are_all_read() {
    for compression in Compression::ALL {
        let mut packed = compressed(compression, None, b"one");
        packed.extend(compressed(compression, None, b"two"));
        assert_eq!(decompressed(compression, &packed, 6).unwrap(), b"onetwo", "{compression}");
        assert!(decompressed(compression, &packed, 5).is_err(), "{compression}");
    }
}

#[test]
fn snappy_is_framed_as_java_does_and_read_without_a_frame() {
    let input = text();
    let framed = compressed(Compression::Snappy, None, &input);
    assert_eq!(framed[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    let plain = snap::raw::Encoder::new().compress_vec(&input).unwrap();
    assert_eq!(decompressed(Compression::Snappy, &plain, LIMIT).unwrap(), input);
}

#[test]
fn a_snappy_length_that_its_bytes_cannot_hold_takes_no_memory() {
    let lying = b"\xff\xff\xff\x7f\0\0\0\0";
    let mut out = Vec::new();
    assert!(Compression::Snappy.decompress(lying, &mut out, usize::MAX).is_err());
    assert_eq!(out.capacity(), 0);
}

#[test]
fn arbitrary_bytes_are_an_error_and_no_panic() {
    bolero::check!().with_iterations(2000).for_each(|input: &[u8]| {
        for compression in Compression::ALL {
            let mut out = Vec::new();
            if compression.decompress(input, &mut out, 1000).is_ok() {
                assert!(out.len() <= 1000);
            }
        }
    });
}

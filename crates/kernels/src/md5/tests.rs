use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::*;

/// The digests by every kernel, which must agree.
fn digests(values: &[&[u8]]) -> Vec<Md5Digest> {
    let expected: Vec<Md5Digest> = values.iter().map(|value| md5(value)).collect();
    for kernel in Kernel::available() {
        let mut out = vec![[0; MD5_LEN]];
        md5_many(kernel, values.iter().copied(), &mut out);
        if let Some(wrong) = (0..expected.len().max(out.len())).find(|&i| out.get(i) != expected.get(i)) {
            panic!("{kernel:?}: digest {wrong} of {} differs from its twin's", values.len());
        }
    }
    expected
}

#[test]
fn digests_are_those_of_the_rfc() {
    let digests: Vec<u128> =
        digests(&[b"", b"abc", b"message digest"]).into_iter().map(u128::from_be_bytes).collect();
    assert_eq!(
        digests,
        [
            0xd41d8cd98f00b204e9800998ecf8427e,
            0x900150983cd24fb0d6963f7d28e17f72,
            0xf96b697d7cb7938d525a2f31aaf161d0
        ]
    );
}

#[test]
fn all_lengths_and_counts_have_their_digests() {
    let bytes: Vec<u8> = (0..5000u32).map(|i| (i * i / 7) as u8).collect();
    // Slices of exact allocations, so that a memory checker sees any byte read beyond.
    let exact: Vec<Box<[u8]>> = (0..=300).map(|len| bytes[len..2 * len].into()).collect();
    for value in &exact {
        digests(&[&**value; 3]);
        digests(&[&**value; 33]);
    }
    let mixed: Vec<&[u8]> = exact.iter().map(|value| &**value).collect();
    for count in 0..mixed.len() {
        digests(&mixed[..count]);
        digests(&mixed[count..]);
    }
    let long: Vec<&[u8]> = (0..100).map(|i| &bytes[i..i + i * 37 % 4800]).collect();
    digests(&long);
}

/// Seeded batches of values of all lengths; `EVENTS` is about how many values in all.
#[test]
fn many_batches_have_their_digests() {
    let count = std::env::var("EVENTS").map_or(200_000, |count| count.parse().expect("a number"));
    let mut random = StdRng::seed_from_u64(5);
    let bytes: Vec<u8> = (0..8192).map(|_| random.random()).collect();
    let mut left = count;
    while left > 0 {
        let size = random.random_range(1..=left.min(500));
        let longest = [60, 130, 300, 2000][random.random_range(0..4)];
        let value = |_| {
            let start = random.random_range(0..4096);
            &bytes[start..start + random.random_range(0..=longest)]
        };
        digests(&(0..size).map(value).collect::<Vec<_>>());
        left -= size;
    }
}

#[test]
fn values_too_long_for_lanes_have_their_digests() {
    let long = vec![b'x'; (1 << 20) + 1];
    digests(&[b"short", &long, &long[1..], &long[2..], &long[3..], b""]);
}

#[test]
fn fuzz_any_values() {
    bolero::check!().with_type::<Vec<Box<[u8]>>>().for_each(|values| {
        digests(&values.iter().map(|value| &**value).collect::<Vec<_>>());
    });
}

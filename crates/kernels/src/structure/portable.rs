//! Without vector instructions: the twin of the others.

use super::{
    BLOCK, Structure,
    classes::{CURLY, Classes},
    rules::{drive, parity},
};

/// As [`scan`](super::scan).
#[inline(always)]
pub(super) fn scan(doc: &[u8], structure: &mut Structure) {
    let part = |rest: &[u8]| {
        let mut bytes = [b' '; BLOCK];
        bytes[..rest.len()].copy_from_slice(rest);
        classify(&bytes)
    };
    drive(doc, structure, classify, part, parity);
}

#[inline]
fn classify(bytes: &[u8; BLOCK]) -> Classes {
    Classes {
        quote: set(bytes, |byte| byte == b'"'),
        backslash: set(bytes, |byte| byte == b'\\'),
        control: set(bytes, |byte| byte < b' '),
        white: set(bytes, |byte| (byte == b' ') | (byte == b'\t') | (byte == b'\n') | (byte == b'\r')),
        open: set(bytes, |byte| byte | CURLY == b'{'),
        close: set(bytes, |byte| byte | CURLY == b'}'),
        curly: set(bytes, |byte| byte & CURLY != 0),
        colon: set(bytes, |byte| byte == b':'),
        comma: set(bytes, |byte| byte == b','),
        digit: set(bytes, |byte| byte.wrapping_sub(b'0') < 10),
        zero: set(bytes, |byte| byte == b'0'),
        minus: set(bytes, |byte| byte == b'-'),
        plus: set(bytes, |byte| byte == b'+'),
        dot: set(bytes, |byte| byte == b'.'),
        exponent: set(bytes, |byte| byte | 0x20 == b'e'),
        beyond_ascii: set(bytes, |byte| byte >= 0x80),
    }
}

/// The bytes that `is` holds for: first a flag for each, which compilers do many at a time.
#[inline(always)]
fn set(bytes: &[u8; BLOCK], is: impl Fn(u8) -> bool) -> u64 {
    let flags = bytes.map(|byte| u8::from(is(byte)));
    let mut set = 0;
    for (nth, eight) in flags.as_chunks::<8>().0.iter().enumerate() {
        // Gathers the lowest bits of eight bytes in the highest byte, in order: every product has a place
        // of its own, so nothing is carried.
        let gathered = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        set |= gathered << (8 * nth);
    }
    set
}

//! Without vector instructions: the twin of the others.

use super::{
    BLOCK, Structure,
    classes::{CURLY, Classes},
    rules::drive,
};

/// As [`scan`](super::scan).
#[inline(always)]
pub(super) fn scan(doc: &[u8], structure: &mut Structure) {
    drive(doc, structure, classify, |rest| {
        let mut bytes = [b' '; BLOCK];
        bytes[..rest.len()].copy_from_slice(rest);
        classify(&bytes)
    });
}

#[inline]
fn classify(bytes: &[u8; BLOCK]) -> Classes {
    let of = |is: fn(u8) -> bool| set(bytes, is);
    Classes {
        quote: of(|byte| byte == b'"'),
        backslash: of(|byte| byte == b'\\'),
        control: of(|byte| byte < b' '),
        white: of(|byte| (byte == b' ') | (byte == b'\t') | (byte == b'\n') | (byte == b'\r')),
        open: of(|byte| byte | CURLY == b'{'),
        close: of(|byte| byte | CURLY == b'}'),
        curly: of(|byte| byte & CURLY != 0),
        colon: of(|byte| byte == b':'),
        comma: of(|byte| byte == b','),
        digit: of(|byte| byte.wrapping_sub(b'0') < 10),
        zero: of(|byte| byte == b'0'),
        minus: of(|byte| byte == b'-'),
        plus: of(|byte| byte == b'+'),
        dot: of(|byte| byte == b'.'),
        exponent: of(|byte| byte | 0x20 == b'e'),
        beyond_ascii: of(|byte| byte >= 0x80),
    }
}

/// The bytes that `is` holds for. Eight at a time, so that the compiler has something to do at once.
#[inline(always)]
fn set(bytes: &[u8; BLOCK], is: impl Fn(u8) -> bool) -> u64 {
    let mut set = 0;
    for (nth, eight) in bytes.chunks_exact(8).enumerate() {
        let flags: [u8; 8] = std::array::from_fn(|i| u8::from(is(eight[i])));
        // Gathers the lowest bits of eight bytes in the highest byte, in order: every product has a place
        // of its own, so nothing is carried.
        let gathered = u64::from_le_bytes(flags).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        set |= gathered << (8 * nth);
    }
    set
}

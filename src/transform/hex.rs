//! Lowercase hexadecimal digits.

/// Writes the two digits of each byte of `bytes` to `out`.
///
/// # Panics
/// When `out` is not twice as long as `bytes`.
#[inline]
pub fn write_hex(bytes: &[u8], out: &mut [u8]) {
    assert_eq!(out.len(), 2 * bytes.len());
    for (pair, &byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&PAIRS[byte as usize]);
    }
}

/// The digits of a digest of 16 bytes; made of operations that compilers turn into vector ones.
#[inline(always)]
pub fn hex_digits(digest: &[u8; 16]) -> [u8; 32] {
    let mut digits = [0; 32];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(digest) {
        *pair = [byte >> 4, byte & 0xf];
    }
    digits.map(|digit| digit + if digit > 9 { b'a' - 10 } else { b'0' })
}

static PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 0xf]];
        byte += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_lowercase_and_padded() {
        let mut out = [0; 8];
        write_hex(&[0x00, 0x0f, 0xa0, 0xff], &mut out);
        assert_eq!(&out, b"000fa0ff");
    }

    #[test]
    fn both_ways_write_the_same() {
        for start in 0..=255u8 {
            let digest = std::array::from_fn(|i| start.wrapping_add(i as u8 * 15));
            let mut out = [0; 32];
            write_hex(&digest, &mut out);
            assert_eq!(hex_digits(&digest), out);
        }
    }
}

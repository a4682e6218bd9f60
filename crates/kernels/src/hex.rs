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

/// The digits of a digest of 16 bytes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn hex_digits(digest: &[u8; 16]) -> [u8; 32] {
    use std::arch::x86_64::*;
    // SAFETY: SSE2 is part of x86-64; 16 bytes are read, and 32 are written in two halves.
    unsafe {
        let bytes = _mm_loadu_si128(digest.as_ptr().cast());
        let low_bits = _mm_set1_epi8(0xf);
        let high = _mm_and_si128(_mm_srli_epi16::<4>(bytes), low_bits);
        let low = _mm_and_si128(bytes, low_bits);
        let mut digits = [0; 32];
        for (half, nibbles) in
            [_mm_unpacklo_epi8(high, low), _mm_unpackhi_epi8(high, low)].into_iter().enumerate()
        {
            let letters = _mm_cmpgt_epi8(nibbles, _mm_set1_epi8(9));
            let gap = _mm_and_si128(letters, _mm_set1_epi8((b'a' - b'0' - 10) as i8));
            let characters = _mm_add_epi8(_mm_add_epi8(nibbles, _mm_set1_epi8(b'0' as i8)), gap);
            _mm_storeu_si128(digits[16 * half..][..16].as_mut_ptr().cast(), characters);
        }
        digits
    }
}

/// The digits of a digest of 16 bytes.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub fn hex_digits(digest: &[u8; 16]) -> [u8; 32] {
    let mut digits = [0; 32];
    write_hex(digest, &mut digits);
    digits
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

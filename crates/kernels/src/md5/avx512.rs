//! Sixteen values in each of one or two registers, with AVX-512.

use std::arch::x86_64::*;

use super::{
    Md5Digest,
    constants::{SINES, START, WORDS},
    skeleton,
};

skeleton::kernel! {
    features: "avx512f,avx512bw,avx512vl,bmi2",
    lanes: 16,
    word: __m512i,
    splat: _mm512_set1_epi32,
    add: _mm512_add_epi32,
    unpack_words: _mm512_unpacklo_epi32, _mm512_unpackhi_epi32,
    unpack_pairs: _mm512_unpacklo_epi64, _mm512_unpackhi_epi64,
    load: _mm512_loadu_si512,
    store: _mm512_storeu_si512,
}

/// Values side by side, and what their blocks need.
struct Rows<'a, const N: usize> {
    values: [&'a [&'a [u8]; LANES]; N],
    /// The length in bytes of each value.
    lens: [Word; N],
    /// The blocks of each value, with its padding.
    counts: [Word; N],
    /// The most blocks of a value.
    longest: u32,
}

impl<'a, const N: usize> Rows<'a, N> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    fn new(values: [&'a [&'a [u8]; LANES]; N]) -> Rows<'a, N> {
        let mut lens = [_mm512_setzero_si512(); N];
        let mut counts = lens;
        let mut longest = 0;
        for n in 0..N {
            let mut row = [0; LANES];
            for lane in 0..LANES {
                row[lane] = values[n][lane].len() as u32;
            }
            lens[n] = load(&row);
            let padded = _mm512_add_epi32(lens[n], _mm512_set1_epi32(8 + 64));
            counts[n] = _mm512_srli_epi32::<6>(padded);
            longest = longest.max(_mm512_reduce_max_epu32(counts[n]));
        }
        Rows { values, lens, counts, longest }
    }

    /// The words of a block of each value.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
    fn words(&mut self, block: u32) -> [[Word; 16]; N] {
        let mut words = [[_mm512_setzero_si512(); 16]; N];
        for (n, words) in words.iter_mut().enumerate() {
            for (word, value) in words.iter_mut().zip(self.values[n]) {
                *word = load_block(value, block as usize);
            }
            *words = transpose(*words);
            // The padding ends with the length in bits; until here these words are 0.
            let ends = _mm512_cmpeq_epi32_mask(self.counts[n], _mm512_set1_epi32(block as i32 + 1));
            words[14] = _mm512_mask_slli_epi32::<3>(words[14], ends, self.lens[n]);
            words[15] = _mm512_mask_srli_epi32::<29>(words[15], ends, self.lens[n]);
        }
        words
    }
}

/// `state` plus `mixed` in the lanes of the values that have `block`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn add_active(counts: Word, block: u32, mut state: [Word; 4], mixed: [Word; 4]) -> [Word; 4] {
    let active = _mm512_cmpgt_epi32_mask(counts, _mm512_set1_epi32(block as i32));
    for i in 0..4 {
        state[i] = _mm512_mask_add_epi32(state[i], active, state[i], mixed[i]);
    }
    state
}

/// The 64 bytes of `value` that make up `block`, its first byte of padding included.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn load_block(value: &[u8], block: usize) -> __m512i {
    let Some(rest) = value.get(block * 64..) else { return _mm512_setzero_si512() };
    let mask = if rest.len() < 64 { (1 << rest.len()) - 1 } else { u64::MAX };
    let bytes = if rest.is_empty() {
        // Processors are slow to ignore addresses that are not mapped.
        _mm512_setzero_si512()
    } else {
        // SAFETY: only the bytes that the mask names are read, and they are the first ones of `rest`.
        unsafe { _mm512_maskz_loadu_epi8(mask, rest.as_ptr().cast()) }
    };
    // The lowest bit that the mask lacks, if it lacks one.
    let after = mask.wrapping_add(1);
    _mm512_mask_mov_epi8(bytes, after, _mm512_set1_epi8(0x80u8 as i8))
}

/// Turns 16 rows of 16 words into 16 columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn transpose(rows: [__m512i; 16]) -> [Word; 16] {
    let mut pairs = rows;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    // `fours[4 * i + k]` holds the columns k, k + 4, k + 8 and k + 12 of the rows 4i to 4i + 3.
    let mut fours = rows;
    for i in 0..4 {
        fours[4 * i] = _mm512_unpacklo_epi64(pairs[4 * i], pairs[4 * i + 2]);
        fours[4 * i + 1] = _mm512_unpackhi_epi64(pairs[4 * i], pairs[4 * i + 2]);
        fours[4 * i + 2] = _mm512_unpacklo_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
        fours[4 * i + 3] = _mm512_unpackhi_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
    }
    let mut columns = rows;
    for k in 0..4 {
        const EVEN: i32 = 0b10_00_10_00;
        const ODD: i32 = 0b11_01_11_01;
        let low_even = _mm512_shuffle_i32x4::<EVEN>(fours[k], fours[4 + k]);
        let low_odd = _mm512_shuffle_i32x4::<ODD>(fours[k], fours[4 + k]);
        let high_even = _mm512_shuffle_i32x4::<EVEN>(fours[8 + k], fours[12 + k]);
        let high_odd = _mm512_shuffle_i32x4::<ODD>(fours[8 + k], fours[12 + k]);
        columns[k] = _mm512_shuffle_i32x4::<EVEN>(low_even, high_even);
        columns[4 + k] = _mm512_shuffle_i32x4::<EVEN>(low_odd, high_odd);
        columns[8 + k] = _mm512_shuffle_i32x4::<ODD>(low_even, high_even);
        columns[12 + k] = _mm512_shuffle_i32x4::<ODD>(low_odd, high_odd);
    }
    columns
}

/// The functions F, G, H and I of the rounds, by their truth tables.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn mix<const ROUND: usize>(b: Word, c: Word, d: Word) -> Word {
    match ROUND {
        0 => _mm512_ternarylogic_epi32::<0b1100_1010>(b, c, d),
        1 => _mm512_ternarylogic_epi32::<0b1110_0100>(b, c, d),
        2 => _mm512_ternarylogic_epi32::<0b1001_0110>(b, c, d),
        _ => _mm512_ternarylogic_epi32::<0b0011_1001>(b, c, d),
    }
}

/// Rotates to the left by `LEFT` bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(word: Word) -> Word {
    _mm512_rol_epi32::<LEFT>(word)
}

//! Sixteen values in each of one or two registers, with AVX-512.

use std::arch::x86_64::*;

use super::{
    Md5Digest,
    constants::{SINES, START, WORDS},
};

const LANES: usize = 16;

/// One word of each lane.
type Word = __m512i;

/// Digests one row of lanes or two. Two hide the latency of each other's steps.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
pub(super) fn digest(values: &[[&[u8]; LANES]], out: &mut [[Md5Digest; LANES]]) {
    match (values, out) {
        ([one], [out]) => *out = rows([one])[0],
        ([one, two], [first, second]) => [*first, *second] = rows([one, two]),
        _ => unreachable!("one row or two"),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn rows<const N: usize>(values: [&[&[u8]; LANES]; N]) -> [[Md5Digest; LANES]; N] {
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
    let mut states = [START.map(|word| _mm512_set1_epi32(word as i32)); N];
    for block in 0..longest {
        let mut words = [[_mm512_setzero_si512(); 16]; N];
        for n in 0..N {
            for lane in 0..LANES {
                words[n][lane] = load_block(values[n][lane], block as usize);
            }
            words[n] = transpose(words[n]);
            // The padding ends with the length in bits; until here these words are 0.
            let ends = _mm512_cmpeq_epi32_mask(counts[n], _mm512_set1_epi32(block as i32 + 1));
            words[n][14] = _mm512_mask_slli_epi32::<3>(words[n][14], ends, lens[n]);
            words[n][15] = _mm512_mask_srli_epi32::<29>(words[n][15], ends, lens[n]);
        }
        let mixed = compress(states, &words);
        for n in 0..N {
            let active = _mm512_cmpgt_epi32_mask(counts[n], _mm512_set1_epi32(block as i32));
            for i in 0..4 {
                let state = states[n][i];
                states[n][i] = _mm512_mask_add_epi32(state, active, state, mixed[n][i]);
            }
        }
    }
    let mut out = [[Md5Digest::default(); LANES]; N];
    for n in 0..N {
        out[n] = digests(states[n]);
    }
    out
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

/// The four rounds over one block, without the final addition.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn compress<const N: usize>(mut states: [[Word; 4]; N], words: &[[Word; 16]; N]) -> [[Word; 4]; N] {
    round::<N, 0, 0b1100_1010, 7, 12, 17, 22>(&mut states, words);
    round::<N, 1, 0b1110_0100, 5, 9, 14, 20>(&mut states, words);
    round::<N, 2, 0b1001_0110, 4, 11, 16, 23>(&mut states, words);
    round::<N, 3, 0b0011_1001, 6, 10, 15, 21>(&mut states, words);
    states
}

/// One round; `MIX` is the truth table of its function.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn round<
    const N: usize,
    const ROUND: usize,
    const MIX: i32,
    const R0: i32,
    const R1: i32,
    const R2: i32,
    const R3: i32,
>(
    states: &mut [[Word; 4]; N],
    words: &[[Word; 16]; N],
) {
    for i in (0..16).step_by(4) {
        step::<N, ROUND, MIX, R0>(states, words, i, [0, 1, 2, 3]);
        step::<N, ROUND, MIX, R1>(states, words, i + 1, [3, 0, 1, 2]);
        step::<N, ROUND, MIX, R2>(states, words, i + 2, [2, 3, 0, 1]);
        step::<N, ROUND, MIX, R3>(states, words, i + 3, [1, 2, 3, 0]);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn step<const N: usize, const ROUND: usize, const MIX: i32, const ROTATE: i32>(
    states: &mut [[Word; 4]; N],
    words: &[[Word; 16]; N],
    i: usize,
    [a, b, c, d]: [usize; 4],
) {
    let sine = _mm512_set1_epi32(SINES[ROUND][i] as i32);
    for (state, words) in states.iter_mut().zip(words) {
        let mixed = _mm512_ternarylogic_epi32::<MIX>(state[b], state[c], state[d]);
        let added = _mm512_add_epi32(state[a], _mm512_add_epi32(words[WORDS[ROUND][i]], sine));
        let rotated = _mm512_rol_epi32::<ROTATE>(_mm512_add_epi32(added, mixed));
        state[a] = _mm512_add_epi32(state[b], rotated);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn digests([a, b, c, d]: [Word; 4]) -> [Md5Digest; LANES] {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    // Of the four lanes in each quarter of a register, the first, the second, …
    let quarters = [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ];
    let mut out = [Md5Digest::default(); LANES];
    for (i, register) in quarters.into_iter().enumerate() {
        let mut four = [Md5Digest::default(); 4];
        // SAFETY: `four` is 64 bytes.
        unsafe { _mm512_storeu_si512(four.as_mut_ptr().cast(), register) };
        for (quarter, digest) in four.into_iter().enumerate() {
            out[4 * quarter + i] = digest;
        }
    }
    out
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2")]
fn load(words: &[u32; LANES]) -> Word {
    // SAFETY: `words` is 64 bytes.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

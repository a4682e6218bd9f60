//! Eight values in each of one or two registers, with AVX2.

use std::arch::x86_64::*;

use super::{
    Md5Digest,
    constants::{SINES, START, WORDS},
    lanes::block_count,
    skeleton,
};

skeleton::kernel! {
    features: "avx2,bmi2",
    lanes: 8,
    word: __m256i,
    splat: _mm256_set1_epi32,
    add: _mm256_add_epi32,
    unpack_words: _mm256_unpacklo_epi32, _mm256_unpackhi_epi32,
    unpack_pairs: _mm256_unpacklo_epi64, _mm256_unpackhi_epi64,
    load: _mm256_loadu_si256,
    store: _mm256_storeu_si256,
}

/// Values side by side, and what their blocks need.
struct Rows<'a, const N: usize> {
    values: [&'a [&'a [u8]; LANES]; N],
    /// The blocks of each value, with its padding.
    counts: [Word; N],
    /// The most blocks of a value.
    longest: u32,
    /// One block of each value, before it is transposed.
    blocks: [[[u8; 64]; LANES]; N],
}

impl<'a, const N: usize> Rows<'a, N> {
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn new(values: [&'a [&'a [u8]; LANES]; N]) -> Rows<'a, N> {
        let mut counts = [_mm256_setzero_si256(); N];
        let mut longest = 0;
        for n in 0..N {
            let mut row = [0; LANES];
            for lane in 0..LANES {
                row[lane] = block_count(values[n][lane].len()) as u32;
                longest = longest.max(row[lane]);
            }
            counts[n] = load(&row);
        }
        Rows { values, counts, longest, blocks: [[[0; 64]; LANES]; N] }
    }

    /// The words of a block of each value.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn words(&mut self, block: u32) -> [[Word; 16]; N] {
        for n in 0..N {
            for lane in 0..LANES {
                fill_block(self.values[n][lane], block as usize, &mut self.blocks[n][lane]);
            }
        }
        let mut words = [[_mm256_setzero_si256(); 16]; N];
        for (words, blocks) in words.iter_mut().zip(&self.blocks) {
            *words = transpose(blocks);
        }
        words
    }
}

/// `state` plus `mixed` in the lanes of the values that have `block`.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn add_active(counts: Word, block: u32, mut state: [Word; 4], mixed: [Word; 4]) -> [Word; 4] {
    let active = _mm256_cmpgt_epi32(counts, _mm256_set1_epi32(block as i32));
    for i in 0..4 {
        state[i] = _mm256_add_epi32(state[i], _mm256_and_si256(active, mixed[i]));
    }
    state
}

/// Writes the 64 bytes of `value` that make up `block` to `out`, with padding.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn fill_block(value: &[u8], block: usize, out: &mut [u8; 64]) {
    let rest = value.get(block * 64..).unwrap_or_default();
    if let Some(full) = rest.first_chunk() {
        *out = *full;
        return;
    }
    *out = [0; 64];
    // Copies of a fixed size that may overlap cost less than a call for any size.
    match rest.len() {
        32.. => copy_ends::<32>(rest, out),
        16.. => copy_ends::<16>(rest, out),
        8.. => copy_ends::<8>(rest, out),
        4.. => copy_ends::<4>(rest, out),
        _ => rest.iter().zip(&mut *out).for_each(|(from, to)| *to = *from),
    }
    if !rest.is_empty() || block * 64 == value.len() {
        out[rest.len()] = 0x80;
    }
    if rest.len() < 56 {
        out[56..].copy_from_slice(&(value.len() as u64 * 8).to_le_bytes());
    }
}

/// Copies the first `N` bytes of `from`, and the last.
#[inline]
fn copy_ends<const N: usize>(from: &[u8], to: &mut [u8; 64]) {
    to[..N].copy_from_slice(&from[..N]);
    let last = from.len() - N;
    to[last..last + N].copy_from_slice(&from[last..]);
}

/// Turns 8 rows of 16 words into 16 columns.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn transpose(blocks: &[[u8; 64]; LANES]) -> [Word; 16] {
    let mut columns = [_mm256_setzero_si256(); 16];
    for half in 0..2 {
        let mut rows = [_mm256_setzero_si256(); LANES];
        for (row, block) in rows.iter_mut().zip(blocks) {
            // SAFETY: both halves of `block` are 32 bytes.
            *row = unsafe { _mm256_loadu_si256(block[32 * half..][..32].as_ptr().cast()) };
        }
        let mut pairs = rows;
        for i in 0..4 {
            pairs[2 * i] = _mm256_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
            pairs[2 * i + 1] = _mm256_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
        }
        // `fours[4 * i + k]` holds the columns k and k + 4 of the rows 4i to 4i + 3.
        let mut fours = rows;
        for i in 0..2 {
            fours[4 * i] = _mm256_unpacklo_epi64(pairs[4 * i], pairs[4 * i + 2]);
            fours[4 * i + 1] = _mm256_unpackhi_epi64(pairs[4 * i], pairs[4 * i + 2]);
            fours[4 * i + 2] = _mm256_unpacklo_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
            fours[4 * i + 3] = _mm256_unpackhi_epi64(pairs[4 * i + 1], pairs[4 * i + 3]);
        }
        for k in 0..4 {
            columns[8 * half + k] = _mm256_permute2x128_si256::<0x20>(fours[k], fours[4 + k]);
            columns[8 * half + 4 + k] = _mm256_permute2x128_si256::<0x31>(fours[k], fours[4 + k]);
        }
    }
    columns
}

/// The functions F, G, H and I of the rounds, F and G with one operation less than in the RFC.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn mix<const ROUND: usize>(b: Word, c: Word, d: Word) -> Word {
    match ROUND {
        0 => _mm256_xor_si256(d, _mm256_and_si256(b, _mm256_xor_si256(c, d))),
        1 => _mm256_xor_si256(c, _mm256_and_si256(d, _mm256_xor_si256(b, c))),
        2 => _mm256_xor_si256(b, _mm256_xor_si256(c, d)),
        _ => _mm256_xor_si256(c, _mm256_or_si256(b, _mm256_xor_si256(d, _mm256_set1_epi32(-1)))),
    }
}

/// Rotates to the left by `LEFT` bits, which is to the right by `RIGHT`.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(word: Word) -> Word {
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(word), _mm256_srli_epi32::<RIGHT>(word))
}

//! Eight values in each of one or two registers, with AVX2.

use std::arch::x86_64::*;

use super::{
    Md5Digest,
    constants::{SINES, START, WORDS},
    lanes::block_count,
};

const LANES: usize = 8;

/// One word of each lane.
type Word = __m256i;

/// Digests one row of lanes or two. Two hide the latency of each other's steps.
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn digest(values: &[[&[u8]; LANES]], out: &mut [[Md5Digest; LANES]]) {
    match (values, out) {
        ([one], [out]) => *out = rows([one])[0],
        ([one, two], [first, second]) => [*first, *second] = rows([one, two]),
        _ => unreachable!("one row or two"),
    }
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn rows<const N: usize>(values: [&[&[u8]; LANES]; N]) -> [[Md5Digest; LANES]; N] {
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
    let mut states = [START.map(|word| _mm256_set1_epi32(word as i32)); N];
    let mut blocks = [[[0; 64]; LANES]; N];
    for block in 0..longest {
        let mut words = [[_mm256_setzero_si256(); 16]; N];
        for n in 0..N {
            for lane in 0..LANES {
                fill_block(values[n][lane], block as usize, &mut blocks[n][lane]);
            }
        }
        for n in 0..N {
            words[n] = transpose(&blocks[n]);
        }
        let mixed = compress(states, &words);
        for n in 0..N {
            let active = _mm256_cmpgt_epi32(counts[n], _mm256_set1_epi32(block as i32));
            for i in 0..4 {
                states[n][i] = _mm256_add_epi32(states[n][i], _mm256_and_si256(active, mixed[n][i]));
            }
        }
    }
    let mut out = [[Md5Digest::default(); LANES]; N];
    for n in 0..N {
        out[n] = digests(states[n]);
    }
    out
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

/// The four rounds over one block, without the final addition.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn compress<const N: usize>(mut states: [[Word; 4]; N], words: &[[Word; 16]; N]) -> [[Word; 4]; N] {
    round::<N, 0, 7, 25, 12, 20, 17, 15, 22, 10>(&mut states, words);
    round::<N, 1, 5, 27, 9, 23, 14, 18, 20, 12>(&mut states, words);
    round::<N, 2, 4, 28, 11, 21, 16, 16, 23, 9>(&mut states, words);
    round::<N, 3, 6, 26, 10, 22, 15, 17, 21, 11>(&mut states, words);
    states
}

/// One round; it rotates to the left by `L0` to `L3`, which is to the right by `R0` to `R3`.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn round<
    const N: usize,
    const ROUND: usize,
    const L0: i32,
    const R0: i32,
    const L1: i32,
    const R1: i32,
    const L2: i32,
    const R2: i32,
    const L3: i32,
    const R3: i32,
>(
    states: &mut [[Word; 4]; N],
    words: &[[Word; 16]; N],
) {
    for i in (0..16).step_by(4) {
        step::<N, ROUND, L0, R0>(states, words, i, [0, 1, 2, 3]);
        step::<N, ROUND, L1, R1>(states, words, i + 1, [3, 0, 1, 2]);
        step::<N, ROUND, L2, R2>(states, words, i + 2, [2, 3, 0, 1]);
        step::<N, ROUND, L3, R3>(states, words, i + 3, [1, 2, 3, 0]);
    }
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn step<const N: usize, const ROUND: usize, const LEFT: i32, const RIGHT: i32>(
    states: &mut [[Word; 4]; N],
    words: &[[Word; 16]; N],
    i: usize,
    [a, b, c, d]: [usize; 4],
) {
    const { assert!(LEFT + RIGHT == 32) };
    let sine = _mm256_set1_epi32(SINES[ROUND][i] as i32);
    for (state, words) in states.iter_mut().zip(words) {
        let mixed = mix::<ROUND>(state[b], state[c], state[d]);
        let added = _mm256_add_epi32(state[a], _mm256_add_epi32(words[WORDS[ROUND][i]], sine));
        let sum = _mm256_add_epi32(added, mixed);
        let rotated = _mm256_or_si256(_mm256_slli_epi32::<LEFT>(sum), _mm256_srli_epi32::<RIGHT>(sum));
        state[a] = _mm256_add_epi32(state[b], rotated);
    }
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

#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn digests(state: [Word; 4]) -> [Md5Digest; LANES] {
    let [a, b, c, d] = state;
    let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    // Of the four lanes in each half of a register, the first, the second, …
    let halves = [
        _mm256_unpacklo_epi64(ab_low, cd_low),
        _mm256_unpackhi_epi64(ab_low, cd_low),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    ];
    let mut out = [Md5Digest::default(); LANES];
    for (i, register) in halves.into_iter().enumerate() {
        let mut two = [Md5Digest::default(); 2];
        // SAFETY: `two` is 32 bytes.
        unsafe { _mm256_storeu_si256(two.as_mut_ptr().cast(), register) };
        [out[i], out[4 + i]] = two;
    }
    out
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn load(words: &[u32; LANES]) -> Word {
    // SAFETY: `words` is 32 bytes.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

//! Thirty-two characters in a register, with AVX2.

use std::arch::x86_64::*;

use super::{
    BLOCK, Structure, Work,
    classes::{CURLY, Classes},
    rules::drive,
};

/// Runs `work` with these instructions.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
pub(super) fn run<W: Work>(work: W) -> W::Output {
    work.run(|doc, structure| scan(doc, structure))
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
fn scan(doc: &[u8], structure: &mut Structure) {
    drive(
        doc,
        structure,
        |bytes| classify(bytes),
        |rest| {
            let mut bytes = [b' '; BLOCK];
            bytes[..rest.len()].copy_from_slice(rest);
            classify(&bytes)
        },
        |set| parity(set),
    );
}

#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
fn classify(bytes: &[u8; BLOCK]) -> Classes {
    let (low, high) = bytes.split_at(BLOCK / 2);
    // SAFETY: there are 32 bytes in each half.
    let halves = unsafe { [low, high].map(|half| _mm256_loadu_si256(half.as_ptr().cast())) };
    // Bit 5 is where the brackets differ, and lower from upper case.
    let folded = halves.map(|half| _mm256_or_si256(half, _mm256_set1_epi8(CURLY as i8)));
    let equal = |halves: [__m256i; 2], byte: u8| {
        both(halves.map(|half| _mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte as i8))))
    };
    // The lower halves of the white characters differ: they index this table.
    let white = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        b' ' as i8,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        b'\t' as i8,
        b'\n' as i8,
        0,
        0,
        b'\r' as i8,
        0,
        0,
    ));
    // As unsigned numbers: `x` is at most `most` where it is the lesser of both.
    let at_most = |halves: [__m256i; 2], most: u8| {
        let most = _mm256_set1_epi8(most as i8);
        both(halves.map(|half| _mm256_cmpeq_epi8(_mm256_min_epu8(half, most), half)))
    };
    let digits = halves.map(|half| _mm256_sub_epi8(half, _mm256_set1_epi8(b'0' as i8)));
    Classes {
        quote: equal(halves, b'"'),
        backslash: equal(halves, b'\\'),
        control: at_most(halves, b' ' - 1),
        white: both(halves.map(|half| _mm256_cmpeq_epi8(_mm256_shuffle_epi8(white, half), half))),
        open: equal(folded, b'{'),
        close: equal(folded, b'}'),
        // Moves bit 5 of each byte to where its sign is.
        curly: both(halves.map(|half| _mm256_slli_epi16::<2>(half))),
        colon: equal(halves, b':'),
        comma: equal(halves, b','),
        digit: at_most(digits, 9),
        zero: equal(halves, b'0'),
        minus: equal(halves, b'-'),
        plus: equal(halves, b'+'),
        dot: equal(halves, b'.'),
        exponent: equal(folded, b'e'),
        beyond_ascii: both(halves),
    }
}

/// The signs of all bytes.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
fn both([low, high]: [__m256i; 2]) -> u64 {
    let [low, high] = [low, high].map(|half| _mm256_movemask_epi8(half) as u32);
    u64::from(low) | u64::from(high) << 32
}

/// As [`rules::parity`](super::rules::parity): the product of polynomials with one that has all terms.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
fn parity(set: u64) -> u64 {
    let product = _mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(set as i64), _mm_set1_epi8(-1));
    _mm_cvtsi128_si64(product) as u64
}

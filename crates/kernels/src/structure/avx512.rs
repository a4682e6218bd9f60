//! Sixty-four characters in a register, with AVX-512.

use std::arch::x86_64::*;

use super::{
    Structure, Work,
    classes::{CURLY, Classes},
    rules::drive,
};

/// Runs `work` with these instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
pub(super) fn run<W: Work>(work: W) -> W::Output {
    work.run(|doc, structure| scan(doc, structure))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
pub(super) fn scan(doc: &[u8], structure: &mut Structure) {
    drive(
        doc,
        structure,
        |bytes| {
            // SAFETY: there are 64 bytes.
            classify(unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) })
        },
        |rest| {
            let spaces = _mm512_set1_epi8(b' ' as i8);
            if rest.is_empty() {
                // Processors are slow to ignore addresses that are not mapped.
                return classify(spaces);
            }
            let mask = (1 << rest.len()) - 1;
            // SAFETY: only the bytes that the mask names are read, and these are those of `rest`, which
            // are less than 64.
            classify(unsafe { _mm512_mask_loadu_epi8(spaces, mask, rest.as_ptr().cast()) })
        },
        |set| parity(set),
    );
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
fn classify(bytes: __m512i) -> Classes {
    let splat = |byte: u8| _mm512_set1_epi8(byte as i8);
    let equal = |bytes: __m512i, byte: u8| _mm512_cmpeq_epi8_mask(bytes, splat(byte));
    // Bit 5 is where the brackets differ, and lower from upper case.
    let folded = _mm512_or_si512(bytes, splat(CURLY));
    // The lower halves of the white characters differ: they index this table.
    let white = _mm512_broadcast_i32x4(_mm_setr_epi8(
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
    Classes {
        quote: equal(bytes, b'"'),
        backslash: equal(bytes, b'\\'),
        control: _mm512_cmplt_epu8_mask(bytes, splat(b' ')),
        white: _mm512_cmpeq_epi8_mask(_mm512_shuffle_epi8(white, bytes), bytes),
        open: equal(folded, b'{'),
        close: equal(folded, b'}'),
        curly: _mm512_test_epi8_mask(bytes, splat(CURLY)),
        colon: equal(bytes, b':'),
        comma: equal(bytes, b','),
        digit: _mm512_cmplt_epu8_mask(_mm512_sub_epi8(bytes, splat(b'0')), splat(10)),
        zero: equal(bytes, b'0'),
        minus: equal(bytes, b'-'),
        plus: equal(bytes, b'+'),
        dot: equal(bytes, b'.'),
        exponent: equal(folded, b'e'),
        beyond_ascii: _mm512_movepi8_mask(bytes),
    }
}

/// As [`rules::parity`](super::rules::parity): the product of polynomials with one that has all terms.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
fn parity(set: u64) -> u64 {
    let product = _mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(set as i64), _mm_set1_epi8(-1));
    _mm_cvtsi128_si64(product) as u64
}

//! Five hundred and twelve characters at a time, with AVX-512 and its VBMI and GFNI: the rules of
//! [`rules`](super::rules), each done for eight blocks in the lanes of a register.
//!
//! A table gives each character a code of eight bits, which says what it is; as matrices of bits, the codes
//! of a block are turned around, so that each of eight sets has one bit of them; and so are these of eight
//! blocks, so that each register has one set of every block. What is carried from one block to the next
//! then is carried from lane to lane.

mod codes;
mod carried;

use std::arch::x86_64::*;

use super::{ARRAY_BEFORE, BLOCK, OBJECT_BEFORE, Structure, Work};
use carried::Carried;

/// How many blocks there are in a register.
const LANES: usize = super::AT_ONCE;

/// Documents that are shorter are not worth filling a register; in tests, all are.
const WORTH: usize = if cfg!(test) { 1 } else { 3 * BLOCK };

/// Runs `work` with these instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,gfni,vpclmulqdq")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
pub(super) fn run<W: Work>(work: W) -> W::Output {
    work.run(
        |doc, structure| {
            if doc.len() < WORTH { super::avx512::scan(doc, structure) } else { scan(doc, structure) }
        },
    )
}

/// Numbers from 0 on, as the bytes of a register.
static PLACES: [u8; BLOCK] = {
    let mut places = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        places[at] = at as u8;
        at += 1;
    }
    places
};

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,gfni,vpclmulqdq")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
fn scan(doc: &[u8], structure: &mut Structure) {
    let (out, places, marks) = structure.room(doc.len());
    let mut carried = Carried::start();
    let mut placed = 0;
    for (nth, out) in out.iter_mut().enumerate() {
        let start = nth * LANES * BLOCK;
        let (bytes, set) = carried.blocks(&doc[start.min(doc.len())..], out);
        let mut sets = [0_u64; LANES];
        // SAFETY: there is room for eight times eight bytes.
        unsafe { _mm512_storeu_si512(sets.as_mut_ptr().cast(), set) };
        for (lane, set) in sets.into_iter().enumerate() {
            let base = start + lane * BLOCK;
            if base >= doc.len() {
                break;
            }
            let those = chosen(set);
            let marked = marked(bytes[lane], out.array_before[lane], out.object_before[lane]);
            let marked = _mm512_permutexvar_epi8(those, marked);
            let out: &mut [u8] = &mut marks[placed..][..BLOCK];
            // SAFETY: there is room for 64 bytes.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), marked) };
            placed += place(set, those, base, &mut places[placed..]);
        }
    }
    structure.placed = placed;
    structure.seen = carried.seen();
}

/// The places that are in `set`, the first one first, as bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt")]
fn chosen(set: u64) -> __m512i {
    // SAFETY: there are 64 bytes.
    let all = unsafe { _mm512_loadu_si512(PLACES.as_ptr().cast()) };
    _mm512_maskz_compress_epi8(set, all)
}

/// The bytes of a block with what marks brackets before which something says what is around.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt")]
fn marked(bytes: __m512i, array_before: u64, object_before: u64) -> __m512i {
    let array = _mm512_set1_epi8(ARRAY_BEFORE as i8);
    let bytes = _mm512_mask_add_epi8(bytes, array_before, bytes, array);
    _mm512_mask_sub_epi8(bytes, object_before, bytes, _mm512_set1_epi8(OBJECT_BEFORE as i8))
}

/// Writes where `those` places of `set` stand after `base`, and returns how many there are. There is room for one in
/// each place of a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt")]
fn place(set: u64, those: __m512i, base: usize, places: &mut [u32]) -> usize {
    /// As many as are written at once.
    const AT_ONCE: usize = 16;
    let count = set.count_ones() as usize;
    let base = _mm512_set1_epi32(base as i32);
    let parts = [
        _mm512_castsi512_si128(those),
        _mm512_extracti32x4_epi32::<1>(those),
        _mm512_extracti32x4_epi32::<2>(those),
        _mm512_extracti32x4_epi32::<3>(those),
    ];
    let out = &mut places[..BLOCK];
    for (nth, part) in parts.into_iter().enumerate() {
        if nth > 0 && count <= nth * AT_ONCE {
            break;
        }
        let part = _mm512_add_epi32(_mm512_cvtepu8_epi32(part), base);
        let out: &mut [u32] = &mut out[nth * AT_ONCE..][..AT_ONCE];
        // SAFETY: there is room for 16 numbers of four bytes.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), part) };
    }
    count
}

//! What each character is, as sets of the bytes of eight blocks.
//!
//! A table gives each character a code of eight bits; as matrices of bits, the codes of a block are turned
//! around, so that each of eight sets has one bit of them; and so are these of eight blocks, so that each
//! register has one set of every block.

use std::arch::x86_64::*;

use super::{BLOCK, LANES};

// What the bits of a code say.
const QUOTE: u8 = 1;
const BACKSLASH: u8 = 2;
const CONTROL: u8 = 4;
const WHITE: u8 = 8;
/// Brackets, colons and commas; without it, what the other three mean is about numbers.
const SIGN: u8 = 0x80;
const BRACKET: u8 = SIGN | 0x40;
const OPEN: u8 = BRACKET | 0x20;
const CURLY: u8 = 0x10;
const COLON: u8 = SIGN | 0x20;
const COMMA: u8 = SIGN;
const DIGIT: u8 = 0x40;
const ZERO: u8 = DIGIT | 0x10;
const PLUS: u8 = DIGIT | 0x20;
const MINUS: u8 = 0x20;
const EXPONENT: u8 = 0x20 | 0x10;
const DOT: u8 = 0x10;

/// The codes of ASCII.
static CODES: [u8; 128] = codes();

const fn codes() -> [u8; 128] {
    let mut codes = [0; 128];
    let mut byte = 0;
    while byte < 128 {
        codes[byte] = match byte as u8 {
            b'"' => QUOTE,
            b'\\' => BACKSLASH,
            b'\t' | b'\n' | b'\r' => CONTROL | WHITE,
            b' ' => WHITE,
            0..b' ' => CONTROL,
            b'{' => OPEN | CURLY,
            b'[' => OPEN,
            b'}' => BRACKET | CURLY,
            b']' => BRACKET,
            b':' => COLON,
            b',' => COMMA,
            b'0' => ZERO,
            b'1'..=b'9' => DIGIT,
            b'-' => MINUS,
            b'+' => PLUS,
            b'.' => DOT,
            b'e' | b'E' => EXPONENT,
            _ => 0,
        };
        byte += 1;
    }
    codes
}

/// For each byte of a register, which one it gets when its bytes are turned around as a matrix of eight rows.
static TURNED: [u8; BLOCK] = {
    let mut turned = [0; BLOCK];
    let mut at = 0;
    while at < BLOCK {
        turned[at] = (at % 8 * 8 + at / 8) as u8;
        at += 1;
    }
    turned
};

/// The bits of the codes of eight blocks, a register for each bit and a lane for each block, and which bytes are
/// of the document.
pub(super) struct Planes {
    pub bits: [__m512i; 8],
    /// The blocks themselves.
    pub bytes: [__m512i; LANES],
    pub inside: __m512i,
    pub beyond_ascii: __m512i,
}

/// Those of the blocks at the front of `doc`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,gfni,vpclmulqdq")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
pub(super) fn planes(doc: &[u8]) -> Planes {
    let zero = _mm512_setzero_si512();
    // SAFETY: there are 64 bytes in each of them.
    let [low, high, turned] = unsafe {
        [CODES[..BLOCK].as_ptr(), CODES[BLOCK..].as_ptr(), TURNED.as_ptr()]
            .map(|bytes| _mm512_loadu_si512(bytes.cast()))
    };
    // Picks one bit of eight bytes, for each of the bits.
    let each_bit = _mm512_set1_epi64(0x8040_2010_0804_0201_u64 as i64);
    let (mut rows, mut blocks) = ([zero; LANES], [zero; LANES]);
    let mut beyond_ascii = zero;
    let mut inside = [0_u64; LANES];
    for (nth, (row, block)) in rows.iter_mut().zip(&mut blocks).enumerate() {
        let rest = doc.get(nth * BLOCK..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        let mask = if rest.len() < BLOCK { (1 << rest.len()) - 1 } else { u64::MAX };
        inside[nth] = mask;
        // SAFETY: only the bytes that the mask names are read, and these are at the front of `rest`.
        let bytes = unsafe { _mm512_maskz_loadu_epi8(mask, rest.as_ptr().cast()) };
        *block = bytes;
        beyond_ascii = _mm512_or_si512(beyond_ascii, bytes);
        let ascii = !_mm512_movepi8_mask(bytes) & mask;
        let codes = _mm512_maskz_permutex2var_epi8(ascii, low, bytes, high);
        // The bits of eight bytes become eight bytes, each of one bit of all of them, the last one lowest.
        let bits = _mm512_gf2p8affine_epi64_epi8::<0>(each_bit, codes);
        *row = _mm512_permutexvar_epi8(turned, bits);
    }
    // Turns the bits of every byte around: the last one is the lowest so far.
    let last_first = _mm512_set1_epi64(0x8040_2010_0804_0201_u64 as i64);
    let bits = turn(rows).map(|row| _mm512_gf2p8affine_epi64_epi8::<0>(row, last_first));
    // SAFETY: there are eight times eight bytes.
    let inside = unsafe { _mm512_loadu_si512(inside.as_ptr().cast()) };
    Planes { bits, bytes: blocks, inside, beyond_ascii }
}

/// The matrix of the lanes of eight registers, turned around.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn turn(rows: [__m512i; LANES]) -> [__m512i; LANES] {
    let [a, b, c, d, e, f, g, h] = rows;
    let pairs = |one, other| (_mm512_unpacklo_epi64(one, other), _mm512_unpackhi_epi64(one, other));
    let ((ab0, ab1), (cd0, cd1), (ef0, ef1), (gh0, gh1)) =
        (pairs(a, b), pairs(c, d), pairs(e, f), pairs(g, h));
    // The lanes 0 and 2, or 1 and 3, of the four halves of each.
    let fours =
        |one, other| (_mm512_shuffle_i64x2::<0x88>(one, other), _mm512_shuffle_i64x2::<0xdd>(one, other));
    let [(x0, x1), (x2, x3)] = [fours(ab0, cd0), fours(ab1, cd1)];
    let [(y0, y1), (y2, y3)] = [fours(ef0, gh0), fours(ef1, gh1)];
    let ((r0, r4), (r2, r6)) = (fours(x0, y0), fours(x1, y1));
    let ((r1, r5), (r3, r7)) = (fours(x2, y2), fours(x3, y3));
    [r0, r1, r2, r3, r4, r5, r6, r7]
}

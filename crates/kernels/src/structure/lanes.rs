//! Five hundred and twelve characters at a time, with AVX-512 and its VBMI and GFNI: the rules of
//! [`rules`](super::rules), each done for eight blocks in the lanes of a register.
//!
//! A table gives each character a code of eight bits, which says what it is; as matrices of bits, the codes
//! of a block are turned around, so that each of eight sets has one bit of them; and so are these of eight
//! blocks, so that each register has one set of every block. What is carried from one block to the next
//! then is carried from lane to lane.

use std::arch::x86_64::*;

use super::{BLOCK, Block, Structure, Work, rules};

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

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,gfni,vpclmulqdq")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
fn scan(doc: &[u8], structure: &mut Structure) {
    let (out, places) = structure.room(doc.len());
    let mut carried = Carried::start();
    let mut placed = 0;
    for (nth, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let start = nth * LANES * BLOCK;
        let set = carried.blocks(&doc[start.min(doc.len())..], out);
        let mut sets = [0_u64; LANES];
        // SAFETY: there is room for eight times eight bytes.
        unsafe { _mm512_storeu_si512(sets.as_mut_ptr().cast(), set) };
        for (lane, set) in sets.into_iter().enumerate() {
            placed += place(set, start + lane * BLOCK, &mut places[placed..]);
        }
    }
    structure.placed = placed;
    structure.seen = carried.seen();
}

/// Writes where the bits of `set` stand after `base`, and returns how many there are. There is room for one in
/// each place of a block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt")]
fn place(set: u64, base: usize, places: &mut [u32]) -> usize {
    /// As many as are written at once.
    const AT_ONCE: usize = 16;
    let count = set.count_ones() as usize;
    // SAFETY: there are 64 bytes.
    let all = unsafe { _mm512_loadu_si512(PLACES.as_ptr().cast()) };
    let those = _mm512_maskz_compress_epi8(set, all);
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

/// The bits of the codes of eight blocks, a register for each bit and a lane for each block, and which bytes are
/// of the document.
struct Planes {
    bits: [__m512i; 8],
    inside: __m512i,
    beyond_ascii: __m512i,
}

/// Those of the blocks at the front of `doc`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,gfni,vpclmulqdq")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
fn planes(doc: &[u8]) -> Planes {
    let zero = _mm512_setzero_si512();
    // SAFETY: there are 64 bytes in each of them.
    let [low, high, turned] = unsafe {
        [CODES[..BLOCK].as_ptr(), CODES[BLOCK..].as_ptr(), TURNED.as_ptr()]
            .map(|bytes| _mm512_loadu_si512(bytes.cast()))
    };
    // Picks one bit of eight bytes, for each of the bits.
    let each_bit = _mm512_set1_epi64(0x8040_2010_0804_0201_u64 as i64);
    let mut rows = [zero; LANES];
    let mut beyond_ascii = zero;
    let mut inside = [0_u64; LANES];
    for (nth, row) in rows.iter_mut().enumerate() {
        let rest = doc.get(nth * BLOCK..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        let mask = if rest.len() < BLOCK { (1 << rest.len()) - 1 } else { u64::MAX };
        inside[nth] = mask;
        // SAFETY: only the bytes that the mask names are read, and these are at the front of `rest`.
        let bytes = unsafe { _mm512_maskz_loadu_epi8(mask, rest.as_ptr().cast()) };
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
    Planes { bits, inside, beyond_ascii }
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

/// What eight blocks leave for the next ones.
struct Carried {
    /// Whether the next byte is escaped.
    escaped: u64,
    /// All bits, if the next byte is in a string.
    in_string: u8,
    /// Bytes of the word that goes on, as a set.
    word_left: u64,
    primitives: __m512i,
    value: Follow,
    member: Follow,
    opened: Follow,
    in_key: u32,
    after_key: Follow,
    colon: u32,
    element: u32,
    number: Number,
    faults: __m512i,
    word_faults: u64,
    beyond_ascii: __m512i,
    escapes: bool,
}

/// For what follows something, with white space between.
struct Follow {
    set: __m512i,
    space: u32,
}

/// The numbers so far.
struct Number {
    minus: __m512i,
    leading_zero: __m512i,
    exponent: __m512i,
    unfinished: __m512i,
    in_whole: u32,
    in_fraction: u32,
}

impl Carried {
    /// As that of a single block: before the document, as if a value were to follow.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn start() -> Carried {
        let zero = _mm512_setzero_si512();
        let follow = |set| Follow { set, space: 0 };
        Carried {
            escaped: 0,
            in_string: 0,
            word_left: 0,
            primitives: zero,
            value: follow(_mm512_set1_epi64(i64::MIN)),
            member: follow(zero),
            opened: follow(zero),
            in_key: 0,
            after_key: follow(zero),
            colon: 0,
            element: 0,
            number: Number {
                minus: zero,
                leading_zero: zero,
                exponent: zero,
                unfinished: zero,
                in_whole: 0,
                in_fraction: 0,
            },
            faults: zero,
            word_faults: 0,
            beyond_ascii: zero,
            escapes: false,
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn seen(&self) -> super::Seen {
        let is_incomplete = self.in_string != 0 || self.colon != 0 || self.element != 0;
        let has_faults = _mm512_test_epi64_mask(self.faults, self.faults) != 0 || self.word_faults != 0;
        super::Seen {
            faults: has_faults || is_incomplete,
            beyond_ascii: _mm512_movepi8_mask(self.beyond_ascii) != 0,
            escapes: self.escapes,
        }
    }

    /// The structure of the blocks at the front of `doc`, and where brackets and keys stand.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,gfni,vpclmulqdq")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
    fn blocks(&mut self, doc: &[u8], out: &mut [Block; LANES]) -> __m512i {
        let zero = _mm512_setzero_si512();
        let and = |a, b| _mm512_and_si512(a, b);
        let or = |a, b| _mm512_or_si512(a, b);
        // Those of `b` that are not of `a`.
        let without = |b, a| _mm512_andnot_si512(a, b);
        let is_any = |set| _mm512_test_epi64_mask(set, set) != 0;
        let Planes { bits: [quote, backslash, control, white, b4, b5, b6, b7], inside, beyond_ascii } =
            planes(doc);
        self.beyond_ascii = or(self.beyond_ascii, beyond_ascii);

        let escaped =
            if is_any(backslash) || self.escaped != 0 { self.escaped(backslash, doc) } else { zero };
        let quotes = without(quote, escaped);
        let strings = self.strings(quotes);
        let mut faults = and(control, strings);
        let (quote_open, quote_close) = (and(quotes, strings), without(quotes, strings));
        let outside = without(inside, or(strings, quotes));

        let white = and(white, outside);
        // By the bits of their codes.
        let signs = and(b7, outside);
        let brackets = and(signs, b6);
        let (open, close) = (and(brackets, b5), without(brackets, b5));
        let others = without(signs, b6);
        let (colons, commas) = (and(others, b5), without(others, b5));
        let primitives = without(outside, or(white, signs));
        let primitive_starts = without(primitives, shift(primitives, &mut self.primitives));

        let has_white = is_any(white)
            || (self.value.space | self.member.space | self.opened.space | self.after_key.space) != 0;
        let after = |follow: &mut Follow, set| {
            let next = shift(set, &mut follow.set);
            if has_white { without(add(next, white, &mut follow.space), white) } else { next }
        };
        let values = after(&mut self.value, or(or(open, commas), colons));
        let in_members = after(&mut self.member, or(and(open, b4), commas));
        let opened = after(&mut self.opened, open);
        let value_starts = or(or(quote_open, primitive_starts), open);
        faults = or(faults, without(value_starts, values));
        faults = or(faults, and(others, values));
        faults = or(faults, without(and(close, values), opened));

        let keys = and(in_members, quote_open);
        let key_ends = and(add(keys, strings, &mut self.in_key), quote_close);
        let after_keys = after(&mut self.after_key, key_ends);
        faults = or(faults, without(colons, after_keys));
        // After the end, where a value or a colon is missing.
        faults = or(faults, without(or(values, after_keys), inside));

        let is_digit = without(without(b6, b5), b7);
        let is_minus = without(without(b5, or(b4, b6)), b7);
        let words = without(primitive_starts, or(is_digit, is_minus));
        let words_whole = if is_any(words) || self.word_left != 0 { self.words(words, doc) } else { zero };
        let numbers = without(primitives, words_whole);
        let kinds = Kinds {
            digit: is_digit,
            zero: b4,
            minus: is_minus,
            sign: without(b5, or(b4, b7)),
            dot: without(b4, or(b5, or(b6, b7))),
            exponent: without(and(b4, b5), or(b6, b7)),
        };
        faults = or(faults, self.number.faults(&kinds, numbers, without(primitive_starts, words)));
        self.faults = or(self.faults, faults);

        let all = _mm512_set1_epi64(-1);
        let between = without(all, brackets);
        let elements = or(without(after_keys, colons), and(in_members, or(primitive_starts, open)));
        let object_before = and(add(colons, between, &mut self.colon), brackets);
        let array_before =
            and(or(add(and(elements, between), between, &mut self.element), elements), brackets);
        let places = or(brackets, keys);
        let rows = turn([brackets, commas, keys, quotes, primitives, object_before, array_before, zero]);
        for (block, row) in out.iter_mut().zip(rows) {
            // SAFETY: a block has seven sets, in this order, and is as large as a register.
            unsafe { _mm512_store_si512(std::ptr::from_mut(block).cast(), row) };
        }
        places
    }

    /// The bytes from an opening quote up to the one before the closing one.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq")]
    fn strings(&mut self, quotes: __m512i) -> __m512i {
        let all = _mm512_set1_epi64(-1);
        // In each lane, the product of polynomials with one that has all terms.
        let even = _mm512_clmulepi64_epi128::<0x00>(quotes, all);
        let odd = _mm512_clmulepi64_epi128::<0x01>(quotes, all);
        let within_lanes = _mm512_unpacklo_epi64(even, odd);
        // And the same for the lanes.
        let mut lanes = _mm512_cmplt_epi64_mask(within_lanes, _mm512_setzero_si512());
        for by in [1, 2, 4] {
            lanes ^= lanes << by;
        }
        let before = (lanes << 1) ^ self.in_string;
        self.in_string ^= ((lanes as i8) >> 7) as u8;
        _mm512_mask_xor_epi64(within_lanes, before, within_lanes, all)
    }

    /// The bytes that a backslash escapes.
    #[cold]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn escaped(&mut self, backslashes: __m512i, doc: &[u8]) -> __m512i {
        self.escapes = true;
        self.in_each(backslashes, doc, |own, backslashes, doc, faults| {
            rules::escaped(backslashes, &mut own.escaped, doc, faults)
        })
    }

    /// The bytes of the words of which those begin here that `starts` names.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn words(&mut self, starts: __m512i, doc: &[u8]) -> __m512i {
        self.in_each(starts, doc, |own, starts, doc, faults| {
            rules::words(starts, &mut own.word_left, doc, faults)
        })
    }

    /// What `one` gives for each lane and the document from there on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn in_each(
        &mut self,
        sets: __m512i,
        doc: &[u8],
        one: impl Fn(&mut Carried, u64, &[u8], &mut u64) -> u64,
    ) -> __m512i {
        let mut lanes = [0_u64; LANES];
        // SAFETY: there is room for eight times eight bytes.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), sets) };
        let mut faults = 0;
        for (nth, lane) in lanes.iter_mut().enumerate() {
            if (*lane | self.escaped | self.word_left) != 0 {
                *lane = one(self, *lane, doc.get(nth * BLOCK..).unwrap_or_default(), &mut faults);
            }
        }
        self.word_faults |= faults;
        // SAFETY: there are eight times eight bytes.
        unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
    }
}

/// What the bytes of numbers are.
struct Kinds {
    digit: __m512i,
    /// Among digits.
    zero: __m512i,
    minus: __m512i,
    /// Minus and plus.
    sign: __m512i,
    dot: __m512i,
    exponent: __m512i,
}

impl Number {
    /// As that of a single block: bits if some of the bytes of `numbers` do not belong there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2")]
    fn faults(&mut self, kinds: &Kinds, numbers: __m512i, starts: __m512i) -> __m512i {
        let and = |a, b| _mm512_and_si512(a, b);
        let or = |a, b| _mm512_or_si512(a, b);
        let without = |b, a| _mm512_andnot_si512(a, b);
        let digits = and(kinds.digit, numbers);
        let dots = and(kinds.dot, numbers);
        let exponents = and(kinds.exponent, numbers);
        let signs = and(kinds.sign, numbers);
        let mut faults = without(numbers, or(or(digits, dots), or(exponents, signs)));

        let minus = and(starts, kinds.minus);
        let zeros = and(kinds.digit, kinds.zero);
        let leading_zeros = and(or(starts, shift(minus, &mut self.minus)), zeros);
        faults = or(faults, and(shift(leading_zeros, &mut self.leading_zero), digits));

        let whole = or(digits, minus);
        let after_whole = without(add(starts, whole, &mut self.in_whole), whole);
        faults = or(faults, without(dots, after_whole));
        let fractions = or(digits, dots);
        let after_fraction = without(add(dots, fractions, &mut self.in_fraction), fractions);
        faults = or(faults, without(exponents, or(after_whole, after_fraction)));

        let after_exponent = shift(exponents, &mut self.exponent);
        let power_signs = and(after_exponent, signs);
        faults = or(faults, without(signs, or(minus, power_signs)));
        let unfinished = shift(or(or(minus, dots), power_signs), &mut self.unfinished);
        or(faults, without(or(unfinished, without(after_exponent, signs)), digits))
    }
}

/// `set` moved up by one place, after the highest one of the blocks before.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi2")]
fn shift(set: __m512i, before: &mut __m512i) -> __m512i {
    let previous = _mm512_alignr_epi64::<7>(set, *before);
    *before = set;
    _mm512_shldi_epi64::<1>(set, previous)
}

/// The sum of all lanes as one number of 512 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn add(a: __m512i, b: __m512i, carry: &mut u32) -> __m512i {
    let all = _mm512_set1_epi64(-1);
    let sum = _mm512_add_epi64(a, b);
    let carries = u32::from(_mm512_cmplt_epu64_mask(sum, a)) << 1 | *carry;
    // These hand on what they get.
    let full = u32::from(_mm512_cmpeq_epi64_mask(sum, all));
    // A carry goes through all of a run of full lanes: as in a sum of the lanes, a bit for each.
    let gets = (carries + full) ^ full;
    *carry = gets >> 8;
    _mm512_mask_sub_epi64(sum, gets as u8, sum, all)
}

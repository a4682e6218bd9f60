//! What may stand where, for eight blocks in the lanes of a register: the rules of
//! [`rules`](super::super::rules), in which what is carried from one block to the next goes from lane to lane.

use std::arch::x86_64::*;

use super::codes::{Planes, planes};
use crate::structure::{AT_ONCE as LANES, BLOCK, Blocks, Seen, rules};

/// What eight blocks leave for the next ones.
pub(super) struct Carried {
    /// Whether the next byte is escaped.
    escaped: u64,
    /// All bits, if the next byte is in a string.
    in_string: u8,
    /// Whether a word goes on.
    in_word: u32,
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
    pub(super) fn start() -> Carried {
        let zero = _mm512_setzero_si512();
        let follow = |set| Follow { set, space: 0 };
        Carried {
            escaped: 0,
            in_string: 0,
            in_word: 0,
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
    pub(super) fn seen(&self) -> Seen {
        let is_incomplete = self.in_string != 0 || self.colon != 0 || self.element != 0;
        let has_faults = _mm512_test_epi64_mask(self.faults, self.faults) != 0 || self.word_faults != 0;
        Seen {
            faults: has_faults || is_incomplete,
            beyond_ascii: _mm512_movepi8_mask(self.beyond_ascii) != 0,
            escapes: self.escapes,
        }
    }

    /// Puts the structure of the blocks at the front of `doc` into `out`. Their bytes, and where brackets and keys
    /// stand.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,gfni,vpclmulqdq")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,pclmulqdq")]
    pub(super) fn blocks(&mut self, doc: &[u8], out: &mut Blocks) -> ([__m512i; LANES], __m512i) {
        let zero = _mm512_setzero_si512();
        let and = |a, b| _mm512_and_si512(a, b);
        let or = |a, b| _mm512_or_si512(a, b);
        // Those of `b` that are not of `a`.
        let without = |b, a| _mm512_andnot_si512(a, b);
        let is_any = |set| _mm512_test_epi64_mask(set, set) != 0;
        let Planes { bits, bytes, inside, beyond_ascii } = planes(doc);
        let [quote, backslash, control, white, b4, b5, b6, b7] = bits;
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
        let numbers = if is_any(words) || self.in_word != 0 {
            self.check_words(words, doc);
            // Where it is added, a run of ones is gone.
            and(primitives, add(words, primitives, &mut self.in_word))
        } else {
            primitives
        };
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
        for (to, sets) in [
            (&mut out.brackets, brackets),
            (&mut out.commas, commas),
            (&mut out.keys, keys),
            (&mut out.quotes, quotes),
            (&mut out.words, primitives),
            (&mut out.object_before, object_before),
            (&mut out.array_before, array_before),
        ] {
            // SAFETY: there is room for eight times eight bytes, and all that is before is as large.
            unsafe { _mm512_store_si512(to.as_mut_ptr().cast(), sets) };
        }
        (bytes, or(brackets, keys))
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
        let mut lanes = [0_u64; LANES];
        // SAFETY: there is room for eight times eight bytes.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), backslashes) };
        for (nth, lane) in lanes.iter_mut().enumerate() {
            if (*lane | self.escaped) != 0 {
                let rest = doc.get(nth * BLOCK..).unwrap_or_default();
                *lane = rules::escaped(*lane, &mut self.escaped, rest, &mut self.word_faults);
            }
        }
        // SAFETY: there are eight times eight bytes.
        unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) }
    }

    /// Looks at the words that begin where `starts` says, one after the other wherever they are: how many there are
    /// is foreseen more often than in which blocks.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi1")]
    fn check_words(&mut self, starts: __m512i, doc: &[u8]) {
        let mut lanes = [0_u64; LANES];
        // SAFETY: there is room for eight times eight bytes.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), starts) };
        let mut left = _mm512_test_epi64_mask(starts, starts);
        while left != 0 {
            let nth = left.trailing_zeros() as usize % LANES;
            let at = lanes[nth].trailing_zeros() as usize;
            lanes[nth] &= lanes[nth] - 1;
            left &= !(u8::from(lanes[nth] == 0) << nth);
            self.word_faults |= rules::word_fault(doc, nth * BLOCK + at);
        }
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

//! From the classes of characters to the structure, and what may stand where: arithmetic on sets of the
//! bytes of a block, with what is carried into the next one.

use super::{
    ARRAY_BEFORE, AT_ONCE, BLOCK, Block, OBJECT_BEFORE, Seen, Structure,
    classes::{CURLY, Classes},
};

/// Fills `structure` with that of `doc`: `whole` gives the classes of a block, `part` those of the last
/// one, which is less than a block and continued by spaces, and `parity` is [`parity()`] in any form.
#[inline(always)]
pub(super) fn drive(
    doc: &[u8],
    structure: &mut Structure,
    whole: impl Fn(&[u8; BLOCK]) -> Classes,
    part: impl Fn(&[u8]) -> Classes,
    parity: impl Fn(u64) -> u64,
) {
    let (blocks, rest) = doc.as_chunks::<BLOCK>();
    let (out, places, marks) = structure.room(doc.len());
    let mut placed = 0;
    let mut carried = Carried::START;
    let mut faults = 0;
    let mut beyond_ascii = 0;
    let mut backslashes = 0;
    let classes = blocks.iter().map(Some).chain([None]);
    for (nth, bytes) in classes.enumerate() {
        let classes = bytes.map_or_else(|| part(rest), &whole);
        beyond_ascii |= classes.beyond_ascii;
        backslashes |= classes.backslash;
        let rest = &doc[nth * BLOCK..];
        let block = carried.block(&classes, rest, &parity, &mut faults);
        out[nth / AT_ONCE].set(nth % AT_ONCE, &block);
        placed += place(&block, nth * BLOCK, rest, &mut places[placed..], &mut marks[placed..]);
    }
    structure.placed = placed;
    structure.seen = Seen {
        faults: faults != 0 || carried.is_incomplete(),
        beyond_ascii: beyond_ascii != 0,
        escapes: backslashes != 0,
    };
}

/// Writes where brackets and keys stand in the block at `base`, at the front of `doc`, and their marks. Returns how
/// many there are.
#[inline(always)]
fn place(block: &Block, base: usize, doc: &[u8], places: &mut [u32], marks: &mut [u8]) -> usize {
    // As many as most blocks have are written at once, whether there are that many or not: how many
    // there are is hard to foresee.
    const AT_ONCE: usize = 8;
    let mut set = block.brackets | block.keys;
    let count = set.count_ones() as usize;
    let (places_at_once, other_places) = places.split_at_mut(AT_ONCE);
    let (marks_at_once, other_marks) = marks.split_at_mut(AT_ONCE);
    let mut put = |(place, mark): (&mut u32, &mut u8)| {
        let at = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        let flag = |set: u64, flag: u8| (set.wrapping_shr(at) & 1) as u8 * flag;
        let byte = doc.get(at as usize).copied().unwrap_or_default();
        *mark = byte
            .wrapping_add(flag(block.array_before, ARRAY_BEFORE))
            .wrapping_sub(flag(block.object_before, OBJECT_BEFORE));
        *place = base as u32 + at;
    };
    places_at_once.iter_mut().zip(marks_at_once).for_each(&mut put);
    if count > AT_ONCE {
        other_places[..count - AT_ONCE].iter_mut().zip(other_marks).for_each(put);
    }
    count
}

/// What one block leaves for the next.
#[derive(Clone, Copy)]
struct Carried {
    /// Whether the next byte is escaped.
    escaped: u64,
    /// All bits, if the next byte is in a string.
    in_string: u64,
    /// Whether a word goes on.
    in_word: bool,
    /// The numbers and words.
    primitives: u64,
    /// What a value follows: commas, colons, opening brackets.
    value: Follow,
    /// Commas and `{`.
    member: Follow,
    /// Opening brackets.
    opened: Follow,
    /// Whether a key goes on.
    in_key: bool,
    /// The ends of keys.
    after_key: Follow,
    /// Whether there was a colon since the last bracket.
    colon: bool,
    /// Whether there was an element.
    element: bool,
    number: Number,
}

/// For what follows something, with white space between.
#[derive(Clone, Copy, Default)]
struct Follow {
    /// What is followed.
    set: u64,
    /// Whether white space since then goes on.
    space: bool,
}

/// The numbers so far.
#[derive(Clone, Copy, Default)]
struct Number {
    minus: u64,
    leading_zero: u64,
    exponent: u64,
    /// What a digit has to follow.
    unfinished: u64,
    /// Whether digits before a point go on.
    in_whole: bool,
    /// Whether digits after one do.
    in_fraction: bool,
}

impl Carried {
    /// Before the document, as if a value were to follow.
    const START: Carried = Carried {
        escaped: 0,
        in_string: 0,
        in_word: false,
        primitives: 0,
        value: Follow { set: 1 << 63, space: false },
        member: Follow { set: 0, space: false },
        opened: Follow { set: 0, space: false },
        in_key: false,
        after_key: Follow { set: 0, space: false },
        colon: false,
        element: false,
        number: Number {
            minus: 0,
            leading_zero: 0,
            exponent: 0,
            unfinished: 0,
            in_whole: false,
            in_fraction: false,
        },
    };

    /// Whether something is missing at the end, after a space: the rest of a string, a value, or what a
    /// member or an element would have to be in.
    #[inline(always)]
    fn is_incomplete(&self) -> bool {
        self.in_string != 0 || self.value.space || self.after_key.space || self.colon || self.element
    }

    /// The structure of the block at the front of `doc`; adds to `faults`.
    #[inline(always)]
    fn block(
        &mut self,
        classes: &Classes,
        doc: &[u8],
        parity: impl Fn(u64) -> u64,
        faults: &mut u64,
    ) -> Block {
        let escaped = if (classes.backslash | self.escaped) == 0 {
            0
        } else {
            escaped(classes.backslash, &mut self.escaped, doc, faults)
        };
        let quotes = classes.quote & !escaped;
        // From the opening quote up to the byte before the closing one.
        let strings = parity(quotes) ^ self.in_string;
        self.in_string = ((strings as i64) >> 63) as u64;
        *faults |= classes.control & strings;
        let (quote_open, quote_close) = (quotes & strings, quotes & !strings);

        let outside = !(strings | quotes);
        let white = classes.white & outside;
        let open = classes.open & outside;
        let close = classes.close & outside;
        let colons = classes.colon & outside;
        let commas = classes.comma & outside;
        let primitives = outside & !(white | open | close | colons | commas);
        let primitive_starts = primitives & !shift(primitives, &mut self.primitives);

        // Where something other than white space may stand, and follows these.
        let values = self.value.after(open | commas | colons, white);
        let in_members = self.member.after((open & classes.curly) | commas, white);
        let opened = self.opened.after(open, white);
        let value_starts = quote_open | primitive_starts | open;
        *faults |= value_starts & !values;
        *faults |= (commas | colons) & values;
        *faults |= close & values & !opened;

        let keys = in_members & quote_open;
        let key_ends = add(keys, strings, &mut self.in_key) & quote_close;
        let after_keys = self.after_key.after(key_ends, white);
        *faults |= colons & !after_keys;

        let words = primitive_starts & !(classes.digit | classes.minus);
        let numbers = if words == 0 && !self.in_word {
            primitives
        } else {
            check_words(words, doc, faults);
            // Where it is added, a run of ones is gone.
            primitives & add(words, primitives, &mut self.in_word)
        };
        *faults |= self.number.faults(classes, numbers, primitive_starts & !words);
        let brackets = open | close;
        let between = !brackets;
        // A string that follows a comma and is no key, or anything else that follows one.
        let elements = (after_keys & !colons) | (in_members & (primitive_starts | open));
        Block {
            brackets,
            commas,
            keys,
            quotes,
            words: primitives,
            // However many there are between two brackets, one of them carries through to the second.
            object_before: add(colons, between, &mut self.colon) & brackets,
            array_before: (add(elements & between, between, &mut self.element) | elements) & brackets,
        }
    }
}

/// The bytes that a backslash escapes, each of which is looked at; `carried` is whether the next byte is.
#[cold]
pub(super) fn escaped(backslashes: u64, carried: &mut u64, doc: &[u8], faults: &mut u64) -> u64 {
    let mut escaped = *carried;
    // Those that are not escaped themselves, the first first.
    let mut escaping = backslashes & !escaped;
    *carried = 0;
    while escaping != 0 {
        let at = escaping.trailing_zeros();
        escaping &= escaping - 1;
        if at == 63 {
            *carried = 1;
            break;
        }
        escaped |= 2 << at;
        escaping &= !(2 << at);
    }
    let mut rest = escaped;
    while rest != 0 {
        let at = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        let is_letter = match doc.get(at) {
            Some(b'u') => {
                let digits = doc.get(at + 1..at + 5);
                digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            }
            letter => matches!(letter, Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')),
        };
        *faults |= u64::from(!is_letter);
    }
    escaped
}

/// Looks at the words `true`, `false` and `null` that begin where `starts` says.
#[inline(always)]
fn check_words(mut starts: u64, doc: &[u8], faults: &mut u64) {
    while starts != 0 {
        *faults |= word_fault(doc, starts.trailing_zeros() as usize);
        starts &= starts - 1;
    }
}

/// Bits if there is no whole word at `at`. Which one it is is hard to foresee, so nothing is decided by it.
#[inline(always)]
pub(super) fn word_fault(doc: &[u8], at: usize) -> u64 {
    const TRUE: u32 = u32::from_le_bytes(*b"true");
    const NULL: u32 = u32::from_le_bytes(*b"null");
    const FALSE: u64 = u64::from_le_bytes(*b"false\0\0\0");
    const LOW: u64 = 1 << b' ' | 1 << b'\t' | 1 << b'\n' | 1 << b'\r' | 1 << b',';
    let bytes = match doc[at..].first_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => last_bytes(&doc[at..]),
    };
    let is_false = bytes & 0xff_ffff_ffff == FALSE;
    let is_word = is_false | (bytes as u32 == TRUE) | (bytes as u32 == NULL);
    let len = 4 + u32::from(is_false);
    // What else may follow a value does not follow a word.
    let after = (bytes >> (8 * len)) as u8;
    let ends = (after < 64) & (LOW >> (after & 63) & 1 == 1) | (after | CURLY == b'}');
    u64::from(!(is_word & ends))
}

/// Less than eight bytes, followed by spaces.
#[cold]
fn last_bytes(rest: &[u8]) -> u64 {
    let mut bytes = [b' '; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(bytes)
}

impl Number {
    /// Bits if some of the bytes of `numbers` do not belong there; `starts` are those that numbers begin
    /// with, all of them digits and minus signs.
    ///
    /// Every byte has to be what may follow the one before: `-? (0 | [1-9] [0-9]*) (. [0-9]+)?
    /// ([eE] [+-]? [0-9]+)?`. Adding one to the lowest place of a run carries into the place after it.
    #[inline(always)]
    fn faults(&mut self, classes: &Classes, numbers: u64, starts: u64) -> u64 {
        let digits = classes.digit & numbers;
        let dots = classes.dot & numbers;
        let exponents = classes.exponent & numbers;
        let signs = (classes.minus | classes.plus) & numbers;
        let mut faults = numbers & !(digits | dots | exponents | signs);

        let minus = starts & classes.minus;
        let leading_zeros = (starts | shift(minus, &mut self.minus)) & classes.zero;
        faults |= shift(leading_zeros, &mut self.leading_zero) & digits;

        let whole = digits | minus;
        let after_whole = add(starts, whole, &mut self.in_whole) & !whole;
        faults |= dots & !after_whole;
        let fractions = digits | dots;
        let after_fraction = add(dots, fractions, &mut self.in_fraction) & !fractions;
        faults |= exponents & !(after_whole | after_fraction);

        let after_exponent = shift(exponents, &mut self.exponent);
        let power_signs = after_exponent & signs;
        faults |= signs & !(minus | power_signs);
        let unfinished = shift(minus | dots | power_signs, &mut self.unfinished);
        faults | (unfinished | (after_exponent & !signs)) & !digits
    }
}

impl Follow {
    /// The places that come after those of `these`, with nothing but `white` between.
    #[inline(always)]
    fn after(&mut self, these: u64, white: u64) -> u64 {
        // Adding one to the lowest place of a run of white space carries into the place after it.
        let next = shift(these, &mut self.set);
        add(next, white, &mut self.space) & !white
    }
}

/// `set` moved up by one place, after the highest one of the block before.
#[inline(always)]
fn shift(set: u64, before: &mut u64) -> u64 {
    let shifted = set << 1 | *before >> 63;
    *before = set;
    shifted
}

#[inline(always)]
fn add(a: u64, b: u64, carry: &mut bool) -> u64 {
    let (sum, carried) = a.carrying_add(b, *carry);
    *carry = carried;
    sum
}

/// For each place, whether the places up to it, itself included, hold an odd number of bits.
#[inline(always)]
pub(super) fn parity(mut set: u64) -> u64 {
    for by in [1, 2, 4, 8, 16, 32] {
        set ^= set << by;
    }
    set
}

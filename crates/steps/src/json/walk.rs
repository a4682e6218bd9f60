//! The walk over the structure of a document: from bracket to bracket, and to the keys and commas of
//! those arrays and objects that a path leads into.

use std::ops::Range;

use topicmill_kernels::structure::{BLOCK, Block, Structure, Work};
use topicmill_mill::transform::json::{Kind, MAX_DEPTH, skip_space};

use super::{
    Found, PathSet, Site,
    set::{DEAD, ROOT, State, StateId},
};

/// Whether the document is JSON but for its encoding, with what is found on the way.
pub(super) struct Walk<'a> {
    pub structure: &'a mut Structure,
    pub walker: Walker<'a>,
}

/// What the walk is about.
pub(super) struct Walker<'a> {
    pub doc: &'a [u8],
    pub paths: &'a PathSet,
    pub found: &'a mut Found,
    /// What is open around the innermost one.
    pub open: &'a mut Vec<Open>,
}

/// An array or object that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// All bits, if it is an object; a member is misplaced elsewhere.
    object: u64,
    /// All bits, if it is an array.
    array: u64,
    /// Whether a path leads to a member or an element.
    is_live: bool,
    state: StateId,
    /// The state of the member or element that is not complete yet.
    current: StateId,
    /// The index of that element.
    index: u32,
}

impl Work for Walk<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(mut self, scan: impl Fn(&[u8], &mut Structure)) -> bool {
        scan(self.walker.doc, self.structure);
        let seen = self.structure.seen();
        !seen.faults && self.walker.walk(self.structure, seen.escapes)
    }
}

impl Walker<'_> {
    #[inline(always)]
    fn walk(&mut self, structure: &Structure, escapes: bool) -> bool {
        let blocks = structure.blocks();
        self.open.clear();
        let mut inner = Open { object: 0, array: 0, is_live: false, state: DEAD, current: ROOT, index: 0 };
        let start = skip_space(self.doc, 0);
        self.enter(blocks, ROOT, 0..0, start, start);
        let mut misplaced = 0;
        // After the last bracket.
        let mut after = 0;
        let mut places = structure.places().iter();
        while let Some(&place) = places.next() {
            let at = place as usize;
            let byte = self.doc[at];
            if byte == b'"' {
                if inner.is_live && inner.object != 0 {
                    self.member(blocks, &mut inner, at, escapes);
                }
                continue;
            }
            let (block, bit) = (&blocks[at / BLOCK], at % BLOCK);
            misplaced |=
                block.array_before >> bit & !inner.array | block.object_before >> bit & !inner.object;
            if inner.is_live && inner.array != 0 {
                self.elements(blocks, &mut inner, after, at);
            }
            after = at + 1;
            // By these two bits, the four brackets differ.
            let is_object = byte & 0x20 != 0;
            if byte & 2 == 0 {
                if !self.pop(&mut inner, is_object, at) {
                    return false;
                }
            } else {
                if self.open.len() == MAX_DEPTH {
                    return false;
                }
                if self.is_live(inner.current, is_object) || self.open.len() + DEEP > MAX_DEPTH {
                    self.push(&mut inner, is_object);
                    if inner.is_live && !is_object {
                        self.first_element(blocks, &mut inner, at);
                    }
                    continue;
                }
                let mut kinds = 0b10 | u64::from(is_object);
                match skip(self.doc, blocks, &mut places, &mut kinds) {
                    Skipped::Closed(end) => {
                        after = end + 1;
                        self.closed(inner.current, end);
                    }
                    Skipped::Wrong => return false,
                    Skipped::Deep => {
                        self.open_again(&mut inner, kinds);
                    }
                }
            }
        }
        misplaced & 1 == 0 && self.open.is_empty()
    }

    /// Whether a path leads to what is in an array or object with this state.
    #[inline(always)]
    fn is_live(&self, state: StateId, is_object: bool) -> bool {
        state != DEAD && {
            let State { in_object, in_array, .. } = self.paths.states[state as usize];
            if is_object { in_object } else { in_array }
        }
    }

    /// Opens those of which [`skip`] says that they are too many for it.
    #[cold]
    fn open_again(&mut self, inner: &mut Open, kinds: u64) {
        // The highest bit is none of them.
        for bit in (0..kinds.ilog2()).rev() {
            self.push(inner, kinds >> bit & 1 == 1);
            // No path leads there.
            (inner.is_live, inner.current) = (false, DEAD);
        }
    }

    /// Opens an array or object.
    #[inline(always)]
    fn push(&mut self, inner: &mut Open, is_object: bool) {
        self.open.push(*inner);
        let state = inner.current;
        let is_live = self.is_live(state, is_object);
        let object = if is_object { u64::MAX } else { 0 };
        *inner = Open { object, array: !object, is_live, state, current: DEAD, index: 0 };
    }

    /// Closes the innermost one at `at`; `false` when that is of another kind.
    #[inline(always)]
    fn pop(&mut self, inner: &mut Open, is_object: bool, at: usize) -> bool {
        let same = if is_object { inner.object } else { inner.array };
        let Some(outer) = self.open.pop() else { return false };
        *inner = outer;
        self.closed(inner.current, at);
        same != 0
    }

    /// Notes that the array or object with `state` ends with the bracket at `at`.
    #[inline(always)]
    fn closed(&mut self, state: StateId, at: usize) {
        if state != DEAD && self.paths.states[state as usize].is_site {
            self.complete(state, at + 1);
        }
    }

    /// Looks at the member whose key begins at `at`.
    #[inline(always)]
    fn member(&mut self, blocks: &[Block], inner: &mut Open, at: usize, escapes: bool) {
        inner.current = member(&self.paths.states[inner.state as usize], self.doc, blocks, at, escapes);
        if inner.current == DEAD {
            return;
        }
        let end = next_quote(blocks, at + 1) + 1;
        let colon = skip_space(self.doc, end);
        if self.doc.get(colon) != Some(&b':') {
            // No key: the next bracket is where that is misplaced.
            inner.current = DEAD;
            return;
        }
        let value = skip_space(self.doc, colon + 1);
        let before = match self.doc[at - 1] {
            b'{' | b',' => at - 1,
            _ => self.doc[..at].trim_ascii_end().len() - 1,
        };
        self.enter(blocks, inner.current, at as u32..end as u32, value, before);
    }

    /// The element after the opening bracket at `at`, if there is one.
    #[inline(always)]
    fn first_element(&mut self, blocks: &[Block], inner: &mut Open, at: usize) {
        if self.doc[skip_space(self.doc, at + 1)] != b']' {
            self.element(blocks, inner, at);
        }
    }

    /// Looks at the elements after the commas from `from` up to the bracket at `until`.
    #[inline(always)]
    fn elements(&mut self, blocks: &[Block], inner: &mut Open, from: usize, until: usize) {
        for nth in from / BLOCK..=until / BLOCK {
            let base = nth * BLOCK;
            let mut commas = blocks[nth].commas;
            if base < from {
                commas &= u64::MAX << (from - base);
            }
            if until < base + BLOCK {
                commas &= (1 << (until - base)) - 1;
            }
            while commas != 0 {
                let at = base + commas.trailing_zeros() as usize;
                commas &= commas - 1;
                inner.index += 1;
                self.element(blocks, inner, at);
            }
        }
    }

    /// The element after a comma or bracket at `before`.
    #[inline(always)]
    fn element(&mut self, blocks: &[Block], inner: &mut Open, before: usize) {
        inner.current = self.paths.states[inner.state as usize].index(inner.index);
        if inner.current != DEAD {
            let value = skip_space(self.doc, before + 1);
            self.enter(blocks, inner.current, 0..0, value, before);
        }
    }

    /// Notes that a value begins at `at`; one without parts is completed.
    fn enter(&mut self, blocks: &[Block], id: StateId, key: Range<u32>, at: usize, before: usize) {
        let state = &self.paths.states[id as usize];
        let start = at as u32;
        self.found.entered[id as usize] = start;
        if !state.is_site && state.rest_if_scalar.is_none() {
            return;
        }
        let kind = Kind::of(self.doc[at]);
        let is_scalar = !matches!(kind, Kind::Array | Kind::Object);
        let rest = state.rest_if_scalar.filter(|_| is_scalar);
        for &path in state.paths.iter().chain(&rest) {
            let site =
                Site { key: key.clone(), value: start..start, before: before as u32, after: start, kind };
            self.found.sites[path].push(site);
        }
        match kind {
            Kind::Array | Kind::Object => {}
            Kind::String => self.complete(id, next_quote(blocks, at + 1) + 1),
            Kind::Null | Kind::Bool | Kind::Number => self.complete(id, word_end(blocks, at)),
        }
    }

    /// Notes that the value with `state` ends: no two values of a path are within each other. Those of
    /// the rest may be within one that would belong to it if it had no parts, and are complete already.
    fn complete(&mut self, state: StateId, end: usize) {
        let state = &self.paths.states[state as usize];
        let after = skip_space(self.doc, end) as u32;
        for &path in state.paths.iter().chain(&state.rest_if_scalar) {
            if let Some(site) = self.found.sites[path].last_mut()
                && site.value.is_empty()
            {
                (site.value.end, site.after) = (end as u32, after);
            }
        }
    }
}

/// How many arrays and objects within each other [`skip`] keeps apart.
const DEEP: usize = 62;

/// How what no path leads into ends.
enum Skipped {
    /// With the bracket that stands there.
    Closed(usize),
    /// Not as it should.
    Wrong,
    /// Not yet, and it is nested more deeply.
    Deep,
}

/// Goes on to the end of an array or object that no path leads into: only the brackets matter.
///
/// `kinds` is a stack of what is open, a bit for each, which is set for an object; above them is another
/// bit that is set.
#[inline(always)]
fn skip(doc: &[u8], blocks: &[Block], places: &mut std::slice::Iter<'_, u32>, kinds: &mut u64) -> Skipped {
    let mut misplaced = 0;
    for &place in places {
        let at = place as usize;
        let byte = doc[at];
        if byte == b'"' {
            continue;
        }
        let (block, bit) = (&blocks[at / BLOCK], at % BLOCK);
        let in_object = *kinds & 1;
        misplaced |= block.array_before >> bit & in_object | block.object_before >> bit & !in_object;
        let is_object = u64::from(byte >> 5 & 1);
        if byte & 2 == 0 {
            misplaced |= in_object ^ is_object;
            *kinds >>= 1;
            if *kinds == 1 {
                return if misplaced & 1 == 0 { Skipped::Closed(at) } else { Skipped::Wrong };
            }
        } else {
            *kinds = *kinds << 1 | is_object;
            if *kinds >> DEEP != 0 {
                return if misplaced & 1 == 0 { Skipped::Deep } else { Skipped::Wrong };
            }
        }
    }
    Skipped::Wrong
}

/// The state of the member whose key begins at `at`, with its quote.
#[inline(always)]
fn member(state: &State, doc: &[u8], blocks: &[Block], at: usize, escapes: bool) -> StateId {
    let word = eight(doc, at + 1);
    let mut is_open = false;
    for key in &state.keys {
        if (word ^ key.front) & key.mask == 0 {
            let rest = key.rest();
            if rest.is_empty() || doc[at + 9..].starts_with(rest) {
                return key.state;
            }
            is_open = true;
        }
    }
    // A key that has no escape in its first bytes differs there from all others.
    if escapes && (is_open || holds_backslash(word)) {
        let contents = &doc[at + 1..next_quote(blocks, at + 1)];
        return state.escaped_key(contents);
    }
    state.other_key
}

/// The eight bytes at `at`, zeros after the end.
#[inline(always)]
fn eight(doc: &[u8], at: usize) -> u64 {
    match doc[at..].first_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => last_bytes(&doc[at..]),
    }
}

#[cold]
fn last_bytes(rest: &[u8]) -> u64 {
    rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Whether one of the bytes is a backslash: a zero byte once they are compared, which borrows.
#[inline(always)]
fn holds_backslash(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    let compared = word ^ (ONES * b'\\' as u64);
    compared.wrapping_sub(ONES) & !compared & ONES << 7 != 0
}

/// Where the next end of a string stands, from `at` on.
#[inline(always)]
fn next_quote(blocks: &[Block], at: usize) -> usize {
    next(blocks, at, |block| block.quotes)
}

/// Where the number or word at `at` ends.
#[inline(always)]
fn word_end(blocks: &[Block], at: usize) -> usize {
    next(blocks, at, |block| !block.words)
}

/// The next byte of a set, from `at` on.
#[inline(always)]
fn next(blocks: &[Block], at: usize, set: impl Fn(&Block) -> u64) -> usize {
    let mut nth = at / BLOCK;
    let mut rest = set(&blocks[nth]) & u64::MAX << (at % BLOCK);
    while rest == 0 {
        nth += 1;
        rest = set(&blocks[nth]);
    }
    nth * BLOCK + rest.trailing_zeros() as usize
}

//! The walk over the structure of a document: from bracket to bracket, and to the keys and commas of
//! those arrays and objects that a path leads into. A document whose shape is known is not walked over: where
//! the walk would stop is known as well.

use std::ops::Range;

use topicmill_kernels::structure::{ARRAY_BEFORE, AT_ONCE, BLOCK, Blocks, OBJECT_BEFORE, Structure, Work};
use topicmill_mill::transform::json::{Kind, MAX_DEPTH, skip_space};

use super::{
    Found, PathSet, Site,
    set::{DEAD, ROOT, State, StateId},
    shape::{Event, Shape},
    shapes::Shapes,
};

/// Whether the document is JSON but for its encoding, with what is found on the way.
pub(super) struct Walk<'a> {
    pub structure: &'a mut Structure,
    pub shapes: &'a mut Shapes,
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
    object: u8,
    /// All bits, if it is an array.
    array: u8,
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
    fn run(self, scan: impl Fn(&[u8], &mut Structure)) -> bool {
        let Walk { structure, shapes, mut walker } = self;
        let Walker { doc, paths, .. } = walker;
        scan(doc, structure);
        let seen = structure.seen();
        if seen.faults {
            return false;
        }
        let start = skip_space(doc, 0);
        walker.enter(structure.blocks(), ROOT, 0..0, start, start);
        if let Some(shape) = shapes.find(doc, structure, paths) {
            walker.follow(structure, shape);
            return true;
        }
        let is_json = walker.walk(structure, seen.escapes);
        if is_json {
            shapes.learn(doc, structure, paths);
        }
        is_json
    }
}

impl Walker<'_> {
    /// Goes where a walk over a document of this shape would stop.
    #[inline(always)]
    fn follow(&mut self, structure: &Structure, shape: &Shape) {
        let places = structure.places();
        for &Event { nth, state, is_end } in &shape.events {
            let at = places[nth as usize] as usize;
            if is_end {
                self.complete(state, at + 1);
            } else {
                self.enter_member(structure.blocks(), state, at);
            }
        }
    }

    #[inline(always)]
    fn walk(&mut self, structure: &Structure, escapes: bool) -> bool {
        let blocks = structure.blocks();
        self.open.clear();
        let mut inner = Open { object: 0, array: 0, is_live: false, state: DEAD, current: ROOT, index: 0 };
        let mut misplaced = 0;
        // After the last bracket.
        let mut after = 0;
        let mut places = structure.places().iter().zip(structure.marks());
        while let Some((&place, &mark)) = places.next() {
            let at = place as usize;
            if mark == b'"' {
                if inner.is_live && inner.object != 0 {
                    self.member(blocks, &mut inner, at, escapes);
                }
                continue;
            }
            misplaced |= says_array(mark) & !inner.array | says_object(mark) & !inner.object;
            if inner.is_live && inner.array != 0 {
                self.elements(blocks, &mut inner, after, at);
            }
            after = at + 1;
            // By these two bits, the four brackets differ.
            let is_object = mark & 0x20 != 0;
            if mark & 2 == 0 {
                if !self.pop(&mut inner, is_object, at) {
                    return false;
                }
            } else {
                if self.open.len() == MAX_DEPTH {
                    return false;
                }
                if is_live(self.paths, inner.current, is_object) || self.open.len() + DEEP > MAX_DEPTH {
                    self.push(&mut inner, is_object);
                    if inner.is_live && !is_object {
                        self.first_element(blocks, &mut inner, at);
                    }
                    continue;
                }
                let mut kinds = 0b10 | u64::from(is_object);
                match skip(&mut places, &mut kinds) {
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
        misplaced == 0 && self.open.is_empty()
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
        let is_live = is_live(self.paths, state, is_object);
        let object = if is_object { u8::MAX } else { 0 };
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
    fn member(&mut self, blocks: &[Blocks], inner: &mut Open, at: usize, escapes: bool) {
        inner.current = member(&self.paths.states[inner.state as usize], self.doc, blocks, at, escapes);
        // What is no key is misplaced, as the next bracket says.
        if inner.current != DEAD && !self.enter_member(blocks, inner.current, at) {
            inner.current = DEAD;
        }
    }

    /// Notes that the member whose key begins at `at` has this state; `false` if there is no member.
    #[inline(always)]
    fn enter_member(&mut self, blocks: &[Blocks], state: StateId, at: usize) -> bool {
        let end = next_quote(blocks, at + 1) + 1;
        let colon = skip_space(self.doc, end);
        if self.doc.get(colon) != Some(&b':') {
            return false;
        }
        let value = skip_space(self.doc, colon + 1);
        let before = match self.doc[at - 1] {
            b'{' | b',' => at - 1,
            _ => self.doc[..at].trim_ascii_end().len() - 1,
        };
        self.enter(blocks, state, at as u32..end as u32, value, before);
        true
    }

    /// The element after the opening bracket at `at`, if there is one.
    #[inline(always)]
    fn first_element(&mut self, blocks: &[Blocks], inner: &mut Open, at: usize) {
        if self.doc[skip_space(self.doc, at + 1)] != b']' {
            self.element(blocks, inner, at);
        }
    }

    /// Looks at the elements after the commas from `from` up to the bracket at `until`.
    #[inline(always)]
    fn elements(&mut self, blocks: &[Blocks], inner: &mut Open, from: usize, until: usize) {
        for nth in from / BLOCK..=until / BLOCK {
            let base = nth * BLOCK;
            let mut commas = blocks[nth / AT_ONCE].commas[nth % AT_ONCE];
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
    fn element(&mut self, blocks: &[Blocks], inner: &mut Open, before: usize) {
        inner.current = self.paths.states[inner.state as usize].index(inner.index);
        if inner.current != DEAD {
            let value = skip_space(self.doc, before + 1);
            self.enter(blocks, inner.current, 0..0, value, before);
        }
    }

    /// Notes that a value begins at `at`; one without parts is completed.
    fn enter(&mut self, blocks: &[Blocks], id: StateId, key: Range<u32>, at: usize, before: usize) {
        let state = &self.paths.states[id as usize];
        let start = at as u32;
        self.found.entered[id as usize] = start;
        if !state.is_site && state.rest_if_scalar.is_none() {
            return;
        }
        let kind = Kind::of(self.doc[at]);
        let (rest, end, after) = match kind {
            // Where it ends is known at its closing bracket.
            Kind::Array | Kind::Object => (None, at, at),
            kind => {
                let end = match kind {
                    Kind::String => next_quote(blocks, at + 1) + 1,
                    _ => word_end(blocks, at),
                };
                (state.rest_if_scalar, end, skip_space(self.doc, end))
            }
        };
        for &path in state.paths.iter().chain(&rest) {
            self.found.sites[path].push(Site {
                key: key.clone(),
                value: start..end as u32,
                before: before as u32,
                after: after as u32,
                kind,
            });
        }
    }

    /// Notes that the array or object with `state` ends: no two values of a path are within each other. Those
    /// of the rest may be within one that would belong to it if it had no parts, and are complete already.
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
fn skip<'s>(places: &mut impl Iterator<Item = (&'s u32, &'s u8)>, kinds: &mut u64) -> Skipped {
    let mut misplaced = 0;
    for (&place, &mark) in places {
        if mark == b'"' {
            continue;
        }
        let in_object = *kinds as u8 & 1;
        misplaced |= says_array(mark) & in_object | says_object(mark) & !in_object;
        let is_object = mark >> 5 & 1;
        if mark & 2 == 0 {
            misplaced |= in_object ^ is_object;
            *kinds >>= 1;
            if *kinds == 1 {
                return if misplaced == 0 { Skipped::Closed(place as usize) } else { Skipped::Wrong };
            }
        } else {
            *kinds = *kinds << 1 | u64::from(is_object);
            if *kinds >> DEEP != 0 {
                return if misplaced == 0 { Skipped::Deep } else { Skipped::Wrong };
            }
        }
    }
    Skipped::Wrong
}

/// 1, if something before the bracket with this mark says that what is around is an array.
#[inline(always)]
fn says_array(mark: u8) -> u8 {
    const { assert!(ARRAY_BEFORE == 0x80) };
    mark >> 7
}

/// 1, if something before the bracket with this mark, which is odd itself, says that what is around is an object.
#[inline(always)]
fn says_object(mark: u8) -> u8 {
    const { assert!(OBJECT_BEFORE == 1) };
    !mark & 1
}

/// Whether a path leads to what is in an array or object with this state.
#[inline(always)]
pub(super) fn is_live(paths: &PathSet, state: StateId, is_object: bool) -> bool {
    state != DEAD && {
        let State { in_object, in_array, .. } = paths.states[state as usize];
        if is_object { in_object } else { in_array }
    }
}

/// The state of the member whose key begins at `at`, with its quote.
#[inline(always)]
pub(super) fn member(state: &State, doc: &[u8], blocks: &[Blocks], at: usize, escapes: bool) -> StateId {
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
pub(super) fn eight(doc: &[u8], at: usize) -> u64 {
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
pub(super) fn holds_backslash(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    let compared = word ^ (ONES * b'\\' as u64);
    compared.wrapping_sub(ONES) & !compared & ONES << 7 != 0
}

/// Where the next end of a string stands, from `at` on.
#[inline(always)]
pub(super) fn next_quote(blocks: &[Blocks], at: usize) -> usize {
    next(blocks, at, |blocks, nth| blocks.quotes[nth])
}

/// Where the number or word at `at` ends.
#[inline(always)]
fn word_end(blocks: &[Blocks], at: usize) -> usize {
    next(blocks, at, |blocks, nth| !blocks.words[nth])
}

/// The next byte of a set, from `at` on.
#[inline(always)]
fn next(blocks: &[Blocks], at: usize, set: impl Fn(&Blocks, usize) -> u64) -> usize {
    let set = |nth: usize| blocks.get(nth / AT_ONCE).map_or(0, |blocks| set(blocks, nth % AT_ONCE));
    let mut nth = at / BLOCK;
    let first = set(nth) & u64::MAX << (at % BLOCK);
    // Whether it is in the same block is hard to foresee, and in which of two, need not be.
    let second = set(nth + 1);
    nth += usize::from(first == 0);
    let mut rest = if first == 0 { second } else { first };
    while rest == 0 {
        nth += 1;
        assert!(nth / AT_ONCE < blocks.len(), "there is a next byte");
        rest = set(nth);
    }
    nth * BLOCK + rest.trailing_zeros() as usize
}

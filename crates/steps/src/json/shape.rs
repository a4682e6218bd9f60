//! The shape of a document: its brackets and keys in their order, and where paths lead among them.
//!
//! The documents of a topic are much alike. Whether one has the shape of another is seen in a few comparisons
//! that do not depend on each other, without a walk, and then the paths lead to values at the same places. What
//! a shape leaves open does not matter for that: texts and numbers, white space, the keys of objects that no
//! path leads into.

use topicmill_kernels::structure::Structure;

use super::{
    PathSet,
    set::{DEAD, KeyState, ROOT, StateId},
    walk::{eight, holds_backslash, is_live, member, next_quote},
};

/// The most brackets and keys of a document whose shape is kept.
const MOST_PLACES: usize = 1024;

/// A shape of valid documents, with the way that the paths of a set take through it.
#[derive(Debug)]
pub(super) struct Shape {
    /// What stands in each of the structure's places, and what is said about what is around brackets: it may only
    /// be said of the right ones.
    marks: Box<[u8]>,
    keys: Box<[Key]>,
    long_keys: Box<[LongKey]>,
    pub(super) events: Box<[Event]>,
}

/// A key of an object that a path leads into.
#[derive(Debug)]
struct Key {
    /// Its index among the places, as everywhere here.
    nth: u32,
    /// Its first eight bytes, the closing quote included, as far as `mask` goes.
    front: u64,
    mask: u64,
}

/// A key which these bytes do not tell from the keys of paths.
#[derive(Debug)]
struct LongKey {
    nth: u32,
    /// The object's state.
    object: StateId,
    /// The member's.
    member: StateId,
}

/// What a walk would come across.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) nth: u32,
    /// The state of the value that begins or ends.
    pub(super) state: StateId,
    /// Whether this is the bracket that an array or object ends with, or else the key of a member.
    pub(super) is_end: bool,
}

/// What is open while a shape is learnt.
struct Level {
    /// Whether it is an object with members that a path leads to.
    is_live: bool,
    state: StateId,
    /// The state of the member that is not complete yet.
    current: StateId,
}

impl Shape {
    /// The shape of `doc`, which is valid; `None` where a path leads into an array, whose elements leave no
    /// marks, or where there are too many marks.
    #[cold]
    #[inline(never)]
    pub(super) fn of(doc: &[u8], structure: &Structure, paths: &PathSet) -> Option<Shape> {
        let places = structure.places();
        if places.len() > MOST_PLACES {
            return None;
        }
        let (mut keys, mut long_keys, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let mut around = Vec::new();
        let mut inner = Level { is_live: false, state: DEAD, current: ROOT };
        for (nth, &place) in (0..).zip(places) {
            let (at, byte) = (place as usize, doc[place as usize]);
            if byte == b'"' {
                if inner.is_live {
                    let state = &paths.states[inner.state as usize];
                    inner.current = member(state, doc, structure.blocks(), at, structure.seen().escapes);
                    let len = next_quote(structure.blocks(), at + 1) - at;
                    let mask = if len < 8 { (1 << (8 * len)) - 1 } else { u64::MAX };
                    let front = eight(doc, at + 1);
                    keys.push(Key { nth, front: front & mask, mask });
                    let is_known = |key: &KeyState| (front ^ key.front) & key.mask == 0;
                    if len > 8 && (holds_backslash(front) || state.keys.iter().any(is_known)) {
                        long_keys.push(LongKey { nth, object: inner.state, member: inner.current });
                    }
                    if inner.current != DEAD {
                        events.push(Event { nth, state: inner.current, is_end: false });
                    }
                }
                continue;
            }
            if matches!(byte, b'{' | b'[') {
                let is_object = byte == b'{';
                let is_live = is_live(paths, inner.current, is_object);
                if is_live && !is_object {
                    return None;
                }
                let state = inner.current;
                around.push(inner);
                inner = Level { is_live, state, current: DEAD };
            } else {
                inner = around.pop()?;
                if paths.states[inner.current as usize].is_site {
                    events.push(Event { nth, state: inner.current, is_end: true });
                }
            }
        }
        Some(Shape {
            marks: structure.marks().into(),
            keys: keys.into(),
            long_keys: long_keys.into(),
            events: events.into(),
        })
    }

    /// Whether `doc` has this shape: then it is valid if its structure has no faults.
    #[inline(always)]
    pub(super) fn fits(&self, doc: &[u8], structure: &Structure, paths: &PathSet) -> bool {
        let (places, blocks) = (structure.places(), structure.blocks());
        if structure.marks() != &*self.marks {
            return false;
        }
        let mut differs = 0;
        for key in &self.keys {
            differs |= (eight(doc, places[key.nth as usize] as usize + 1) ^ key.front) & key.mask;
        }
        differs == 0
            && self.long_keys.iter().all(|key| {
                let (state, at) = (&paths.states[key.object as usize], places[key.nth as usize] as usize);
                member(state, doc, blocks, at, structure.seen().escapes) == key.member
            })
    }
}

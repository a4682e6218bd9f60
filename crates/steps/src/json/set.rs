//! Several paths at once: an automaton that knows, for every value, which paths lead to it and which
//! may lead into it.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    Path, PathError, Segment,
    text::{means, write_string},
};

/// A path of a [`PathSet`]: its index in what the set was made of.
pub type PathId = usize;

/// A state of the automaton: what is known of a value by the way to it.
pub(super) type StateId = u32;

/// No path leads to such a value or into it.
pub(super) const DEAD: StateId = 0;

/// The outermost value.
pub(super) const ROOT: StateId = 1;

/// The most states; far more than paths without wildcards can need.
const MAX_STATES: usize = 1 << 16;

/// Paths to locate in one pass.
#[derive(Clone, Debug)]
pub struct PathSet {
    /// Tells it from all others; clones are the same set.
    pub(super) id: u64,
    pub(super) states: Vec<State>,
    /// For each path that can be read, the states of the values on its way, the last one's included.
    pub(super) ways: Vec<Vec<StateId>>,
    /// How many paths there are, with the rest.
    pub(super) paths: usize,
}

/// What to do with a value and with what is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// The paths that lead to this value.
    pub(super) paths: Box<[PathId]>,
    /// The members that have a state of their own.
    pub(super) keys: Box<[KeyState]>,
    /// The state of the other members.
    pub(super) other_key: StateId,
    /// The elements that have a state of their own, ascending.
    pub(super) indexes: Box<[(u32, StateId)]>,
    /// The state of the other elements.
    pub(super) other_index: StateId,
    /// The rest, if this value belongs to it when it has no parts.
    pub(super) rest_if_scalar: Option<PathId>,
    /// Whether there are `paths`.
    pub(super) is_site: bool,
    /// Whether a member can have another state than [`DEAD`].
    pub(super) in_object: bool,
    /// Whether an element can.
    pub(super) in_array: bool,
}

/// A key and the state of a member that has it, ready to be compared with bytes of a document.
#[derive(Clone, Debug)]
pub(super) struct KeyState {
    key: Box<str>,
    /// The key and its closing quote as they stand in a document, if nothing is escaped.
    quoted: Box<[u8]>,
    /// The first eight bytes of `quoted`, the first one lowest. Where the key has to be escaped, bytes
    /// that are in no text.
    pub(super) front: u64,
    /// Those that there are.
    pub(super) mask: u64,
    pub(super) state: StateId,
}

impl KeyState {
    fn new(key: &str, state: StateId) -> KeyState {
        let mut quoted = Vec::new();
        write_string(key, &mut quoted);
        let is_plain = quoted[1..quoted.len() - 1] == *key.as_bytes();
        let (mut front, mut mask) = ([0; 8], [0; 8]);
        for (nth, byte) in quoted[1..].iter().take(8).enumerate() {
            front[nth] = if is_plain { *byte } else { 0xff };
            mask[nth] = 0xff;
        }
        KeyState {
            key: key.into(),
            quoted: quoted[1..].into(),
            front: u64::from_le_bytes(front),
            mask: u64::from_le_bytes(mask),
            state,
        }
    }

    /// What follows the first eight bytes.
    #[inline]
    pub(super) fn rest(&self) -> &[u8] {
        self.quoted.get(8..).unwrap_or_default()
    }
}

impl PathSet {
    /// The automaton of `paths`; the id of each is its index.
    ///
    /// # Errors
    /// [`PathError::TooMany`] when wildcards multiply beyond measure.
    pub fn new(paths: &[Path]) -> Result<PathSet, PathError> {
        Builder::new(paths, None).build()
    }

    /// As [`PathSet::new`], with one more path, whose id follows the others' ids: all that is neither
    /// one of `keep`, nor within one, nor on the way to one. A value on the way that has no parts is
    /// left over, too.
    ///
    /// # Errors
    /// As [`PathSet::new`].
    pub fn with_rest(paths: &[Path], keep: &[Path]) -> Result<PathSet, PathError> {
        Builder::new(paths, Some(keep)).build()
    }

    /// How many paths there are, with the rest.
    pub fn len(&self) -> usize {
        self.paths
    }

    /// Whether there are no paths.
    pub fn is_empty(&self) -> bool {
        self.paths == 0
    }
}

/// What the paths are at a value: a set of them, each with how many of its segments are done.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Progress {
    /// The index of a path, and its depth is that of the value.
    active: Vec<PathId>,
    /// The paths to keep that lead on from here; `None` where that is decided.
    keep: Option<Vec<usize>>,
    /// Whether the value is left over.
    is_rest: bool,
    depth: usize,
}

struct Builder<'a> {
    paths: &'a [Path],
    keep: &'a [Path],
    has_rest: bool,
    states: Vec<State>,
    known: HashMap<Progress, StateId>,
    /// The values whose states are not filled in yet.
    open: Vec<(StateId, Progress)>,
}

impl<'a> Builder<'a> {
    fn new(paths: &'a [Path], keep: Option<&'a [Path]>) -> Builder<'a> {
        Builder {
            paths,
            keep: keep.unwrap_or_default(),
            has_rest: keep.is_some(),
            states: vec![State::default()],
            known: HashMap::new(),
            open: Vec::new(),
        }
    }

    fn build(mut self) -> Result<PathSet, PathError> {
        let keep = self.has_rest.then(|| (0..self.keep.len()).collect());
        let start = self.settled(Progress {
            active: (0..self.paths.len()).collect(),
            keep,
            is_rest: false,
            depth: 0,
        });
        // The outermost value has a state even if no path leads anywhere.
        self.states.push(State::default());
        self.known.insert(start.clone(), ROOT);
        self.open.push((ROOT, start));
        while let Some((id, progress)) = self.open.pop() {
            let state = self.state(&progress)?;
            self.states[id as usize] = state;
        }
        let ways = self.paths.iter().map(|path| self.way(path)).collect();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let paths = self.paths.len() + usize::from(self.has_rest);
        Ok(PathSet { id, states: self.states, ways, paths })
    }

    /// `progress` with the question answered whether its value is kept or left over.
    fn settled(&self, mut progress: Progress) -> Progress {
        if let Some(keep) = &progress.keep {
            if keep.iter().any(|&path| self.keep[path].segments.len() == progress.depth) {
                progress.keep = None;
            } else if keep.is_empty() {
                progress.keep = None;
                progress.is_rest = true;
            }
        }
        progress
    }

    fn state(&mut self, progress: &Progress) -> Result<State, PathError> {
        let rest = self.paths.len();
        let ends = |path: &PathId| self.paths[*path].segments.len() == progress.depth;
        let mut paths: Vec<PathId> = progress.active.iter().copied().filter(ends).collect();
        paths.extend(progress.is_rest.then_some(rest));
        let mut keys: Vec<&'a str> = Vec::new();
        let mut indexes: Vec<u32> = Vec::new();
        for segment in self.next_segments(progress) {
            match segment {
                Segment::Key(key) => keys.push(key),
                Segment::Index(index) => indexes.push(*index),
                Segment::AnyKey | Segment::AnyIndex => {}
            }
        }
        keys.sort_unstable();
        keys.dedup();
        indexes.sort_unstable();
        indexes.dedup();
        let by_key = |segment: &Segment, key: &str| match segment {
            Segment::Key(own) => **own == *key,
            Segment::AnyKey | Segment::AnyIndex => true,
            Segment::Index(_) => false,
        };
        let by_index = |segment: &Segment, index: u32| match segment {
            Segment::Index(own) => *own == index,
            Segment::AnyIndex => true,
            Segment::Key(_) | Segment::AnyKey => false,
        };
        let mut key_states = Vec::new();
        for key in keys {
            key_states.push(KeyState::new(key, self.after(progress, |segment| by_key(segment, key))?));
        }
        let mut index_states = Vec::new();
        for index in indexes {
            index_states.push((index, self.after(progress, |segment| by_index(segment, index))?));
        }
        let any = |segment: &Segment| matches!(segment, Segment::AnyKey | Segment::AnyIndex);
        let other_key = self.after(progress, any)?;
        let other_index = self.after(progress, |segment| matches!(segment, Segment::AnyIndex))?;
        Ok(State {
            is_site: !paths.is_empty(),
            in_object: !key_states.is_empty() || other_key != DEAD,
            in_array: !index_states.is_empty() || other_index != DEAD,
            paths: paths.into(),
            keys: key_states.into(),
            other_key,
            indexes: index_states.into(),
            other_index,
            rest_if_scalar: progress.keep.is_some().then_some(rest),
        })
    }

    /// The segments that may come next.
    fn next_segments(&self, progress: &Progress) -> Vec<&'a Segment> {
        let (paths, keep) = (self.paths, self.keep);
        let of = |path: &'a Path| path.segments.get(progress.depth);
        let active = progress.active.iter().filter_map(|&path| of(&paths[path]));
        active.chain(progress.keep.iter().flatten().filter_map(|&path| of(&keep[path]))).collect()
    }

    /// The state of a value that those paths lead to whose next segment `matches`.
    fn after(
        &mut self,
        progress: &Progress,
        matches: impl Fn(&Segment) -> bool,
    ) -> Result<StateId, PathError> {
        let goes_on = |path: &Path| path.segments.get(progress.depth).is_some_and(&matches);
        let active = progress.active.iter().copied().filter(|&path| goes_on(&self.paths[path])).collect();
        let keep = progress.keep.as_ref();
        let keep = keep.map(|keep| keep.iter().copied().filter(|&path| goes_on(&self.keep[path])).collect());
        let next = self.settled(Progress { active, keep, is_rest: false, depth: progress.depth + 1 });
        if next.active.is_empty() && next.keep.is_none() && !next.is_rest {
            return Ok(DEAD);
        }
        if let Some(&known) = self.known.get(&next) {
            return Ok(known);
        }
        if self.states.len() == MAX_STATES {
            return Err(PathError::TooMany);
        }
        let id = self.states.len() as StateId;
        self.states.push(State::default());
        self.known.insert(next.clone(), id);
        self.open.push((id, next));
        Ok(id)
    }

    /// The states of the values on the way of `path`; none where it has wildcards.
    fn way(&self, path: &Path) -> Vec<StateId> {
        if !path.is_single() {
            return Vec::new();
        }
        let mut way = vec![ROOT];
        for segment in &path.segments {
            let state = &self.states[way[way.len() - 1] as usize];
            way.push(match segment {
                Segment::Key(key) => state.key(key),
                Segment::Index(index) => state.index(*index),
                Segment::AnyKey | Segment::AnyIndex => DEAD,
            });
        }
        way
    }
}

impl State {
    /// The state of the member with `key`.
    pub(super) fn key(&self, key: &str) -> StateId {
        self.keys.iter().find(|own| *own.key == *key).map_or(self.other_key, |own| own.state)
    }

    /// The state of the member whose key has these contents, escapes still in them.
    #[cold]
    pub(super) fn escaped_key(&self, contents: &[u8]) -> StateId {
        self.keys.iter().find(|own| means(contents, &own.key)).map_or(self.other_key, |own| own.state)
    }

    /// The state of the element at `index`.
    pub(super) fn index(&self, index: u32) -> StateId {
        let own = self.indexes.iter().find(|&&(own, _)| own == index);
        own.map_or(self.other_index, |&(_, state)| state)
    }
}

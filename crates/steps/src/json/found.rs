//! Where the paths of a set lead in a document.

use std::ops::Range;

use topicmill_mill::transform::json::Kind;

use super::{PathId, PathSet, set::StateId};

/// A value that a path leads to. All are offsets in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The key with its quotes, escapes still in it; empty for an element and for the outermost value.
    pub key: Range<u32>,
    /// The value, a string with its quotes.
    pub value: Range<u32>,
    /// Where the comma or the bracket stands that comes before; the outermost value's own beginning.
    pub before: u32,
    /// Where the comma or the bracket stands that comes after; for the outermost value, the document's
    /// end.
    pub after: u32,
    /// The value's type.
    pub kind: Kind,
}

impl Site {
    /// Whether it is the outermost value.
    pub fn is_root(&self) -> bool {
        self.before == self.value.start
    }

    /// Where it begins: at its key, if it has one.
    pub fn start(&self) -> u32 {
        if self.key.is_empty() { self.value.start } else { self.key.start }
    }

    /// The bytes of the value in its document.
    pub fn value<'d>(&self, doc: &'d [u8]) -> &'d [u8] {
        &doc[self.value.start as usize..self.value.end as usize]
    }

    /// The contents of the value in its document, if it is a string: without the quotes, escapes still
    /// in it.
    pub fn contents<'d>(&self, doc: &'d [u8]) -> Option<&'d [u8]> {
        let value = self.value(doc);
        (self.kind == Kind::String).then(|| &value[1..value.len() - 1])
    }
}

/// The sites of each path of a set in a document; keeps its memory from one document to the next.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// By path, in the order of the document.
    pub(super) sites: Vec<Vec<Site>>,
    /// By state, where the last value begins that had it.
    pub(super) entered: Vec<u32>,
    /// How many paths of `sites` are in use.
    paths: usize,
    /// Whether there may be escapes in the document.
    pub(super) has_escapes: bool,
}

impl Found {
    /// All the values that `path` leads to, in the order of the document; with duplicate keys, all.
    pub fn all(&self, path: PathId) -> &[Site] {
        debug_assert!(path < self.paths);
        &self.sites[path]
    }

    /// The value that a reader gets for a path without wildcards: of duplicate keys, the last one
    /// counts, on the way as well.
    pub fn read(&self, paths: &PathSet, path: PathId) -> Option<&Site> {
        let site = self.all(path).last()?;
        let is_last = |&state: &StateId| self.entered[state as usize] <= site.value.start;
        paths.ways[path].iter().all(is_last).then_some(site)
    }

    /// Whether there may be escapes in the document's texts; if not, they are what they mean.
    pub fn has_escapes(&self) -> bool {
        self.has_escapes
    }

    /// Whether no path leads anywhere.
    pub fn is_empty(&self) -> bool {
        self.sites[..self.paths].iter().all(Vec::is_empty)
    }

    /// Forgets everything and makes room for `paths`.
    pub(super) fn begin(&mut self, paths: &PathSet) {
        self.paths = paths.len();
        self.has_escapes = true;
        if self.sites.len() < self.paths {
            self.sites.resize_with(self.paths, Vec::new);
        }
        if self.entered.len() < paths.states.len() {
            self.entered.resize(paths.states.len(), 0);
        }
        self.sites[..self.paths].iter_mut().for_each(Vec::clear);
    }
}

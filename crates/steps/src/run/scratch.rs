//! What the steps of a thread keep from one record to the next.

use topicmill_mill::transform::ValueError;
use topicmill_records::HeadersWriter;

use super::{item::Draft, topics::RecentTopics};
use crate::{
    expr::{Evaluator, Located},
    fuse::Pass,
    json::{Edits, Found, Locator, PathId},
};

/// The most bytes that a buffer keeps for the next record.
const MOST_KEPT: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) locator: Locator,
    pub(super) found: Found,
    /// Whether `found` is about the current value.
    pub(super) is_located: bool,
    pub(super) edits: Edits,
    pub(super) evaluator: Evaluator,
    pub(super) json: Vec<u8>,
    pub(super) text: String,
    pub(super) headers: HeadersWriter,
    pub(super) topics: RecentTopics,
    buffers: Vec<Vec<u8>>,
}

impl Scratch {
    /// Begins with another value or another pass.
    pub(super) fn begin(&mut self) {
        self.edits.clear();
        self.is_located = false;
    }

    /// Finds the paths of the pass in the value, unless that was done.
    pub(super) fn locate(&mut self, pass: &Pass, doc: &[u8]) -> Result<(), ValueError> {
        if !self.is_located {
            self.locator.locate(doc, &pass.paths, &mut self.found)?;
            self.is_located = true;
        }
        Ok(())
    }

    /// An empty buffer.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= MOST_KEPT {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    pub(super) fn give_back_all(&mut self, draft: Draft<'_>) {
        draft.key.into_iter().chain(draft.headers).for_each(|buffer| self.give_back(buffer));
    }
}

/// The value in which the paths of a pass were found, for an expression with these.
pub(super) fn located<'d>(doc: &'d [u8], pass: &'d Pass, found: &'d Found, ids: &'d [PathId]) -> Located<'d> {
    Located { doc, paths: &pass.paths, found, ids }
}

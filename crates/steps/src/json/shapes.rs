//! The shapes of documents that were seen before.

use topicmill_kernels::structure::Structure;

use super::{PathSet, shape::Shape};

/// The most sets of paths whose documents are remembered.
const MOST_SETS: usize = 16;

/// The most shapes for each of them.
const MOST_SHAPES: usize = 16;

/// So many documents of a known shape are worth learning another one.
const WORTH: u32 = 8;

/// The most documents that are not learnt before the next one is.
const LONGEST_WAIT: u32 = 256;

/// The shapes of documents, for each set of paths that was looked for.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    sets: Vec<OfSet>,
    /// The set that was looked for last.
    last: usize,
    /// The set that is to be forgotten next.
    oldest: usize,
}

#[derive(Debug)]
struct OfSet {
    paths: u64,
    shapes: Vec<Shape>,
    /// The shape that was seen last.
    last: usize,
    /// The shape that is to be forgotten next.
    oldest: usize,
    /// How many documents of known shapes there were since the last one that was learnt.
    fitting: u32,
    /// How many documents of other shapes are still to be passed over.
    wait: u32,
    /// How many were to be at first: more if no two documents are alike, so that learning them costs little.
    waits: u32,
}

impl Shapes {
    /// The shape of `doc`, if it is known and the structure of `doc` has no faults.
    #[inline(always)]
    pub(super) fn find(&mut self, doc: &[u8], structure: &Structure, paths: &PathSet) -> Option<&Shape> {
        if self.sets.get(self.last).is_none_or(|set| set.paths != paths.id) {
            self.last = self.sets.iter().position(|set| set.paths == paths.id)?;
        }
        let OfSet { shapes, last, fitting, .. } = &mut self.sets[self.last];
        let is_it = |shape: &Shape| shape.fits(doc, structure, paths);
        if !shapes.get(*last).is_some_and(is_it) {
            *last = find_other(shapes, *last, is_it)?;
        }
        *fitting = fitting.saturating_add(1);
        Some(&shapes[*last])
    }

    /// Remembers the shape of `doc`, which is valid and of no known shape; not always, as what is learnt in vain
    /// costs more than a walk.
    #[inline(always)]
    pub(super) fn learn(&mut self, doc: &[u8], structure: &Structure, paths: &PathSet) {
        match self.sets.get_mut(self.last) {
            Some(set) if set.paths == paths.id && set.wait > 0 => set.wait -= 1,
            _ => self.learn_now(doc, structure, paths),
        }
    }

    #[cold]
    #[inline(never)]
    fn learn_now(&mut self, doc: &[u8], structure: &Structure, paths: &PathSet) {
        if self.sets.get(self.last).is_none_or(|set| set.paths != paths.id) {
            let new = OfSet::new(paths.id);
            if self.sets.len() < MOST_SETS {
                self.last = self.sets.len();
                self.sets.push(new);
            } else {
                self.last = self.oldest;
                self.sets[self.last] = new;
                self.oldest = (self.oldest + 1) % MOST_SETS;
            }
        }
        let set = &mut self.sets[self.last];
        set.waits = if set.fitting < WORTH { (2 * set.waits + 1).min(LONGEST_WAIT) } else { 0 };
        (set.wait, set.fitting) = (set.waits, 0);
        let Some(shape) = Shape::of(doc, structure, paths) else { return };
        if set.shapes.len() < MOST_SHAPES {
            set.last = set.shapes.len();
            set.shapes.push(shape);
        } else {
            set.last = set.oldest;
            set.shapes[set.last] = shape;
            set.oldest = (set.oldest + 1) % MOST_SHAPES;
        }
    }
}

/// Another shape than the one at `last`.
#[inline(never)]
fn find_other(shapes: &[Shape], last: usize, is_it: impl Fn(&Shape) -> bool) -> Option<usize> {
    let mut others = shapes.iter().enumerate().filter(|&(nth, _)| nth != last);
    others.find(|(_, shape)| is_it(shape)).map(|(nth, _)| nth)
}

impl OfSet {
    fn new(paths: u64) -> OfSet {
        OfSet { paths, shapes: Vec::new(), last: 0, oldest: 0, fitting: WORTH, wait: 0, waits: 0 }
    }
}

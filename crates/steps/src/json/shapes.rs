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
    sets: Recent<OfSet, MOST_SETS>,
}

#[derive(Debug)]
struct OfSet {
    paths: u64,
    shapes: Recent<Shape, MOST_SHAPES>,
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
        let OfSet { shapes, fitting, .. } = self.sets.find(|set| set.paths == paths.id)?;
        let shape = shapes.find(|shape| shape.fits(doc, structure, paths))?;
        *fitting = fitting.saturating_add(1);
        Some(shape)
    }

    /// Remembers the shape of `doc`, which is valid and of no known shape; not always, as what is learnt in vain
    /// costs more than a walk.
    #[inline(always)]
    pub(super) fn learn(&mut self, doc: &[u8], structure: &Structure, paths: &PathSet) {
        match self.sets.find(|set| set.paths == paths.id) {
            Some(set) if set.wait > 0 => set.wait -= 1,
            _ => self.learn_now(doc, structure, paths),
        }
    }

    #[cold]
    #[inline(never)]
    fn learn_now(&mut self, doc: &[u8], structure: &Structure, paths: &PathSet) {
        if self.sets.find(|set| set.paths == paths.id).is_none() {
            self.sets.keep(OfSet::new(paths.id));
        }
        let Some(set) = self.sets.find(|set| set.paths == paths.id) else { return };
        set.waits = if set.fitting < WORTH { (2 * set.waits + 1).min(LONGEST_WAIT) } else { 0 };
        (set.wait, set.fitting) = (set.waits, 0);
        if let Some(shape) = Shape::of(doc, structure, paths) {
            set.shapes.keep(shape);
        }
    }
}

impl OfSet {
    fn new(paths: u64) -> OfSet {
        OfSet { paths, shapes: Recent::default(), fitting: WORTH, wait: 0, waits: 0 }
    }
}

/// The newest of what was kept, `MOST` at most, where the next one looked for is most often the last one.
#[derive(Debug)]
struct Recent<T, const MOST: usize> {
    kept: Vec<T>,
    /// The one that was found or kept last.
    last: usize,
    /// The one that is to be forgotten next.
    oldest: usize,
}

impl<T, const MOST: usize> Default for Recent<T, MOST> {
    fn default() -> Recent<T, MOST> {
        Recent { kept: Vec::new(), last: 0, oldest: 0 }
    }
}

impl<T, const MOST: usize> Recent<T, MOST> {
    #[inline(always)]
    fn find(&mut self, is_it: impl Fn(&T) -> bool) -> Option<&mut T> {
        if !self.kept.get(self.last).is_some_and(&is_it) {
            self.last = find_other(&self.kept, self.last, is_it)?;
        }
        Some(&mut self.kept[self.last])
    }

    fn keep(&mut self, new: T) {
        if self.kept.len() < MOST {
            self.last = self.kept.len();
            self.kept.push(new);
        } else {
            self.last = self.oldest;
            self.kept[self.last] = new;
            self.oldest = (self.oldest + 1) % MOST;
        }
    }
}

/// Another one than the one at `last`.
#[inline(never)]
fn find_other<T>(kept: &[T], last: usize, is_it: impl Fn(&T) -> bool) -> Option<usize> {
    let mut others = kept.iter().enumerate().filter(|&(nth, _)| nth != last);
    others.find(|(_, one)| is_it(one)).map(|(nth, _)| nth)
}

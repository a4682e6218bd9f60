//! Validates a document and finds the values that paths lead to, in one pass.

use std::sync::LazyLock;

use topicmill_kernels::{
    Kernel,
    structure::{Structure, scan_in},
};
use topicmill_mill::transform::json::{Fault, JsonError, Kind, Scanner, Top, skip_space};

use super::{
    Found, PathSet,
    shapes::Shapes,
    walk::{Open, Walk, Walker},
};

/// Locates values; keeps its memory from one document to the next.
#[derive(Debug, Default)]
pub struct Locator {
    kernel: Kernel,
    structure: Structure,
    open: Vec<Open>,
    shapes: Shapes,
    /// What no paths find.
    nothing: Found,
}

static NO_PATHS: LazyLock<PathSet> = LazyLock::new(|| PathSet::new(&[]).expect("no paths are not too many"));

impl Locator {
    /// One that uses `kernel` instead of the fastest of this machine.
    pub fn with_kernel(kernel: Kernel) -> Locator {
        Locator { kernel, ..Locator::default() }
    }

    /// Checks that `doc` is one JSON document, see [the module](super) for what that is.
    ///
    /// # Errors
    /// The first fault; never [`Fault::Type`].
    ///
    /// # Panics
    /// As [`locate`](Locator::locate).
    pub fn validate(&mut self, doc: &[u8]) -> Result<Top, JsonError> {
        let mut found = std::mem::take(&mut self.nothing);
        let top = self.locate(doc, &NO_PATHS, &mut found);
        self.nothing = found;
        top
    }

    /// As [`validate`](Locator::validate), and finds the values that `paths` lead to. After an error,
    /// what was found is void.
    ///
    /// # Errors
    /// As [`validate`](Locator::validate).
    ///
    /// # Panics
    /// When the document has 4 GiB or more, which no record has.
    pub fn locate(&mut self, doc: &[u8], paths: &PathSet, found: &mut Found) -> Result<Top, JsonError> {
        assert!(u32::try_from(doc.len()).is_ok(), "a record has less than 2 GiB");
        found.begin(paths);
        let Locator { kernel, structure, open, shapes, .. } = self;
        let is_json =
            scan_in(*kernel, Walk { structure, shapes, walker: Walker { doc, paths, found, open } });
        if !is_json || (structure.seen().beyond_ascii && simdutf8::basic::from_utf8(doc).is_err()) {
            return Err(fault(doc));
        }
        found.has_escapes = structure.seen().escapes;
        let start = skip_space(doc, 0);
        let end = doc.trim_ascii_end().len();
        Ok(Top { kind: Kind::of(doc[start]), range: start..end })
    }
}

/// What is wrong with a document: the walk only says that something is.
#[cold]
fn fault(doc: &[u8]) -> JsonError {
    if let Err(error) = Scanner::default().scan(doc, |_| {}) {
        return error;
    }
    let error = simdutf8::compat::from_utf8(doc).expect_err("what is JSON and UTF-8 has no fault");
    JsonError { offset: error.valid_up_to(), fault: Fault::Utf8 }
}

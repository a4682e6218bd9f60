//! Records as they are.

use std::sync::Arc;

use super::{Output, Transform, TransformSpec, Values};

/// `identity`.
pub(super) static SPEC: TransformSpec = TransformSpec {
    name: "identity",
    doc: "Every record as it is, whatever it holds",
    settings: &[],
    make: |_| Arc::new(|| Box::new(Identity)),
};

/// Writes each value unchanged.
#[derive(Debug)]
pub(super) struct Identity;

impl Transform for Identity {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        for (index, value) in values.iter() {
            out.write_inline(index, &[value]);
        }
    }
}

//! For tests: all kernels of this machine at once.

use topicmill_records::Span;

use crate::{
    Kernel,
    locate::{Located, locate},
    structure::{Structure, scan},
};

/// The answer of all kernels, wherever the value is in a buffer.
///
/// # Panics
/// When one differs from the portable one.
pub fn locate_everywhere(value: &[u8]) -> Option<Located> {
    let twin = locate(Kernel::PORTABLE, value, Span::new(0, value.len() as u32));
    for after in [&b""[..], b"\"}", &b"\"}, \x00\xff".repeat(10)] {
        let buffer = [b"\"{", value, after].concat().into_boxed_slice();
        for kernel in Kernel::available() {
            let located = locate(kernel, &buffer, Span::new(2, value.len() as u32));
            assert_eq!(located, twin, "{kernel:?} before {} bytes: {}", after.len(), value.escape_ascii());
        }
    }
    twin
}

/// The structure of `doc` by all kernels.
///
/// # Panics
/// When one differs from the portable one.
pub fn structure_everywhere(doc: &[u8]) -> Structure {
    let mut twin = Structure::default();
    scan(Kernel::PORTABLE, doc, &mut twin);
    for kernel in Kernel::available() {
        let mut structure = Structure::default();
        scan(kernel, doc, &mut structure);
        assert_eq!(structure.seen(), twin.seen(), "{kernel:?}: {}", doc.escape_ascii());
        assert!(structure.each_block().eq(twin.each_block()), "{kernel:?}: {}", doc.escape_ascii());
        assert_eq!(structure.places(), twin.places(), "{kernel:?}: {}", doc.escape_ascii());
        assert_eq!(structure.marks(), twin.marks(), "{kernel:?}: {}", doc.escape_ascii());
    }
    twin
}

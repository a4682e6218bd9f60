//! Finds the common name events, whose output is made of pieces of the input.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod shape;
#[cfg(test)]
mod tests;
mod portable;

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::locate as locate_avx2;
pub(super) use portable::locate as locate_portable;

#[cfg(target_arch = "x86_64")]
use super::kernel::Isa;
use super::kernel::Kernel;
use crate::batch::Span;

/// A name event that needs no rewriting.
///
/// These are objects with exactly the members `first_name`, `last_name` and perhaps `hash`, in any
/// order and without spaces, whose values are strings of characters that Go's JSON output leaves
/// alone: no control characters (DEL is fine), none of `"`, `\`, `<`, `>` and `&`, only valid
/// UTF-8, and neither U+2028 nor U+2029.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// The output begins with this many bytes of the value: everything through the closing quote of
    /// `last_name`.
    Prefix(usize),
    /// These parts of the value go into the output, each a whole member without its comma.
    Members {
        /// Where `"first_name":"…"` is.
        first: Range<usize>,
        /// Where `"last_name":"…"` is.
        last: Range<usize>,
    },
}

/// Recognizes the name events that need no rewriting; `None` means "look closer", not "wrong".
///
/// # Panics
/// When `value` is null or does not lie within `buffer`.
#[inline]
pub fn locate(kernel: Kernel, buffer: &[u8], value: Span) -> Option<Located> {
    match kernel.isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the kernel proves that this machine has these instructions.
        Isa::Avx2 | Isa::Avx512 => unsafe { locate_avx2(buffer, value) },
        #[cfg_attr(not(target_arch = "x86_64"), allow(unreachable_patterns))]
        _ => locate_portable(value.get(buffer).expect("not a tombstone")),
    }
}

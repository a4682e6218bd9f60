//! Finds the common name events, whose output is made of pieces of the input.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod shape;
#[cfg(test)]
mod tests;
mod portable;

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use avx2::locate as locate_avx2;
use portable::locate as locate_portable;
use topicmill_records::Span;

use crate::kernel::{Isa, Kernel};

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
        Isa::Avx2 | Isa::Avx512 | Isa::Avx512Vbmi => unsafe { locate_avx2(buffer, value) },
        #[cfg_attr(not(target_arch = "x86_64"), allow(unreachable_patterns))]
        _ => locate_portable(value.get(buffer).expect("not a tombstone")),
    }
}

/// A loop over many values that locates each.
pub trait Loop {
    /// Runs it; `locate` is [`locate()`] in the kernel's form. To be `#[inline(always)]`, so that the
    /// loop and all that is inlined into it has the wide registers.
    fn run(self, locate: impl Fn(&[u8], Span) -> Option<Located>);
}

/// Runs `work`, compiled for the kernel's instructions.
///
/// # Panics
/// As [`locate()`].
#[inline]
pub fn locate_in(kernel: Kernel, work: impl Loop) {
    match kernel.isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the kernel proves that this machine has these instructions.
        Isa::Avx2 | Isa::Avx512 | Isa::Avx512Vbmi => unsafe { run_avx2(work) },
        #[cfg_attr(not(target_arch = "x86_64"), allow(unreachable_patterns))]
        _ => work.run(|buffer, value| locate_portable(value.get(buffer).expect("not a tombstone"))),
    }
}

/// The whole loop, so that all that is inlined into it has the wide registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn run_avx2(work: impl Loop) {
    work.run(|buffer, value| locate_avx2(buffer, value));
}

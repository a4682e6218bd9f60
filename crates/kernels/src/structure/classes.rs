//! Which bytes of a block are which characters, before it is known what is in strings.

/// Sets of the bytes of a block, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Classes {
    pub quote: u64,
    pub backslash: u64,
    /// Below a space.
    pub control: u64,
    /// Space, tab, line feed, carriage return.
    pub white: u64,
    /// `[` and `{`.
    pub open: u64,
    /// `]` and `}`.
    pub close: u64,
    /// With the bit of `{` that `[` does not have: says which a bracket is.
    pub curly: u64,
    pub colon: u64,
    pub comma: u64,
    /// `0` to `9`.
    pub digit: u64,
    pub zero: u64,
    pub minus: u64,
    pub plus: u64,
    pub dot: u64,
    /// `e` and `E`.
    pub exponent: u64,
    pub beyond_ascii: u64,
}

/// The bit by which `{` and `}` differ from `[` and `]`, and lower from upper case.
pub(super) const CURLY: u8 = 0x20;

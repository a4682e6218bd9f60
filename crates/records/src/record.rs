//! A record as its place in a buffer.

/// One record: its offset, its timestamp and where its parts are in the batch's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The offset in the partition.
    pub offset: i64,
    /// The timestamp in milliseconds since the epoch, -1 when there is none.
    pub timestamp: i64,
    /// The key; null is not the same as empty.
    pub key: Span,
    /// The value; null is a tombstone.
    pub value: Span,
    /// The headers in their wire encoding (count, then key and value of each), never null.
    pub headers: Span,
}

/// A range of a batch's buffer, or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// The absent value.
    pub const NULL: Span = Span { start: 0, len: u32::MAX };

    /// The range of `len` bytes from `start`.
    #[inline]
    pub const fn new(start: u32, len: u32) -> Span {
        Span { start, len }
    }

    /// Whether this is null, which is not the same as empty.
    #[inline]
    pub const fn is_null(self) -> bool {
        self.len == u32::MAX
    }

    /// Where the range starts in the buffer; 0 for null.
    #[inline]
    pub const fn start(self) -> usize {
        self.start as usize
    }

    /// The length in bytes; 0 for null.
    #[inline]
    pub const fn len(self) -> usize {
        if self.is_null() { 0 } else { self.len as usize }
    }

    /// Whether there are no bytes, null included.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The bytes in `buffer`, `None` for null.
    ///
    /// # Panics
    /// When the span does not lie within `buffer`.
    #[inline]
    pub fn get(self, buffer: &[u8]) -> Option<&[u8]> {
        (!self.is_null()).then(|| &buffer[self.start()..self.start() + self.len()])
    }
}

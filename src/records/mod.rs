//! Record batch v2 (KIP-98) as bytes: reading, writing, headers. Pure, no I/O.

mod error;
mod headers;
mod reader;
mod varint;
mod writer;

pub use error::RecordsError;
pub use headers::{Headers, HeadersWriter, NO_HEADERS};
pub use reader::{BatchHeader, walk};
pub use writer::{EncodedBatch, RecordWriter};

/// The size in bytes of the header of a record batch v2; the records follow.
pub const HEADER_LEN: usize = 61;

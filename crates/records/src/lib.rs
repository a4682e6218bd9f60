//! Record batch v2 (KIP-98) as bytes: from fetch responses to records, from records to batches to
//! produce. The formats before it are read, too. Pure, no I/O.

#![forbid(unsafe_code)]

pub mod buffers;

// In: wire bytes to records.
mod assemble;
mod aborted;
mod wire;
mod reader;
mod piece;
mod unpack;
// The formats before record batch v2.
mod legacy;
mod lz4_v0;
// Out: records to wire bytes.
mod writer;
mod cursor;
mod seal;
mod recut;
// Both.
mod record;
pub mod layout;
mod checksum;
mod compression;
mod error;
mod headers;
mod partition;
mod snappy;
mod varint;

pub use aborted::AbortedTransaction;
pub use assemble::{AssembleSettings, Assembled, Assembler};
pub use checksum::crc32c;
pub use compression::{Codec, Compression, UnknownCompression};
pub use error::RecordsError;
pub use headers::{Headers, HeadersWriter, NO_HEADERS};
pub use layout::HEADER_LEN;
pub use legacy::Message;
pub use partition::partition_of;
pub use reader::{BatchHeader, walk};
pub use record::{Record, Span};
pub use seal::ProducerStamp;
pub use varint::put_unsigned_varint;
pub use wire::WireBatch;
pub use writer::{EncodedBatch, RecordWriter};

use aborted::Aborted;

#[cfg(test)]
mod java_tests;
#[cfg(test)]
mod property_tests;

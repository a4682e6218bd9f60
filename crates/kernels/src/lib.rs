//! What transforms do to every byte: MD5 digests, finding the parts of name events, the structure of
//! JSON documents, hexadecimal digits. Each has a form for every instruction set; a [`Kernel`] chooses at run time.
//!
//! The only crate with `unsafe` code: each block has its reason, and each vector form a safe twin
//! that a test compares it with.

pub mod hex;
mod kernel;
pub mod locate;
pub mod md5;
mod plain;
pub mod structure;
pub mod testing;

pub use kernel::Kernel;
pub use plain::PLAIN;

//! `verify`: proves what stands in the destination against the source.

mod compare;
mod findings;
mod fingerprint;
mod index;

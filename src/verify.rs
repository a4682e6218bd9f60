//! `verify`: proves what stands in the destination against the source.

//! `generate`: mock name events as fast as the broker takes them.

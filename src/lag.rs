//! `lag`: how far a consumer group is behind.

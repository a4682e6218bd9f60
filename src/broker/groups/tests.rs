//! The states of a group.

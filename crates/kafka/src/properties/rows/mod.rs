//! The rows of the table, by subject.

pub(super) mod connections;
pub(super) mod foreign;
pub(super) mod groups;
pub(super) mod reading;
pub(super) mod security;
pub(super) mod writing;

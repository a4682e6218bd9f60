//! The broker as a whole.

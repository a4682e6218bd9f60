//! The strategies: how batches are transformed side by side, and in which order they go on.

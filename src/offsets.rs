//! Acknowledged to committable, per partition and assignment; pure.

//! `dry-run`: the transform from stdin to stdout, without a broker.

//! `demo`: the whole job on an embedded broker.

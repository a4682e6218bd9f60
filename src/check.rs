//! `check`: what is wrong with a configuration, without a broker.

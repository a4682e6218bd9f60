//! Wiring: engine to strategy to engine; start, drain, stop.

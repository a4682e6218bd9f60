//! The admin server: metrics, liveness, readiness.

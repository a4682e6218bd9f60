//! What is meant: flags, environment, file and defaults in one, validated before any connection.

//! A failed record with its origin, as Kafka Connect would write it.

//! The engine over librdkafka, record by record; the only place that names rdkafka.

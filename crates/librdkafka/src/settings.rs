//! From Kafka's dotted properties to librdkafka's configuration, with tuned defaults.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError};
use topicmill_kafka::properties;
use topicmill_mill::engine::{ClientSettings, OffsetReset, PropertyError, SourceSettings};

/// All problems of `properties`, found without a connection: each property that is unknown, cannot
/// have its value, or would break a delivery guarantee; if there are none, what librdkafka says of
/// them together.
pub fn problems(properties: &BTreeMap<String, String>) -> Vec<PropertyError> {
    let mut config = ClientConfig::new();
    let mut problems = Vec::new();
    for (name, value) in properties {
        // One at a time, so that each error names the property as it was written.
        match translate(name, value).and_then(|taken| alone(name, taken)) {
            Ok(Some((key, value))) => _ = config.set(key, value),
            Ok(None) => {}
            Err(error) => problems.push(error),
        }
    }
    if problems.is_empty()
        && let Err(error) = config.create_native_config()
    {
        problems.push(property_error("kafka", &error));
    }
    problems
}

/// Asks librdkafka about one property.
fn alone<'a>(
    name: &str,
    taken: Option<(&'a str, String)>,
) -> Result<Option<(&'a str, String)>, PropertyError> {
    if let Some((key, value)) = &taken {
        let config = ClientConfig::from_iter([((*key).to_owned(), value.clone())]);
        config.create_native_config().map_err(|error| property_error(name, &error))?;
    }
    Ok(taken)
}

/// The consumer's configuration. librdkafka's `max.poll.interval.ms` bounds what `revoke_timeout`
/// may usefully be.
pub(super) fn consumer(
    client: &ClientSettings,
    source: &SourceSettings,
) -> Result<ClientConfig, PropertyError> {
    let mut config = base(client)?;
    // With the default of 1000 ms a fetch that finds the queue full sleeps a second: a third of the rate.
    default(&mut config, &["fetch.queue.backoff.ms"], "5");
    // What librdkafka fetches ahead; with its ~300 bytes of overhead a record about 60 MiB at most.
    default(&mut config, &["queued.max.messages.kbytes"], "16384");
    default(&mut config, &["queued.min.messages"], "100000");
    default(&mut config, &["fetch.message.max.bytes", "max.partition.fetch.bytes"], "1048576");
    default(&mut config, &["fetch.wait.max.ms"], "100");
    default(&mut config, &["isolation.level"], "read_committed");
    default(&mut config, &["check.crcs"], "true");
    if config.get("group.protocol").is_none_or(|protocol| protocol.eq_ignore_ascii_case("classic")) {
        default(&mut config, &["partition.assignment.strategy"], "cooperative-sticky");
    }
    config
        .set("group.id", &source.group)
        // Trap: with the automatic offset store, a graceful drop commits what was prefetched and
        // never read: thousands of records skipped. Offsets are committed by `commit` and nowhere
        // else.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        .set("allow.auto.create.topics", "false")
        .set(
            "auto.offset.reset",
            match source.offset_reset {
                OffsetReset::Earliest => "earliest",
                OffsetReset::Latest => "latest",
                OffsetReset::None => "error",
            },
        );
    Ok(config)
}

/// The producer's configuration; `careful` sends every record in a request of its own, so that a
/// broker's refusal concerns that record and no other.
pub(super) fn producer(client: &ClientSettings, careful: bool) -> Result<ClientConfig, PropertyError> {
    let mut config = base(client)?;
    default(&mut config, &["linger.ms", "queue.buffering.max.ms"], "5");
    default(&mut config, &["batch.size"], "1000000");
    default(&mut config, &["queue.buffering.max.kbytes"], "32768");
    // The limit above counts payload only; this one bounds librdkafka's own ~200 bytes a record.
    default(&mut config, &["queue.buffering.max.messages"], "200000");
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // Trap: a local timeout says nothing about the log. The sink has its own deadline, after
        // which it cannot be used any more.
        .set("message.timeout.ms", "0");
    if careful {
        config.remove("linger.ms").set("queue.buffering.max.ms", "0").set("batch.num.messages", "1");
    }
    Ok(config)
}

/// How long the sink waits for a batch's acknowledgement: `delivery.timeout.ms`, 2 minutes unless set.
pub(super) fn delivery_timeout(client: &ClientSettings) -> Result<Duration, PropertyError> {
    let mut timeout = Duration::from_secs(120);
    for key in ["delivery.timeout.ms", "message.timeout.ms"] {
        if let Some(value) = client.properties.get(key) {
            let millis = value.parse().ok().filter(|&millis| millis > 0);
            timeout = Duration::from_millis(
                millis.ok_or_else(|| PropertyError::new(key, "is not a positive number of milliseconds"))?,
            );
        }
    }
    Ok(timeout)
}

fn base(client: &ClientSettings) -> Result<ClientConfig, PropertyError> {
    if let Some(problem) = problems(&client.properties).into_iter().next() {
        return Err(problem);
    }
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info);
    config.set("client.id", "topicmill");
    // Ten seconds unless set: too long after a broker's restart.
    config.set("reconnect.backoff.max.ms", "1000");
    config.set("bootstrap.servers", client.brokers.join(","));
    for (name, value) in &client.properties {
        if let Some((key, value)) = translate(name, value)? {
            config.set(key, value);
        }
    }
    Ok(config)
}

/// Sets the first of `names`, aliases of each other, unless one of them is set.
fn default(config: &mut ClientConfig, names: &[&str], value: &str) {
    if names.iter().all(|name| config.get(name).is_none()) {
        config.set(names[0], value);
    }
}

/// librdkafka's name and value for a property of Kafka's clients, `None` for what this engine sets
/// by other means. librdkafka has more properties than the table, and refuses what it lacks itself.
fn translate<'a>(name: &'a str, value: &str) -> Result<Option<(&'a str, String)>, PropertyError> {
    match properties::find(name) {
        Some(property) => property.for_librdkafka(value).map_err(|message| PropertyError::new(name, message)),
        None => Ok(Some((name, value.to_owned()))),
    }
}

/// librdkafka's complaint about `name`. It may quote the value, but only of enumerations and
/// numbers; properties that take any text, such as a password, are never complained about.
pub(super) fn property_error(name: &str, error: &KafkaError) -> PropertyError {
    match error {
        KafkaError::ClientConfig(_, description, _, _) => PropertyError::new(name, description),
        KafkaError::ClientCreation(description) => PropertyError::new(name, description),
        _ => PropertyError::new(name, "has a value that librdkafka does not take"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)]) -> Result<(), PropertyError> {
        let problems = problems(&pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect());
        problems.into_iter().next().map_or(Ok(()), Err)
    }

    fn client(pairs: &[(&str, &str)]) -> ClientSettings {
        ClientSettings {
            brokers: vec!["a:1".into(), "b:2".into()],
            properties: pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect(),
            connect_timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn what_kafka_users_write_is_taken() {
        check(&[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", "u"),
            ("sasl.password", "p"),
            ("ssl.ca.location", "ca.pem"),
            ("compression.type", "zstd"),
            ("acks", "all"),
            ("max.request.size", "2000000"),
            ("delivery.timeout.ms", "30000"),
            ("partition.assignment.strategy", "org.apache.kafka.clients.consumer.RangeAssignor"),
        ])
        .unwrap();
    }

    #[test]
    fn what_breaks_a_promise_or_is_unknown_is_refused_by_name() {
        for (key, value) in [
            ("acks", "1"),
            ("enable.idempotence", "false"),
            ("enable.auto.commit", "true"),
            ("ssl.truststore.location", "a.jks"),
            ("sasl.jaas.config", "x"),
            ("delivery.timeout.ms", "0"),
            ("compression.type", "brotli"),
            ("no.such.property", "1"),
            ("linger.ms", "soon"),
        ] {
            assert_eq!(check(&[(key, value)]).unwrap_err().key, key);
        }
    }

    #[test]
    fn a_secret_is_never_in_the_message() {
        let error = check(&[("sasl.pasword", "hunter2")]).unwrap_err();
        assert!(error.to_string().contains("sasl.pasword") && !error.to_string().contains("hunter2"));
    }

    #[test]
    fn the_promises_are_in_the_configuration_and_defaults_give_way() {
        let config = producer(&client(&[("linger.ms", "20"), ("max.request.size", "5000")]), false).unwrap();
        assert_eq!(config.get("acks"), Some("all"));
        assert_eq!(config.get("message.timeout.ms"), Some("0"));
        assert_eq!(config.get("linger.ms"), Some("20"));
        assert_eq!(config.get("message.max.bytes"), Some("5000"));
        assert_eq!(config.get("bootstrap.servers"), Some("a:1,b:2"));
        assert_eq!(
            delivery_timeout(&client(&[("delivery.timeout.ms", "9")])).unwrap(),
            Duration::from_millis(9)
        );
    }
}

use super::*;
use crate::records::{Codec, Compression};

fn read(pairs: &[(&str, &str)]) -> Result<NativeSettings, PropertyError> {
    let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    NativeSettings::from_properties(&pairs.collect())
}

#[test]
fn properties_are_read_under_either_client_s_name() {
    for (linger, codec, limit) in [
        ("linger.ms", "compression.type", "max.request.size"),
        ("queue.buffering.max.ms", "compression.codec", "message.max.bytes"),
    ] {
        let settings =
            read(&[(linger, "7"), (codec, "zstd"), (limit, "2000000"), ("compression.level", "3")]);
        let produce = settings.unwrap().produce;
        assert_eq!(produce.linger, Duration::from_millis(7));
        let codec = Codec { compression: Compression::Zstd, level: Some(3) };
        assert_eq!(produce.codec(Compression::Gzip), codec);
        assert_eq!(produce.max_request_size, 2_000_000);
    }
}

#[test]
fn what_is_not_supported_names_the_other_engine() {
    let error = read(&[("sasl.kerberos.service.name", "kafka")]).unwrap_err();
    assert_eq!(error.key, "sasl.kerberos.service.name");
    assert_eq!(
        error.message,
        "`sasl.kerberos.service.name` is not supported by the native engine; build with `--features \
         librdkafka` and use `--engine librdkafka`"
    );
    assert_eq!(read(&[("ssl.key.password", "x")]).unwrap_err().key, "ssl.key.password");
}

#[test]
fn what_cannot_hold_is_refused_by_name() {
    for (key, value) in [
        ("acks", "1"),
        ("request.required.acks", "0"),
        ("enable.idempotence", "false"),
        ("enable.auto.commit", "true"),
        ("max.in.flight.requests.per.connection", "6"),
        ("max.in.flight", "0"),
        ("sasl.mechanism", "GSSAPI"),
        ("compression.type", "brotli"),
        ("isolation.level", "dirty"),
        ("linger.ms", "-1"),
        ("batch.size", "many"),
        ("client.id", " "),
        ("bootstrap.servers", "a:1"),
        ("group.id", "g"),
        ("retries", "3"),
        ("delivery.timeout.ms", "100"),
        ("heartbeat.interval.ms", "45000"),
        ("partition.assignment.strategy", "range,sticky"),
    ] {
        assert_eq!(read(&[(key, value)]).unwrap_err().key, key, "{value}");
    }
    for (key, value) in
        [("acks", "all"), ("acks", "-1"), ("enable.idempotence", "true"), ("max.in.flight", "5")]
    {
        read(&[(key, value)]).unwrap();
    }
}

#[test]
fn what_the_broker_decides_cannot_be_set() {
    let consumer = ("group.protocol", "consumer");
    assert_eq!(read(&[]).unwrap().group.protocol, GroupProtocol::Classic);
    assert_eq!(read(&[consumer]).unwrap().group.protocol, GroupProtocol::Consumer);
    for (key, value) in [("session.timeout.ms", "9000"), ("partition.assignment.strategy", "range")] {
        assert_eq!(read(&[consumer, (key, value)]).unwrap_err().key, key);
        read(&[("group.protocol", "classic"), (key, value)]).unwrap();
    }
}

#[test]
fn a_level_must_suit_its_codec() {
    let error = read(&[("compression.type", "gzip"), ("compression.level", "12")]).unwrap_err();
    assert_eq!(error.to_string(), "compression.level: 12 is not in 1 to 9, the levels of gzip");
    read(&[("compression.type", "zstd"), ("compression.level", "12")]).unwrap();
    // What arrives decides, and may have other levels or none.
    for kind in [None, Some(("compression.type", "source"))] {
        let level = [Some(("compression.level", "3")), kind];
        let error = read(&level.into_iter().flatten().collect::<Vec<_>>()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "compression.level: needs compression.type: each has levels of its own"
        );
    }
}

#[test]
fn what_is_written_is_compressed_as_it_arrived_unless_it_is_said() {
    let lz4 = Codec::from(Compression::Lz4);
    for source in [&[][..], &[("compression.type", "source")]] {
        assert_eq!(read(source).unwrap().produce.codec(Compression::Lz4), lz4);
    }
    let none = read(&[("compression.type", "none")]).unwrap().produce;
    assert_eq!(none.codec(Compression::Lz4), Codec::from(Compression::None));
}

#[test]
fn security_is_complete_or_refused() {
    assert!(read(&[("security.protocol", "SSL")]).unwrap().security.tls.unwrap().verify);
    assert_eq!(read(&[("security.protocol", "SASL_SSL")]).unwrap_err().key, "sasl.mechanism");
    let scram = [("security.protocol", "SASL_SSL"), ("sasl.mechanism", "SCRAM-SHA-512")];
    assert_eq!(read(&scram).unwrap_err().key, "sasl.username");
    let full = [scram[0], scram[1], ("sasl.username", "mill"), ("sasl.password", "hush-hush")];
    let settings = read(&full).unwrap();
    assert_eq!(settings.security.sasl.as_ref().unwrap().mechanism, Mechanism::ScramSha512);
    assert!(!format!("{settings:?}").contains("hush-hush"));
    let bearer = [("security.protocol", "SASL_SSL"), ("sasl.mechanism", "OAUTHBEARER")];
    assert_eq!(read(&bearer).unwrap_err().key, "sasl.oauthbearer.token.command");
    let command = ("sasl.oauthbearer.token.command", "print-a-token");
    let sasl = read(&[bearer[0], bearer[1], command]).unwrap().security.sasl.unwrap();
    assert_eq!(sasl.token, Some(TokenSource::Command(command.1.to_owned())));
    let half = [("security.protocol", "ssl"), ("ssl.certificate.location", "/c.pem")];
    assert_eq!(read(&half).unwrap_err().key, "ssl.key.location");
}

#[test]
fn a_password_keeps_the_blanks_at_its_ends() {
    let protocol =
        [("security.protocol", " SASL_SSL "), ("sasl.mechanism", "PLAIN"), ("sasl.username", " mill ")];
    let settings = read(&[protocol[0], protocol[1], protocol[2], ("sasl.password", " p w ")]).unwrap();
    let sasl = settings.security.sasl.unwrap();
    let Password::Text(Secret(password)) = &sasl.password else { panic!("it is no file") };
    assert_eq!((sasl.username.as_str(), password.as_str()), ("mill", " p w "));
}

#[test]
fn a_file_gives_all_but_its_last_newline() {
    for (content, secret) in
        [("p\n", "p"), (" p w \r\n", " p w "), ("p\n\n", "p\n"), ("p", "p"), ("\r", "\r")]
    {
        assert_eq!(Secret::in_file(content).0, secret, "{content:?}");
    }
}

#[test]
fn assignors_go_by_either_name_and_keep_their_order() {
    let names = "org.apache.kafka.clients.consumer.RangeAssignor, cooperative-sticky";
    let settings = read(&[("partition.assignment.strategy", names)]).unwrap();
    assert_eq!(settings.group.assignors, [Assignor::Range, Assignor::CooperativeSticky]);
}

#[test]
fn a_family_of_addresses_may_be_chosen() {
    assert_eq!(read(&[]).unwrap().family, Family::Any);
    assert_eq!(read(&[("broker.address.family", "v6")]).unwrap().family, Family::V6);
    assert_eq!(read(&[("broker.address.family", "v5")]).unwrap_err().key, "broker.address.family");
}

#[test]
fn a_password_file_is_kept_to_be_read_at_each_login() {
    let plain = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "mill"),
        ("sasl.password", "of the start"),
        ("sasl.password_file", "/run/secrets/password"),
    ];
    let sasl = read(&plain).unwrap().security.sasl.unwrap();
    assert_eq!(sasl.password, Password::File("/run/secrets/password".into()));
}

use std::time::Duration;

use topicmill_records::{Codec, Compression};

use super::{table::Counterpart, *};
use crate::settings::{Assignor, Family, GroupProtocol, Mechanism, Password, Secret, TokenSource};

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

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn keys(problems: &[PropertyError]) -> Vec<&str> {
    problems.iter().map(|problem| problem.key.as_str()).collect()
}

#[test]
fn no_two_rows_share_a_name_or_an_alias() {
    let mut seen = BTreeSet::new();
    for name in names() {
        assert!(seen.insert(name), "{name} is there twice");
        assert_eq!(name, name.to_ascii_lowercase(), "names are found in lower case");
    }
    let files = all().filter(|property| property.has_native_file());
    files.for_each(|property| assert!(find(&property.file_name()).is_none(), "{}", property.name));
}

#[test]
fn every_row_says_in_a_sentence_what_it_is_for() {
    for property in all() {
        assert!(property.doc.ends_with('.') && !property.doc.contains('\n'), "{}", property.name);
        assert!(property.entry().starts_with(property.name), "{}", property.name);
    }
}

/// Of a program that panics with its settings, or logs them.
#[test]
fn no_secret_is_among_what_is_printed_of_settings() {
    let secret = "hush-hush";
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----");
    let login = [("security.protocol", "SASL_SSL"), ("sasl.username", "mill"), ("ssl.certificate.pem", "c")];
    let (mut planted, scram) = (0, ("sasl.mechanism", "SCRAM-SHA-256"));
    for property in all().filter(|property| property.is_native() && property.takes == Takes::Secret) {
        let (value, mechanism) = match property.name {
            "ssl.key.pem" => (pem.as_str(), scram),
            "sasl.oauthbearer.token" => (secret, ("sasl.mechanism", "OAUTHBEARER")),
            _ => (secret, scram),
        };
        let mut pairs = vec![(property.name, value), ("ssl.key.pem", "k"), mechanism];
        pairs.dedup_by_key(|pair| pair.0);
        pairs.extend(login);
        let shown = format!("{:?}", read(&pairs));
        assert!(shown.starts_with("Ok(") && !shown.contains(secret), "{}: {shown}", property.name);
        planted += 1;
    }
    assert_eq!(planted, 3);
    let command = [("sasl.mechanism", "OAUTHBEARER"), ("sasl.oauthbearer.token.command", "echo hush-hush")];
    let shown = format!("{:?}", read(&[&[login[0]], &command[..]].concat()));
    assert!(shown.starts_with("Ok(") && !shown.contains(secret), "{shown}");
}

#[test]
fn every_default_is_what_holds_without_it() {
    let unset = NativeSettings::default();
    for property in all().filter(|property| property.is_native() && !property.default.is_empty()) {
        let mut settings = read(&[(property.name, property.default)]).unwrap();
        // Left to the command, which takes the default as well.
        if property.name == "isolation.level" {
            assert_eq!(settings.fetch.isolation.take(), Some(Default::default()));
        }
        assert_eq!(format!("{settings:?}"), format!("{unset:?}"), "{}", property.name);
    }
}

#[test]
fn every_choice_of_a_row_is_one_that_the_engine_takes() {
    for property in all().filter(|property| property.is_native()) {
        let (Takes::OneOf(choices) | Takes::Only(choices, _)) = property.takes else { continue };
        for choice in choices {
            let (_, problems) = draft(&texts(&[(property.name, &choice.to_uppercase())]));
            let exact = matches!(property.takes, Takes::Only(..));
            assert!(exact || problems.is_empty(), "{} {choice}: {problems:?}", property.name);
            let (_, problems) = draft(&texts(&[(property.name, choice)]));
            assert!(problems.is_empty(), "{} {choice}: {problems:?}", property.name);
        }
    }
}

#[test]
fn all_that_is_wrong_is_found_in_one_pass() {
    let wrong = [
        ("acks", "1"),
        ("batch.size", "many"),
        ("group.protocol", "consumer"),
        ("no.such.property", "1"),
        ("partition.assignment.strategy", "range"),
        ("request.timeout.ms", "200000"),
        ("retries", "5"),
        ("session.timeout.ms", "1000"),
    ];
    let (settings, problems) = NativeSettings::read(&texts(&wrong), &BTreeSet::new());
    let expected = [
        "acks",
        "batch.size",
        "no.such.property",
        "retries",
        "delivery.timeout.ms",
        "heartbeat.interval.ms",
        "session.timeout.ms",
        "partition.assignment.strategy",
    ];
    assert_eq!(keys(&problems), expected);
    assert_eq!(settings.produce.batch_size, NativeSettings::default().produce.batch_size);
}

#[test]
fn what_may_be_due_to_another_fault_is_not_reported() {
    let level = [("compression.level", "3"), ("compression.type", "brotli")];
    let (_, problems) = NativeSettings::read(&texts(&level), &BTreeSet::new());
    assert_eq!(keys(&problems), ["compression.type"]);
    // As here when the configuration has refused the type already.
    let refused = BTreeSet::from(["compression.type".to_owned(), "sasl.mechanism".to_owned()]);
    let rest = [level[0], ("security.protocol", "sasl_ssl")];
    assert!(NativeSettings::read(&texts(&rest), &refused).1.is_empty());
    assert_eq!(
        keys(&NativeSettings::read(&texts(&rest), &BTreeSet::new()).1),
        ["sasl.mechanism", "compression.level"]
    );
}

/// Whatever is written for librdkafka, the native engine starts with what is left of it.
#[test]
fn what_is_taken_of_foreign_properties_holds() {
    let foreign = [
        ("compression.zstd.level", "3"),
        ("fetch.queue.backoff.ms", "5"),
        ("linger.ms", "7"),
        ("queued.min.messages", "1000"),
        ("session.timeout.ms", "1000"),
        ("socket.timeout.ms", "300000"),
        ("ssl.ca.location", "/ca.pem"),
    ];
    let taken = NativeSettings::taken(&texts(&foreign));
    assert_eq!(taken.keys().collect::<Vec<_>>(), ["linger.ms", "ssl.ca.location"]);
    NativeSettings::from_properties(&taken).unwrap();
    assert!(NativeSettings::lacks_protection("ssl.key.password"));
    assert!(!NativeSettings::lacks_protection("sasl.password_file"));
}

/// A row is all that a property needs.
#[test]
fn a_row_makes_a_property() {
    let row = Property::new("test.colour", Takes::OneOf(&["red", "blue"]), "The colour.")
        .or(&["test.color"])
        .default("red")
        .native(|to, value| value.text(&mut to.settings.client_id))
        .librdkafka(Counterpart::Named("colour"));
    let mut draft = Draft::default();
    let (Native::Sets(set), Ok(blue)) = (row.native, row.takes.read("BLUE")) else { panic!("it is taken") };
    set(&mut draft, &Value { key: row.name, text: &blue }).unwrap();
    assert_eq!(draft.settings.client_id, "blue");
    assert_eq!(row.for_librdkafka("Blue"), Ok(Some(("colour", "blue".to_owned()))));
    assert_eq!(row.for_librdkafka("green"), Err("must be one of `red`, `blue`".to_owned()));
    assert_eq!(row.description(), "The colour. One of red, blue. Also called test.color.");
    assert_eq!(row.entry(), "test.colour = \"red\"");
    assert!(row.is_called("test.color"));
}

#[test]
fn librdkafka_is_given_its_own_names() {
    let given = |name: &str, value: &str| find(name).unwrap().for_librdkafka(value);
    let named = |name: &'static str, value: &str| Ok(Some((name, value.to_owned())));
    assert_eq!(given("max.request.size", "2000"), named("message.max.bytes", "2000"));
    assert_eq!(given("fetch.max.wait.ms", "9"), named("fetch.wait.max.ms", "9"));
    assert_eq!(given("buffer.memory", "1025"), named("queue.buffering.max.kbytes", "2"));
    let range = "org.apache.kafka.clients.consumer.RangeAssignor,roundrobin";
    let strategy = "partition.assignment.strategy";
    assert_eq!(given(strategy, range), named(strategy, "range,roundrobin"));
    for (apart, value) in [("group.id", "g"), ("compression.type", "source"), ("delivery.timeout.ms", "9")] {
        assert_eq!(given(apart, value), Ok(None), "{apart}");
    }
    for (refused, value) in [("enable.auto.commit", "true"), ("acks", "1"), ("ssl.truststore.location", "a")]
    {
        assert!(given(refused, value).is_err(), "{refused}");
    }
}

#[test]
fn names_that_no_request_has_room_for_are_refused() {
    for key in ["group.instance.id", "transactional.id"] {
        assert!(read(&[(key, &"x".repeat(5000))]).is_ok());
        let error = read(&[(key, &"x".repeat(5001))]).unwrap_err();
        assert_eq!(
            (&*error.key, &*error.message),
            (key, "is 5001 bytes long, and 5000 at most are possible")
        );
    }
}

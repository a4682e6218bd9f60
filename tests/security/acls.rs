//! The ACLs that the documentation names are those that are needed, and what is missing is named.

use std::fs;

use crate::{
    RECORDS, Trial,
    broker::{LIMITED, LIMITED_PASSWORD, Listener, kafka},
    mill::Mill,
    support::Names,
    wire::{Acl, Operation::*, Resource::*, allow, allow_prefixed},
};

/// What the README and `docs/delivery.md` ask for `run --delivery exactly-once`.
fn documented<'a>(names: &'a Names, ids: &'a [String; 2]) -> Vec<Acl<'a>> {
    let Names { source, destination, dead_letter, group } = names;
    let mut acls = vec![(Topic, &**source, Read), (Topic, source, DescribeConfigs), (Group, group, Read)];
    for written in [destination, dead_letter] {
        acls.extend([Write, Create, Alter].map(|operation| (Topic, &**written, operation)));
    }
    acls.push((Topic, destination, DescribeConfigs));
    acls.extend(ids.iter().map(|id| (TransactionalId, &**id, Write)));
    acls
}

/// The ids of the instance `one`.
fn ids(names: &Names) -> [String; 2] {
    [0, 1].map(|number| format!("{}/one/{number}", names.group))
}

fn exactly_once(trial: &Trial) -> Mill {
    without_id(trial).set("group.instance.id", "one")
}

fn without_id(trial: &Trial) -> Mill {
    limited(trial).with(&["--delivery", "exactly-once"])
}

fn limited(trial: &Trial) -> Mill {
    trial
        .through(Listener::Login)
        .with(&["--give-up-after", "20s"])
        .set("sasl.mechanism", "PLAIN")
        .set("sasl.username", LIMITED)
        .secret("sasl.password", LIMITED_PASSWORD)
}

fn allow_all_but(trial: &Trial, but: impl Fn(&Acl<'_>) -> bool) {
    let ids = ids(&trial.names);
    let acls: Vec<_> = documented(&trial.names, &ids).into_iter().filter(|acl| !but(acl)).collect();
    allow(&kafka().open().brokers, LIMITED, &acls);
}

#[test]
fn what_is_documented_is_enough_for_exactly_once() {
    let trial = Trial::new("acls");
    allow_all_but(&trial, |_| false);
    let said = trial.succeeds(exactly_once(&trial));
    assert!(!said.text.contains("AUTHORIZATION_FAILED"), "{}", said.text);
}

#[test]
fn without_one_of_the_transactional_ids_it_stops_and_names_it() {
    for number in [0, 1] {
        let trial = Trial::new("acls");
        let missing = &ids(&trial.names)[number];
        allow_all_but(&trial, |(_, name, _)| name == missing);
        let named = format!("transactional id {missing}");
        trial.is_refused(exactly_once(&trial), &["TRANSACTIONAL_ID_AUTHORIZATION_FAILED", &named]);
    }
}

/// The ids of an instance without an id are random: they are allowed by what they begin with.
#[test]
fn random_transactional_ids_are_allowed_by_their_beginning() {
    let trial = Trial::new("acls");
    allow_all_but(&trial, |acl| acl.0 == TransactionalId);
    let beginning = format!("{}/", trial.names.group);
    let named = format!("transactional id {beginning}");
    trial.is_refused(without_id(&trial), &["TRANSACTIONAL_ID_AUTHORIZATION_FAILED", &named]);
    allow_prefixed(&kafka().open().brokers, LIMITED, &[(TransactionalId, &beginning, Write)]);
    let said = trial.succeeds(without_id(&trial));
    assert!(!said.text.contains("AUTHORIZATION_FAILED"), "{}", said.text);
}

#[test]
fn without_the_settings_of_topics_it_warns_and_goes_on() {
    let trial = Trial::new("acls");
    allow_all_but(&trial, |acl| acl.2 == DescribeConfigs);
    let said = trial.succeeds(exactly_once(&trial));
    assert!(said.text.contains("settings are unknown; taking Kafka's defaults"), "{}", said.text);
}

#[test]
fn what_else_is_missing_is_named() {
    for (resource, operation) in [(Topic, Read), (Group, Read), (Topic, Write), (Topic, Create)] {
        let trial = Trial::new("acls");
        allow_all_but(&trial, |acl| acl.0 == resource && acl.2 == operation);
        let Names { source, destination, group, .. } = &trial.names;
        let missing = match (resource, operation) {
            (Group, _) => group,
            (_, Read) => source,
            _ => destination,
        };
        trial.is_refused(exactly_once(&trial), &["AUTHORIZATION_FAILED", missing]);
    }
}

/// Whether the configuration names the topic or it is computed, and whether it may be seen.
#[test]
fn what_is_routed_to_a_topic_that_may_not_be_written_becomes_dead_letters() {
    for (name, is_seen) in [("l", false), ("l", true), ("{.last_name}", false), ("{.last_name}", true)] {
        for is_exact in [false, true] {
            let trial = Trial::new("routed");
            let topic = |end: &str| format!("{}-{end}", trial.names.group);
            let (forbidden, open) = (topic("l"), kafka().open());
            open.create(&forbidden, 1, &[]);
            allow_all_but(&trial, |_| false);
            if is_seen {
                allow(&open.brokers, LIMITED, &[(Topic, &forbidden, Describe)]);
            }
            let config = kafka().folder.join(format!("{}.toml", trial.names.group));
            let step = format!("[[step]]\nroute = '{}'\nwhen = '.first_name == \"f3\"'\n", topic(name));
            fs::write(&config, step).unwrap();
            let mill = if is_exact { exactly_once(&trial) } else { limited(&trial) };
            let said = mill.steps(config.to_str().unwrap()).run().expect(0, &[]);
            assert_eq!(trial.written(), RECORDS - 1, "{}", said.text);
            let letters = open.consume(&trial.names.dead_letter, 0);
            assert_eq!(letters.len(), 1, "{}", said.text);
            assert_eq!(letters[0].header("__connect.errors.exception.class.name"), "route");
            let why = letters[0].header("__connect.errors.exception.message");
            assert!(why.contains("TOPIC_AUTHORIZATION_FAILED") && why.contains(&forbidden), "{why}");
            assert_eq!(open.consume(&forbidden, 0).len(), 0);
            let is_known = name == "l" && !is_seen;
            let warning = "what is routed to a topic that may not be written becomes dead letters";
            assert_eq!(said.text.contains(warning), is_known, "{}", said.text);
        }
    }
}

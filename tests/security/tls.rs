//! TLS and mutual TLS: who is let in, and who is not trusted.

use std::fs;

use crate::{
    Trial,
    authority::{Authority, Identity, Validity::*},
    broker::{Listener, kafka},
    mill::Mill,
    support::engines,
};

fn with(mill: Mill, identity: &Identity) -> Mill {
    mill.set("ssl.certificate.location", &identity.certificate).set("ssl.key.location", &identity.key)
}

#[test]
fn a_topic_is_transformed_over_tls() {
    for engine in engines() {
        for listener in [Listener::Tls, Listener::Tls12] {
            let trial = Trial::new("tls");
            trial.succeeds(trial.through(listener).with(&["--engine", engine]));
        }
    }
}

#[test]
fn a_client_is_known_by_its_certificate() {
    let identity = &kafka().client;
    for engine in engines() {
        let trial = Trial::new("mutual");
        trial.succeeds(with(trial.through(Listener::Mutual), identity).with(&["--engine", engine]));
    }
    // As text: the key from the environment, as a secret.
    let [certificate, key] =
        [&identity.certificate, &identity.key].map(|file| fs::read_to_string(file).unwrap());
    let trial = Trial::new("mutual");
    let text = trial.through(Listener::Mutual).set("ssl.certificate.pem", &certificate);
    trial.succeeds(text.secret("ssl.key.pem", &key));
}

#[test]
fn a_broker_that_does_not_prove_who_it_is_is_refused() {
    for (listener, why) in [(Listener::Expired, "expired"), (Listener::Elsewhere, "not valid for name")] {
        let trial = Trial::new("refused");
        trial.is_refused(trial.through(listener), &["authentication failed: TLS", why]);
    }
    // The system's authorities know nothing of the test's, and neither does another one.
    let trial = Trial::new("refused");
    let system = Mill::at(&kafka().address(Listener::Tls), &trial.names).set("security.protocol", "ssl");
    trial.is_refused(system.clone(), &["authentication failed: TLS", "UnknownIssuer"]);
    let other = Authority::new(&kafka().folder, "another-authority");
    let other = system.set("ssl.ca.location", &other.certificate);
    trial.is_refused(other, &["authentication failed: TLS", "UnknownIssuer"]);
}

#[test]
fn only_the_name_is_left_unchecked_where_that_is_asked_for() {
    let trial = Trial::new("name");
    let unchecked = |listener| trial.through(listener).set("ssl.endpoint.identification.algorithm", "none");
    trial.is_refused(unchecked(Listener::Expired), &["authentication failed: TLS", "expired"]);
    trial.succeeds(unchecked(Listener::Elsewhere));
}

#[test]
fn a_client_that_does_not_prove_who_it_is_is_refused() {
    let trial = Trial::new("refused");
    let refused = |mill: Mill| trial.is_refused(mill, &["authentication failed: TLS"]);
    refused(trial.through(Listener::Mutual));
    let expired = kafka().authority.issue("client-expired", &[], Expired);
    refused(with(trial.through(Listener::Mutual), &expired));
    let stranger = Authority::new(&kafka().folder, "authority-of-strangers").issue("stranger", &[], Valid);
    refused(with(trial.through(Listener::Mutual), &stranger));
}

#[test]
fn a_certificate_of_somebody_else_gives_no_rights() {
    let trial = Trial::new("stranger");
    let somebody = kafka().authority.issue("somebody-else", &[], Valid);
    let mill = with(trial.through(Listener::Mutual), &somebody);
    trial.is_refused(mill, &["TOPIC_AUTHORIZATION_FAILED", &trial.names.source]);
}

//! Every mechanism: who is let in, and who is not.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    Trial,
    broker::{Listener, PASSWORD, USER, kafka},
    mill::Mill,
    support::engines,
};

/// A token that the broker's own validator for development takes (KIP-255), for `seconds` from now.
pub fn token(user: &str, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    let claims = format!(r#"{{"sub":"{user}","iat":{},"exp":{}}}"#, now - 600, now + seconds);
    let [header, claims] = [r#"{"alg":"none"}"#, &claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{claims}.")
}

/// A file with a token.
pub fn token_file(name: &str, token: &str) -> String {
    let path = kafka().folder.join(name);
    fs::write(&path, format!("{token}\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

fn by_token(mill: Mill, file: &str) -> Mill {
    mill.set("sasl.mechanism", "OAUTHBEARER").set("sasl.oauthbearer.token_file", file)
}

#[test]
fn each_mechanism_lets_the_right_user_in() {
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        for engine in engines() {
            let trial = Trial::new("sasl");
            let mill = trial.through(Listener::Login).login(mechanism, PASSWORD);
            trial.succeeds(mill.with(&["--engine", engine]));
        }
    }
    let file = token_file("token", &token(USER, 600));
    let trial = Trial::new("oauthbearer");
    trial.succeeds(by_token(trial.through(Listener::Login), &file));
    let trial = Trial::new("oauthbearer");
    let command = trial.through(Listener::Login).set("sasl.mechanism", "OAUTHBEARER");
    trial.succeeds(command.set("sasl.oauthbearer.token.command", &format!("cat '{file}'")));
}

#[test]
fn no_mechanism_lets_the_wrong_user_in() {
    let trial = Trial::new("sasl");
    let login = |mechanism| trial.through(Listener::Login).login(mechanism, "no such password");
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        trial.is_refused(login(mechanism), &["authentication failed", "SASL_AUTHENTICATION_FAILED"]);
    }
    let file = token_file("token-expired", &token(USER, -300));
    let expired = by_token(trial.through(Listener::Login), &file);
    trial.is_refused(expired, &["authentication failed: the token is refused"]);
}

/// The password does not even leave: the mechanism is asked for first.
#[test]
fn another_mechanism_than_the_one_that_is_set_is_not_used() {
    let trial = Trial::new("sasl");
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let said = [
            "authentication failed",
            &format!("sasl.mechanism {mechanism} is not among the broker's: SCRAM-SHA-512"),
        ];
        trial.is_refused(trial.through(Listener::Scram).login(mechanism, PASSWORD), &said);
    }
    trial.succeeds(trial.through(Listener::Scram).login("SCRAM-SHA-512", PASSWORD));
}

//! Every mechanism: who is let in, and who is not.

use std::{
    fs,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    RECORDS, Trial,
    broker::{Listener, PASSWORD, SESSION, USER, kafka},
    mill::{Mill, Said},
    support::{engines, goods, pause, program::Running},
};

/// A token that the broker's own validator for development takes (KIP-255), for `seconds` from now.
pub fn token(user: &str, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    let claims = format!(r#"{{"sub":"{user}","iat":{},"exp":{}}}"#, now - 600, now + seconds);
    of_parts(r#"{"alg":"none"}"#, &claims)
}

fn of_parts(header: &str, claims: &str) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
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
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let nobody = trial.through(Listener::Login).set("sasl.mechanism", mechanism);
        let nobody = nobody.set("sasl.username", "nobody").secret("sasl.password", PASSWORD);
        trial.is_refused(nobody, &["authentication failed", "SASL_AUTHENTICATION_FAILED"]);
    }
    let expired = token(USER, -300);
    let of_nobody = of_parts(r#"{"alg":"none"}"#, r#"{"iat":1,"exp":9999999999}"#);
    // Signed by whoever it may be.
    let claims = format!(r#"{{"sub":"{USER}","iat":1,"exp":9999999999}}"#);
    let signed = of_parts(r#"{"alg":"HS256"}"#, &claims) + "c2lnbmF0dXJl";
    for token in [&expired, &of_nobody, &signed] {
        let mill = by_token(trial.through(Listener::Login), &token_file("token-refused", token));
        trial.is_refused(mill, &["authentication failed: the token is refused"]);
    }
}

/// Who is let in as somebody else has the rights of that one.
#[test]
fn a_token_of_somebody_else_gives_no_rights() {
    let trial = Trial::new("stranger");
    let file = token_file("token-of-a-stranger", &token("stranger", 600));
    let stranger = by_token(trial.through(Listener::Login), &file);
    trial.is_refused(stranger, &["TOPIC_AUTHORIZATION_FAILED", &trial.names.source]);
}

/// A broker closes a connection on which it is asked anything after its login has expired (KIP-368):
/// another one is there before that.
#[test]
fn a_login_that_expires_is_renewed_in_time() {
    let trial = Trial::new("session");
    let mill = trial.through(Listener::Brief).for_ever().with(&["--log-level", "trace"]);
    let mill = mill.login("PLAIN", PASSWORD).start();
    let (open, start) = (kafka().open(), Instant::now());
    let logins =
        |mill: &Running| mill.lines().iter().filter(|line| line.contains("SaslAuthenticate")).count();
    let (mut written, mut first_logins) = (RECORDS, None);
    while start.elapsed() < 3 * SESSION {
        mill.until_metric("topicmill_records_written_total", written as f64);
        first_logins.get_or_insert_with(|| logins(&mill));
        pause(SESSION / 10);
        open.produce(&trial.names.source, 0, &goods(RECORDS));
        written += RECORDS;
    }
    mill.until_metric("topicmill_records_written_total", written as f64);
    assert!(logins(&mill) >= 2 * first_logins.unwrap(), "{first_logins:?}, {}", logins(&mill));
    mill.signal("-TERM");
    let said = Said::at_the_end(mill).expect(0, &[]);
    assert!(!said.text.contains("by the broker"), "{}", said.text);
    assert_eq!(trial.written(), written);
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

//! A secret stands in nothing that the program says, at any level, nor in what others see of it.

use std::fs;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use crate::{
    Trial,
    broker::{Listener, PASSWORD, USER, kafka},
    mill::{Mill, Said},
    sasl::{token, token_file},
};

const HMAC_KEY: &str = "key-of-the-tokens-in-records";
const WRONG: &str = "not-what-the-broker-knows";

/// How a secret can show: as it is, in base64 or hexadecimal digits, and as the numbers of its bytes.
fn shapes(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers = format!("{bytes:?}");
    let numbers = numbers.trim_matches(['[', ']']).to_owned();
    // What stands before a secret moves its base64 by some bits: the middle of each is looked for.
    let moved = (0..3).map(|before| {
        let text = BASE64.encode([&vec![0; before], bytes].concat());
        text[4..text.len() - 4].to_owned()
    });
    moved.chain([secret.to_owned(), hex, numbers]).collect()
}

#[track_caller]
pub fn assert_silent(what: &str, text: &str, secrets: &[&str]) {
    for secret in secrets {
        for shape in shapes(secret) {
            assert!(!text.contains(&shape), "{what} shows {secret} as {shape}:\n{text}");
        }
    }
}

/// Everything secret that is not the login's: the key of a certificate, and one for tokens in records.
pub struct Keys {
    pem: String,
    config: String,
}

impl Keys {
    fn new(name: &str) -> Keys {
        Keys::with_steps(name, "")
    }

    /// With these steps behind the one that needs a key.
    pub fn with_steps(name: &str, more: &str) -> Keys {
        let config = kafka().folder.join(name).to_str().unwrap().to_owned();
        fs::write(&config, format!("[[step]]\nhmac = '.first_name'\nkey_env = 'HMAC_KEY'\n{more}")).unwrap();
        Keys { pem: fs::read_to_string(&kafka().client.key).unwrap(), config }
    }

    /// `run` with them that says all it can.
    pub fn talkative(&self, trial: &Trial) -> Mill {
        let mill = trial.through(Listener::Login).steps(&self.config).with(&["--log-level", "trace"]);
        let mill = mill.set("ssl.certificate.location", &kafka().client.certificate);
        mill.secret("ssl.key.pem", &self.pem).variable("HMAC_KEY", HMAC_KEY)
    }

    pub fn secrets<'a>(&'a self, login: &'a [&str]) -> Vec<&'a str> {
        let lines = self.pem.lines().filter(|line| !line.starts_with("-----"));
        lines.chain([HMAC_KEY]).chain(login.iter().copied()).collect()
    }
}

fn by_token(mill: Mill, file: &str) -> Mill {
    mill.set("sasl.mechanism", "OAUTHBEARER").set("sasl.oauthbearer.token_file", file)
}

#[test]
fn the_log_has_none() {
    let keys = Keys::new("log.toml");
    let [good, late] = [token(USER, 600), token(USER, -300)];
    let [good_file, late_file] =
        [("token-good", &good), ("token-late", &late)].map(|(name, token)| token_file(name, token));
    type Login<'a> = &'a dyn Fn(Mill) -> Mill;
    let logins: [(&str, i32, Login<'_>); 6] = [
        (PASSWORD, 0, &|mill| mill.login("PLAIN", PASSWORD)),
        (WRONG, 1, &|mill| mill.login("PLAIN", WRONG)),
        (PASSWORD, 0, &|mill| mill.login("SCRAM-SHA-512", PASSWORD)),
        (WRONG, 1, &|mill| mill.login("SCRAM-SHA-256", WRONG)),
        (&good, 0, &|mill| by_token(mill, &good_file)),
        (&late, 1, &|mill| by_token(mill, &late_file)),
    ];
    for (secret, code, login) in logins {
        let said = login(keys.talkative(&Trial::new("secrets"))).run();
        let said = said.expect(code, &["SaslAuthenticate", "TRACE"]);
        assert_silent("the log", &said.text, &keys.secrets(&[secret]));
    }
}

#[test]
fn what_others_see_of_a_program_that_runs_has_none() {
    let keys = Keys::new("seen.toml");
    let trial = Trial::new("secrets");
    let mill = keys.talkative(&trial).for_ever().login("SCRAM-SHA-256", PASSWORD).start();
    mill.until_said("assigned");
    let secrets = keys.secrets(&[PASSWORD]);
    for path in ["/", "/metrics", "/readyz", "/livez", "/no-such-path"] {
        assert_silent(path, &mill.answer(path), &secrets);
    }
    let command_line = String::from_utf8(mill.command_line()).unwrap();
    assert!(command_line.contains("sasl.username") && command_line.contains(USER), "{command_line}");
    assert_silent("the process list", &command_line, &secrets);
    mill.signal("-TERM");
    assert_silent("the log", &Said::at_the_end(mill).expect(0, &[]).text, &secrets);
}

#[test]
fn check_shows_none() {
    let keys = Keys::new("check.toml");
    let trial = Trial::new("secrets");
    let said = keys.talkative(&trial).command("check").login("PLAIN", PASSWORD).run();
    let said = said.expect(0, &["sasl.password = \"***\"", "ssl.key.pem = \"***\""]);
    assert_silent("check", &said.text, &keys.secrets(&[PASSWORD]));
}

/// Whatever is wrong with a secret is said without it.
#[test]
fn a_secret_that_is_not_as_it_should_be_is_not_shown() {
    let keys = Keys::new("wrong.toml");
    let trial = Trial::new("secrets");
    let secrets = keys.secrets(&[PASSWORD]);
    // As an environment makes of it that knows no lines; without its end; and with another word in it.
    let on_one_line = keys.pem.replace('\n', " ");
    let cut = &keys.pem[..keys.pem.len() - 30];
    let spoilt = keys.pem.replacen("MI", "?MI", 1);
    for pem in [&on_one_line, cut, &spoilt] {
        for command in ["check", "run"] {
            let mill = trial.through(Listener::Login).command(command).secret("ssl.key.pem", pem);
            let mill = mill.set("ssl.certificate.location", &kafka().client.certificate);
            let said = mill.login("PLAIN", PASSWORD).run().expect(78, &["ssl.key"]);
            assert_silent(command, &said.text, &secrets);
        }
    }
    // A key in the place of a certificate.
    let file = token_file("key-on-one-line", &on_one_line);
    let mill = trial.through(Listener::Tls).set("ssl.certificate.location", &file);
    let said = mill.set("ssl.key.location", &file).run().expect(78, &["ssl.certificate.location"]);
    assert_silent("run", &said.text, &secrets);
    // A token that is none.
    let file = token_file("token-none", &format!("Bearer {PASSWORD}"));
    let mill = by_token(trial.through(Listener::Login), &file).with(&["--connect-timeout", "1s"]);
    let said = mill.with(&["--log-level", "trace"]).run().expect(75, &["gives what is no bearer token"]);
    assert_silent("run", &said.text, &secrets);
    // A key for tokens in records that does not fit its algorithm.
    let config = kafka().folder.join("blake3.toml").to_str().unwrap().to_owned();
    fs::write(&config, "[[step]]\nhmac = '.a'\nalgorithm = 'blake3'\nkey_env = 'HMAC_KEY'\n").unwrap();
    let mill = trial.through(Listener::Tls).steps(&config).variable("HMAC_KEY", HMAC_KEY).command("check");
    assert_silent("check", &mill.run().expect(78, &["32"]).text, &secrets);
}

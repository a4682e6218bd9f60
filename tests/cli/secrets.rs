//! A secret is never printed, whatever goes wrong, and wherever it comes from.

use std::io::Write;

use super::program::{Ended, Program};

const SECRET: &str = "hunter2-and-more";

fn assert_silent(ended: &Ended) {
    assert!(
        !ended.stdout.contains(SECRET) && !ended.stderr.contains(SECRET),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
}

fn sasl(args: &[&'static str]) -> Program {
    let protocol =
        ["-X", "security.protocol=sasl_ssl", "-X", "sasl.mechanism=PLAIN", "-X", "sasl.username=mill"];
    Program::new(["check"].into_iter().chain(protocol).chain(args.iter().copied()))
}

#[test]
fn from_the_environment() {
    let ended = sasl(&[]).environment("TOPICMILL_KAFKA_SASL_PASSWORD", SECRET).run();
    assert_silent(ended.expect(0, &["sasl.password = \"***\""]));
}

#[test]
fn what_check_prints_beside_a_secret_is_a_file_that_it_takes() {
    let secret = ("TOPICMILL_KAFKA_SASL_PASSWORD", SECRET);
    let first = sasl(&[]).environment(secret.0, secret.1).run();
    let second = Program::new(["check"]).config(&first.stdout).environment(secret.0, secret.1).run();
    assert_eq!(second.expect(0, &[]).stdout, first.stdout);
}

#[test]
fn from_a_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{SECRET}").unwrap();
    let toml = format!("[kafka]\nsasl.password_file = '{}'", file.path().display());
    let ended = sasl(&[]).config(&toml).run();
    assert_silent(ended.expect(0, &["sasl.password = \"***\""]));
}

/// The newline that ends a file is no part of the password; all else is.
#[test]
fn from_a_file_but_for_its_last_newline() {
    for (content, code) in [("\n", 78), ("\r\n", 78), ("\n\n", 0), (" \n", 0), (" ", 0)] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let toml = format!("[kafka]\nsasl.password_file = '{}'", file.path().display());
        let ended = sasl(&[]).config(&toml).run();
        ended.expect(code, if code == 0 { &[] } else { &["[kafka] sasl.password: must not be empty"] });
    }
}

/// Blanks alone are a password as well: nothing of it is cut.
#[test]
fn from_the_environment_as_it_is() {
    sasl(&[])
        .environment("TOPICMILL_KAFKA_SASL_PASSWORD", "  ")
        .run()
        .expect(0, &["sasl.password = \"***\""]);
}

#[test]
fn where_nobody_logs_in() {
    let program = Program::new(["check"]).environment("TOPICMILL_KAFKA_SASL_PASSWORD", SECRET);
    assert_silent(program.run().expect(78, &["[kafka] sasl.password: needs security.protocol `sasl_ssl`"]));
    // A flag turns it off on purpose; and an embedded broker has nothing to do with it.
    let flag = ["check", "-X", "security.protocol=plaintext"];
    Program::new(flag).environment("TOPICMILL_KAFKA_SASL_PASSWORD", SECRET).run().expect(0, &[]);
    let demo = Program::new(["demo", "--events", "10"]);
    assert_silent(demo.environment("TOPICMILL_KAFKA_SASL_PASSWORD", SECRET).run().expect(0, &["ok"]));
}

#[test]
fn what_everyone_can_read_is_warned_of() {
    let plaintext = ["-X", "security.protocol=sasl_plaintext"];
    let ended = sasl(&plaintext).environment("TOPICMILL_KAFKA_SASL_PASSWORD", SECRET).run();
    assert_silent(ended.expect(0, &["sasl_plaintext sends the password as it is"]));
    let scram = ["-X", "security.protocol=sasl_plaintext", "-X", "sasl.mechanism=SCRAM-SHA-256"];
    let ended = sasl(&scram).environment("TOPICMILL_KAFKA_SASL_PASSWORD", SECRET).run();
    assert!(!ended.expect(0, &[]).stderr.contains("sends the password"), "{}", ended.stderr);
    let unverified = ["-X", "enable.ssl.certificate.verification=false"];
    let ended = sasl(&unverified).environment("TOPICMILL_KAFKA_SASL_PASSWORD", SECRET).run();
    ended.expect(0, &["enable.ssl.certificate.verification: false trusts whoever answers"]);
}

#[test]
fn an_empty_file_is_no_password() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let toml = format!("[kafka]\nsasl.password_file = '{}'", file.path().display());
    sasl(&[]).config(&toml).run().expect(78, &["[kafka] sasl.password: must not be empty"]);
}

#[test]
fn with_errors_beside_it() {
    let flags = ["--workers", "0", "-X", "sasl.mechanism=NONE", "--log-level", "trace"];
    let ended = sasl(&flags).environment("TOPICMILL_KAFKA_SASL_PASSWORD", SECRET).run();
    assert_silent(ended.expect(78, &["[run] workers", "sasl.mechanism"]));
}

#[test]
fn given_twice() {
    let program = sasl(&[])
        .environment("TOPICMILL_KAFKA_SASL_PASSWORD", SECRET)
        .environment("TOPICMILL_KAFKA_SASL_PASSWORD_FILE", "/no/such/file");
    assert_silent(program.run().expect(78, &["[kafka] sasl.password: is given twice"]));
}

#[test]
fn from_where_it_must_not_come() {
    let keys =
        ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret", "my.password"];
    for key in keys {
        let property = format!("{key}={SECRET}");
        let refused = format!("[kafka] {key}: a secret comes from");
        assert_silent(Program::new(["check", "-X", &property]).run().expect(78, &[&refused]));
        assert_silent(Program::new(["run", "-X", &property]).run().expect(78, &[&refused]));
        let toml = format!("[kafka]\n{key} = '{SECRET}'");
        assert_silent(Program::new(["check"]).config(&toml).run().expect(78, &[&refused]));
    }
}

#[test]
fn where_the_syntax_is_wrong() {
    assert_silent(Program::new(["check", "-X", SECRET]).run().expect(2, &["KEY=VALUE"]));
    let broken = [
        format!("[kafka]\nsasl.password = {SECRET}\n"),
        format!("[kafka]\nsasl.password = '{SECRET}\n"),
        format!("[kafka]\nsasl.password = \"{SECRET}\\q\"\n"),
        format!("[kafka]\nsasl.password '{SECRET}'\n"),
        format!("[kafka]\nsasl.password = '{SECRET}' '{SECRET}'\n"),
        format!("[kafka]\nsasl.password = ['{SECRET}']\n"),
        format!("[kafka]\nsasl.password: {SECRET}\n"),
    ];
    for toml in broken {
        assert_silent(Program::new(["check"]).config(&toml).run().expect(78, &["config: "]));
    }
}

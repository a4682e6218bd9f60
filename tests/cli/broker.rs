//! `broker` tells where it listens, serves, and ends when it is told to.

use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
    process::{Command, Stdio},
};

#[test]
fn it_serves_until_a_signal() {
    for signal in ["-TERM", "-INT"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_topicmill"))
            .args(["broker", "--listen", "127.0.0.1:0", "--log-level", "off"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").expect("an address").to_owned();
        let connected = TcpStream::connect(address);
        let told = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        let status = child.wait().unwrap();
        assert!(connected.is_ok() && told.success());
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

//! OAUTHBEARER (RFC 7628, KIP-255): where the token comes from, and how it is presented.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{io::AsyncReadExt, process::Command, time::timeout};

use super::settings::{Secret, TokenSource};

/// The largest token in bytes; brokers accept less.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

impl TokenSource {
    /// A token.
    ///
    /// # Errors
    /// What is wrong with the source, or with what it gives; never the token itself.
    pub async fn token(&self, limit: Duration) -> Result<Secret, String> {
        let text = self.ask(limit).await?;
        let token = text.trim();
        // The characters of a token according to RFC 6750.
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        match token {
            "" => Err(format!("{} gives an empty token", self.name())),
            _ if !token.bytes().all(legal) => Err(format!("{} gives what is no bearer token", self.name())),
            _ => Ok(Secret(token.to_owned())),
        }
    }

    async fn ask(&self, limit: Duration) -> Result<String, String> {
        let name = self.name();
        match self {
            TokenSource::Text(token) => Ok(token.0.clone()),
            TokenSource::File(path) => tokio::fs::read_to_string(path)
                .await
                .map_err(|error| format!("{name}: cannot read {}: {error}", path.display())),
            TokenSource::Command(command) => {
                run(command, limit).await.map_err(|error| format!("{name}: {error}"))
            }
        }
    }
}

/// The output of a shell command, if it succeeds, and closes its output, in time. It has a process
/// group of its own, so that everything it started ends with it when it does not.
async fn run(command: &str, limit: Duration) -> Result<String, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("/bin/sh cannot be run: {error}"))?;
    let mut group = ProcessGroup(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let stdout = child.stdout.take().expect("it is piped");
    // Reading ends with the last process that holds the output, or at the limit, where the output is
    // closed so that nobody waits for it to be read.
    let read = async move {
        let mut text = String::new();
        stdout.take(TOKEN_BYTES_MAX).read_to_string(&mut text).await.map(|_| text)
    };
    let Ok((text, status)) = timeout(limit, async { tokio::join!(read, child.wait()) }).await else {
        return Err(format!("no answer within {limit:?}"));
    };
    group.0 = None;
    match status {
        Ok(status) if status.success() => text.map_err(|error| error.to_string()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The processes of a command, which are killed when this is dropped: at the deadline, and with the
/// attempt to log in. `None` when they have ended, as the number may be another's then.
struct ProcessGroup(Option<Pid>);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // They may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The client's first message (RFC 7628, 3.1).
pub fn first_message(token: &Secret) -> String {
    format!("n,,\x01auth=Bearer {}\x01\x01", token.0)
}

/// The client's answer to a server that has said why it refuses (RFC 7628, 3.2.3).
pub const REFUSED: &str = "\x01";

#[cfg(test)]
mod tests {
    use super::*;

    async fn command(text: &str) -> Result<String, String> {
        let source = TokenSource::Command(text.to_owned());
        source.token(Duration::from_secs(20)).await.map(|token| token.0)
    }

    #[tokio::test]
    async fn a_command_prints_the_token() {
        assert_eq!(command("printf a.b; echo .c").await.unwrap(), "a.b.c");
        assert!(command("true").await.unwrap_err().contains("empty"));
        assert!(command("exit 3").await.unwrap_err().contains("exit status: 3"));
        let error = command("echo 'not a token'").await.unwrap_err();
        assert!(error.contains("sasl.oauthbearer.token.command") && !error.contains("not a token"));
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_ended() {
        let source = TokenSource::Command("exec sleep 600".to_owned());
        let error = source.token(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error, "sasl.oauthbearer.token.command: no answer within 50ms");
    }

    #[tokio::test]
    async fn what_a_command_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        // One in a pipe, and one in the background that keeps the output open.
        for command in ["(sleep 2; touch MARK) | cat", "(sleep 2; touch MARK) & echo a.b.c"] {
            let command = command.replace("MARK", mark.to_str().unwrap());
            let source = TokenSource::Command(command);
            let error = source.token(Duration::from_millis(300)).await.unwrap_err();
            assert!(error.ends_with("no answer within 300ms"), "{error}");
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!mark.exists());
    }

    #[test]
    fn a_command_is_not_printed() {
        let source = TokenSource::Command("get-token --client-secret hush-hush".to_owned());
        assert_eq!(format!("{source:?}"), "sasl.oauthbearer.token.command");
    }

    #[tokio::test]
    async fn a_file_is_read_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let source = TokenSource::File(path.clone());
        assert!(source.token(Duration::from_secs(20)).await.unwrap_err().contains("token_file"));
        for token in ["first", "second"] {
            std::fs::write(&path, format!("{token}\n")).unwrap();
            assert_eq!(source.token(Duration::from_secs(20)).await.unwrap().0, token);
        }
    }

    #[test]
    fn the_first_message_is_that_of_the_rfc() {
        let token = Secret("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==".to_owned());
        let expected = "n,,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
        assert_eq!(first_message(&token), expected);
    }
}

//! The embedded broker as a process of its own, so that its processor time is its own.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use super::{BenchError, BenchSettings};

/// A broker in the background; it ends when this is dropped.
#[derive(Debug)]
pub struct EmbeddedBroker {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl EmbeddedBroker {
    /// Starts one that holds up to `memory` bytes of records.
    ///
    /// # Errors
    /// When it cannot be started or does not report where it listens.
    pub fn start(settings: &BenchSettings, memory: u64) -> Result<EmbeddedBroker, BenchError> {
        let mut command = settings.program("broker");
        command.args(["--listen", "127.0.0.1:0", "--memory", &memory.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let start = |error| BenchError::Start { name: "the embedded broker".into(), error };
        let child = command.spawn().map_err(start)?;
        let mut broker = EmbeddedBroker { child, address: String::new() };
        let mut line = String::new();
        if let Some(output) = broker.child.stdout.take() {
            // It reports that at once, or ends, which ends the output.
            BufReader::new(output).read_line(&mut line).map_err(start)?;
        }
        match line.trim().strip_prefix("listening on ") {
            Some(address) => broker.address = address.to_owned(),
            None => return Err(BenchError::NoResult { contender: "the embedded broker".into() }),
        }
        Ok(broker)
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        // It fails when the process has ended, which is just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A process that is measured.

use std::{
    fs,
    io::Read,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use topicmill_mill::cpu;

use super::BenchError;

/// How often a process is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What a process used until it ended successfully.
#[derive(Debug)]
pub struct Finished {
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
    /// Its user and system time, from its start to its end, in steps of 10 ms.
    pub cpu: Duration,
    /// The most memory that it had resident, in bytes.
    pub peak_rss: u64,
}

/// A running process; it is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    output: Option<JoinHandle<String>>,
    errors: Option<JoinHandle<String>>,
    peak_rss: u64,
}

impl Running {
    /// Starts `command`; `name` is for messages.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: impl Into<String>, mut command: Command) -> Result<Running, BenchError> {
        let name = name.into();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| BenchError::Start { name: name.clone(), error })?;
        let output = child.stdout.take().map(read_all);
        let errors = child.stderr.take().map(read_all);
        Ok(Running { name, child, output, errors, peak_rss: 0 })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Looks at it until it has ended.
    ///
    /// # Errors
    /// When it takes longer than `limit` or ends with another exit code than 0.
    pub async fn finish(mut self, limit: Duration) -> Result<Finished, BenchError> {
        let deadline = Instant::now() + limit;
        let cpu = loop {
            // Until it is waited for, an ended process still reports what it used.
            let ended = self.look();
            let cpu = cpu::time_used_by(self.id()).unwrap_or_default();
            if ended {
                break cpu;
            }
            if Instant::now() >= deadline {
                return Err(BenchError::TimedOut { name: self.name.clone(), limit });
            }
            sleep(LOOK_INTERVAL).await;
        };
        let status = self.child.wait()?;
        let text = |thread: Option<JoinHandle<String>>| thread.and_then(|thread| thread.join().ok());
        let output = text(self.output.take()).unwrap_or_default();
        let errors = text(self.errors.take()).unwrap_or_default();
        if !status.success() {
            let last = errors.lines().last().unwrap_or_default().to_owned();
            return Err(BenchError::Failed { name: self.name.clone(), status, last });
        }
        Ok(Finished { output, errors, cpu, peak_rss: self.peak_rss })
    }

    /// Updates the peak of its memory; whether it has ended.
    fn look(&mut self) -> bool {
        let Ok(status) = fs::read_to_string(format!("/proc/{}/status", self.id())) else { return true };
        // An ended process has no memory any more: the peak is that of the last look before.
        self.peak_rss = self.peak_rss.max(field(&status, "VmHWM:").map_or(0, kibibytes));
        field(&status, "State:").is_some_and(|state| state.starts_with('Z'))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It fails when the process has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value of a line of /proc/PID/status, proc_pid_status(5).
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

fn kibibytes(text: &str) -> u64 {
    text.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) << 10
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        // What cannot be read is only missing from a message.
        let _ = from.read_to_string(&mut text);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_measured_until_its_end() {
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo out; echo err >&2"]);
        let finished = Running::start("sh", command).unwrap().finish(Duration::from_secs(60)).await.unwrap();
        assert_eq!((finished.output.as_str(), finished.errors.as_str()), ("out\n", "err\n"));
        assert!(finished.cpu > Duration::ZERO && finished.peak_rss > 0, "{finished:?}");
    }

    #[tokio::test]
    async fn what_fails_or_hangs_is_an_error() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            Running::start("sh", command).unwrap()
        };
        let error = shell("echo why >&2; exit 3").finish(Duration::from_secs(60)).await.unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
        let error = shell("exec sleep 600").finish(Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, BenchError::TimedOut { .. }), "{error}");
    }
}

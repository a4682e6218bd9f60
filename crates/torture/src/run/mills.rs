//! The instances of topicmill, processes of their own: some of them are killed.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{error::RunError, memory::Memory};
use crate::metrics::Samples;

/// How long an instance may take to end after SIGTERM before it is killed.
const END: Duration = Duration::from_secs(60);

/// The exit code of an instance that ended with an error.
const FAILED: i32 = 1;

/// How to start an instance.
#[derive(Clone, Debug)]
pub(super) struct MillSettings {
    pub program: PathBuf,
    /// Of `run`, for each link of the chain that they are, but for what differs between instances:
    /// the first instance is the first link, and so on in turn.
    pub links: Vec<Vec<String>>,
    /// How many of them, from the first, have a `group.instance.id`. Others leave the group when they end.
    pub fixed_ids: usize,
    /// Where the logs go.
    pub logs: PathBuf,
    /// The port of the first one's metrics; the others follow.
    pub port: u16,
    /// What client ids and instance ids begin with.
    pub name: String,
}

/// Some instances, numbered from 0.
pub(super) struct Mills {
    settings: MillSettings,
    slots: Vec<Slot>,
    /// What processes that are gone had counted when they were last asked.
    gone: Samples,
    /// Whether an instance may end by itself, if it says why.
    pub may_stop: bool,
    /// How many did.
    pub stops: u64,
    starts: u64,
    /// What nobody asked for.
    pub surprises: Vec<String>,
    begun: Instant,
    pub memory: Memory,
}

struct Slot {
    child: Option<Child>,
    samples: Samples,
    /// Whether it is stopped, so that it can tell nothing.
    stopped: bool,
}

impl Mills {
    pub fn new(settings: MillSettings, count: usize) -> Result<Mills, RunError> {
        // Those of an earlier run; there may be none.
        let _ = fs::remove_dir_all(&settings.logs);
        fs::create_dir_all(&settings.logs).map_err(RunError::io("the folder of the logs"))?;
        let slot = || Slot { child: None, samples: Samples::default(), stopped: false };
        Ok(Mills {
            settings,
            slots: (0..count).map(|_| slot()).collect(),
            gone: Samples::default(),
            may_stop: false,
            stops: 0,
            starts: 0,
            surprises: Vec::new(),
            begun: Instant::now(),
            memory: Memory::default(),
        })
    }

    /// Where the logs are.
    pub fn logs(&self) -> &Path {
        &self.settings.logs
    }

    /// The client id of an instance.
    pub fn client(&self, mill: usize) -> String {
        format!("{}-{mill}", self.settings.name)
    }

    /// How many there may be.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// Which run.
    pub fn running(&self) -> Vec<usize> {
        (0..self.slots.len()).filter(|&mill| self.slots[mill].child.is_some()).collect()
    }

    /// Starts one that does not run.
    pub fn start(&mut self, mill: usize) -> Result<(), RunError> {
        self.start_as(mill, mill)
    }

    /// Starts one that does not run under the ids of another.
    pub fn start_as(&mut self, mill: usize, other: usize) -> Result<(), RunError> {
        let failed = || RunError::io(format!("instance {mill}"));
        let log: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.settings.logs.join(format!("instance-{mill}.log")))
            .map_err(failed())?;
        let client = self.client(other);
        let mut command = Command::new(&self.settings.program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TOPICMILL_")) {
            command.env_remove(name);
        }
        command.args(&self.settings.links[mill % self.settings.links.len()]);
        command.args(["--admin", &format!("127.0.0.1:{}", usize::from(self.settings.port) + mill)]);
        command.args(["-X", &format!("client.id={client}")]);
        if other < self.settings.fixed_ids {
            command.args(["-X", &format!("group.instance.id={client}")]);
        }
        // A group of its own: an interrupt from the terminal is for the torture alone.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.slots[mill].child = Some(command.spawn().map_err(failed())?);
        self.slots[mill].stopped = false;
        self.starts += 1;
        Ok(())
    }

    /// SIGKILL; it is gone on return.
    pub fn kill(&mut self, mill: usize) -> Result<(), RunError> {
        let Some(mut child) = self.take(mill) else { return Ok(()) };
        child.kill().and_then(|()| child.wait()).map_err(RunError::io(format!("instance {mill}")))?;
        Ok(())
    }

    /// Sends a signal to one that runs.
    pub fn signal(&mut self, mill: usize, signal: Signal) -> Result<(), RunError> {
        let Some(child) = &self.slots[mill].child else { return Ok(()) };
        send(child, signal)?;
        self.slots[mill].stopped = signal == Signal::STOP;
        Ok(())
    }

    /// SIGTERM; how long it took to end. That it did not end well is a surprise.
    pub fn terminate(&mut self, mill: usize) -> Result<Duration, RunError> {
        self.scrape_one(mill);
        let Some(child) = self.take(mill) else { return Ok(Duration::ZERO) };
        send(&child, Signal::TERM)?;
        let (status, took) = wait(child, END)?;
        if status.is_none_or(|status| !status.success()) {
            self.surprises.push(format!("instance {mill} ended after SIGTERM with {status:?}"));
        }
        Ok(took)
    }

    /// Waits for one to end by itself, with an error; kills it after `limit`, and whether it did.
    pub fn expect_stop(&mut self, mill: usize, limit: Duration) -> Result<bool, RunError> {
        let Some(child) = self.take(mill) else { return Ok(false) };
        let (status, _) = wait(child, limit)?;
        let stopped = status.is_some_and(is_failure);
        self.stops += u64::from(stopped);
        Ok(stopped)
    }

    /// Takes note of the ones that ended by themselves, and starts them again.
    pub fn watch(&mut self) -> Result<(), RunError> {
        for mill in 0..self.slots.len() {
            let Some(child) = &mut self.slots[mill].child else { continue };
            let status = child.try_wait().map_err(RunError::io(format!("instance {mill}")))?;
            if let Some(status) = status {
                if self.may_stop && is_failure(status) {
                    self.stops += 1;
                } else {
                    self.surprises.push(format!("instance {mill} ended by itself: {status}"));
                }
                self.take(mill);
                self.start(mill)?;
            }
        }
        Ok(())
    }

    /// Asks all that run what they have counted.
    pub fn scrape(&mut self) {
        for mill in 0..self.slots.len() {
            self.scrape_one(mill);
        }
    }

    /// What all have counted, those that are gone too.
    pub fn samples(&self) -> Samples {
        let mut samples = self.gone.clone();
        self.slots.iter().for_each(|slot| samples.add(&slot.samples));
        samples
    }

    /// How often an instance was started.
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// What one that runs has counted.
    pub fn samples_of(&self, mill: usize) -> &Samples {
        &self.slots[mill].samples
    }

    fn scrape_one(&mut self, mill: usize) {
        let slot = &mut self.slots[mill];
        let Some(child) = &slot.child else { return };
        if slot.stopped {
            return;
        }
        // Just started, it may not answer yet.
        if let Ok(samples) = Samples::of(self.settings.port + u16::try_from(mill).unwrap_or_default()) {
            slot.samples = samples;
        }
        self.memory.look(child.id(), self.begun.elapsed());
    }

    fn take(&mut self, mill: usize) -> Option<Child> {
        let slot = &mut self.slots[mill];
        let child = slot.child.take()?;
        slot.stopped = false;
        self.gone.add(&std::mem::take(&mut slot.samples));
        Some(child)
    }
}

impl Drop for Mills {
    fn drop(&mut self) {
        for mill in 0..self.slots.len() {
            // It may be gone.
            let _ = self.kill(mill);
        }
    }
}

/// Whether a process ended with an error that it told of: neither well, nor by a panic or a signal.
fn is_failure(status: ExitStatus) -> bool {
    status.code() == Some(FAILED)
}

fn send(child: &Child, signal: Signal) -> Result<(), RunError> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let sent = pid.map_or(Err(rustix::io::Errno::SRCH), |pid| kill_process(pid, signal));
    sent.map_err(|error| RunError::io(format!("signal {signal:?}"))(error.into()))
}

/// Waits for a process to end, and kills it after `limit`; how it ended, and after how long.
fn wait(mut child: Child, limit: Duration) -> Result<(Option<ExitStatus>, Duration), RunError> {
    let start = Instant::now();
    let failed = || RunError::io(format!("process {}", child.id()));
    let failed = (failed(), failed());
    let mut poll = || child.try_wait();
    let mut status = poll().map_err(failed.0)?;
    while status.is_none() && start.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(10));
        status = child.try_wait().unwrap_or(None);
    }
    if status.is_none() {
        child.kill().and_then(|()| child.wait()).map_err(failed.1)?;
    }
    Ok((status, start.elapsed()))
}

//! Whether the process is alive and does its work.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// A mill that has not turned for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// What the mill tells of itself.
#[derive(Debug)]
pub struct Health {
    last_beat: Mutex<Instant>,
    assigned: AtomicBool,
    stopped: AtomicBool,
}

impl Default for Health {
    fn default() -> Health {
        Health {
            last_beat: Mutex::new(Instant::now()),
            assigned: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        }
    }
}

impl Health {
    /// The loop has turned.
    pub fn beat(&self) {
        *self.last_beat.lock().expect("nothing panics while it is held") = Instant::now();
    }

    /// The group has given this member its partitions, be it none.
    pub fn assigned(&self) {
        self.assigned.store(true, Ordering::Relaxed);
    }

    /// There is no assignment: before the first, between two starts, while draining.
    pub fn unassigned(&self) {
        self.assigned.store(false, Ordering::Relaxed);
    }

    /// Whether an assigned partition is stopped, since its dead letter was refused.
    pub fn stopped(&self, is_any: bool) {
        self.stopped.store(is_any, Ordering::Relaxed);
    }

    /// `Ok` while the loop turns.
    pub(crate) fn live(&self) -> Result<(), &'static str> {
        let last = *self.last_beat.lock().expect("nothing panics while it is held");
        if last.elapsed() < STUCK_AFTER { Ok(()) } else { Err("the loop is stuck") }
    }

    /// `Ok` while all assigned partitions are worked on.
    pub(crate) fn ready(&self) -> Result<(), &'static str> {
        self.live()?;
        if self.stopped.load(Ordering::Relaxed) {
            return Err("a partition is stopped: a dead letter was refused");
        }
        if !self.assigned.load(Ordering::Relaxed) {
            return Err("no partitions are assigned yet");
        }
        Ok(())
    }
}

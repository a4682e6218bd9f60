//! Watches that what a group has committed never goes back.
//!
//! With exactly once, an offset that goes back is output that is written again as soon as somebody
//! reads from it: a request of an earlier transaction that was taken for one of a later. Where coordinators move, a
//! node that has just taken over may tell older offsets for a moment, until it knows what its replicas have: there
//! only what stays is wrong.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::Mutex;

use super::admin::Committed;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);

/// After so long a coordinator knows what is committed.
const SETTLED: Duration = Duration::from_secs(1);

/// The most that is remembered.
const FINDINGS_MAX: usize = 5;

/// Watches until it is dropped.
pub(super) struct CommitWatch {
    found: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl CommitWatch {
    /// Begins to watch; `coordinators_move` or not.
    pub fn start(committed: Committed, coordinators_move: bool) -> CommitWatch {
        let (found, ended) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (findings, end) = (Arc::clone(&found), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            let mut last: Vec<u64> = Vec::new();
            while !end.load(Ordering::SeqCst) {
                thread::sleep(LOOK);
                // The coordinator may be away.
                let Ok(mut now) = committed.get(Duration::from_secs(5)) else { continue };
                if coordinators_move && last.iter().zip(&now).any(|(before, now)| now < before) {
                    thread::sleep(SETTLED);
                    match committed.get(Duration::from_secs(5)) {
                        Ok(later) => now = later,
                        Err(_) => continue,
                    }
                }
                for (partition, (&before, &now)) in last.iter().zip(&now).enumerate() {
                    if now < before {
                        note(&findings, format!("partition {partition}: committed {now} after {before}"));
                    }
                }
                last = now;
            }
        });
        CommitWatch { found, ended, thread: Some(thread) }
    }

    /// What was found so far.
    pub fn found(&self) -> Vec<String> {
        self.found.lock().clone()
    }
}

fn note(findings: &Mutex<Vec<String>>, finding: String) {
    let mut findings = findings.lock();
    if findings.len() < FINDINGS_MAX {
        findings.push(finding);
    }
}

impl Drop for CommitWatch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It panicked; that was printed.
            let _ = thread.join();
        }
    }
}

//! What is left for an evaluation.

use std::{
    cell::Cell,
    hint::black_box,
    time::{Duration, Instant},
};

use jaq_json::Val;

/// What a step counts.
pub(super) const STEP: u64 = 64;
/// What a value in an array or object counts.
pub(super) const NODE: u64 = 16;
/// How much work is done from one look at the clock to the next.
const LOOK: u64 = 4096;

/// Why an evaluation was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It took too long.
    Time,
    /// It did or made too much.
    Work,
    /// Calls are nested too deeply.
    Stack,
    /// Arrays and objects are nested too deeply.
    Depth,
    /// The results are too long.
    Output,
    /// There are too many results.
    Results,
}

/// How deep an evaluation may go on the stack that it runs on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    /// How many bytes of the stack calls within each other may take.
    pub(super) stack: usize,
    /// How deep arrays and objects may be nested.
    pub(super) depth: usize,
    /// How many calls may hand on what they were given as arguments.
    pub(super) calls: u32,
}

/// What is left for an evaluation; counted by cells, as an evaluation has one thread.
#[derive(Debug)]
pub(super) struct Budget {
    stage: Stage,
    /// Where the stack was when the evaluation began.
    base: usize,
    work: Cell<u64>,
    /// The clock is looked at when less than this is left.
    look: Cell<u64>,
    time: Duration,
    /// Unknown until the clock is looked at first.
    deadline: Cell<Option<Instant>>,
    calls: Cell<u32>,
    stop: Cell<Option<Stop>>,
}

impl Budget {
    pub(super) fn new(stage: Stage, time: Duration, work: u64) -> Budget {
        Budget {
            stage,
            base: here(),
            work: Cell::new(work),
            look: Cell::new(work.saturating_sub(LOOK)),
            time,
            deadline: Cell::new(None),
            calls: Cell::new(stage.calls),
            stop: Cell::new(None),
        }
    }

    /// Why the evaluation was stopped, if it was. An expression cannot undo it.
    pub(super) fn stopped(&self) -> Option<Stop> {
        self.stop.get()
    }

    #[cold]
    pub(super) fn refuse<T>(&self, stop: Stop) -> Result<T, Stop> {
        let first = self.stop.get().unwrap_or(stop);
        self.stop.set(Some(first));
        Err(first)
    }

    /// Counts work.
    #[inline]
    pub(super) fn spend(&self, work: u64) -> Result<(), Stop> {
        let Some(left) = self.work.get().checked_sub(work) else { return self.refuse(Stop::Work) };
        self.work.set(left);
        if left < self.look.get() { self.look_at_the_clock(left) } else { Ok(()) }
    }

    fn look_at_the_clock(&self, left: u64) -> Result<(), Stop> {
        self.look.set(left.saturating_sub(LOOK));
        let now = Instant::now();
        let deadline = self.deadline.get().unwrap_or(now + self.time);
        self.deadline.set(Some(deadline));
        match self.stop.get() {
            Some(stop) => Err(stop),
            None if now > deadline => self.refuse(Stop::Time),
            None => Ok(()),
        }
    }

    /// Counts a step of something that may be endless, or call itself.
    #[inline]
    pub(super) fn step(&self) -> Result<(), Stop> {
        self.spend(STEP)?;
        if self.base.abs_diff(here()) > self.stage.stack { self.refuse(Stop::Stack) } else { Ok(()) }
    }

    /// Counts a call of a function that calls itself and has functions as arguments. Each call may hold
    /// the arguments of the call before; dropping such a chain takes the stack as many times.
    pub(super) fn chain(&self) -> Result<(), Stop> {
        match self.calls.get().checked_sub(1) {
            Some(left) => self.calls.set(left),
            None => return self.refuse(Stop::Stack),
        }
        self.step()
    }

    /// Counts all that is in a value, as often as it is in it, and how deep.
    pub(super) fn weigh(&self, value: &Val) -> Result<(), Stop> {
        self.weigh_within(value, self.stage.depth)
    }

    fn weigh_within(&self, value: &Val, depth: usize) -> Result<(), Stop> {
        match value {
            Val::Null | Val::Bool(_) | Val::Num(_) => self.spend(NODE),
            Val::BStr(bytes) | Val::TStr(bytes) => self.spend(NODE + bytes.len() as u64),
            Val::Arr(_) | Val::Obj(_) if depth == 0 => self.refuse(Stop::Depth),
            Val::Arr(elements) => {
                self.spend(NODE)?;
                elements.iter().try_for_each(|element| self.weigh_within(element, depth - 1))
            }
            Val::Obj(members) => {
                self.spend(NODE)?;
                members.iter().try_for_each(|(key, value)| {
                    self.weigh_within(key, depth - 1)?;
                    self.weigh_within(value, depth - 1)
                })
            }
        }
    }

    /// How deep arrays and objects may be nested.
    pub(super) fn depth(&self) -> usize {
        self.stage.depth
    }
}

/// Where the stack is now.
#[inline]
fn here() -> usize {
    let on_the_stack = 0_u8;
    std::ptr::from_ref(black_box(&on_the_stack)).addr()
}

//! Compares the records that a partition should hold, in their order, with those it holds.
//!
//! The usual case costs one comparison per record: the next one is the expected one. At the first
//! that is not, the comparison looks ahead and takes the explanation under which most of what
//! follows is as expected: a gap, a chunk written again, records early or late, wrong bytes.
//! Identical records may occur any number of times, so a record alone never determines its
//! position.

use std::collections::VecDeque;

use super::{
    findings::{Actual, Findings, Kind},
    fingerprint::Fingerprint,
    index::Index,
};

/// The number of records looked at to explain a mismatch.
const LOOKAHEAD: usize = 128;

/// The most findings that count against an explanation.
const COST_MAX: usize = 8;

/// The number of records that decide whether the first record left of the source is reached.
const CERTAIN: usize = 16;

/// The number of records after an early one that decide whether the others come back.
const FOLLOWERS: usize = 16;

/// A comparison that takes the actual records one by one.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    expected: &'a [Fingerprint],
    /// Built at the first mismatch.
    index: Option<Index>,
    seen: Vec<bool>,
    /// Whether what comes may still belong to source records that are gone.
    leading: bool,
    /// Every position below has been seen or passed over.
    frontier: usize,
    /// The position expected next while away from the frontier: in a chunk written again or
    /// among records that are early.
    away: Option<usize>,
    ahead: VecDeque<Ahead>,
    /// Position and offset of each record that counts as a duplicate.
    repeated: Vec<(usize, i64)>,
    findings: Findings,
}

#[derive(Clone, Copy, Debug)]
struct Ahead {
    actual: Actual,
    /// Whether it is expected anywhere; `None` until that is looked up.
    known: Option<bool>,
}

/// An explanation of a mismatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Explanation {
    /// The position that the record has.
    position: usize,
    /// How many records from this one on are as expected under it.
    explained: usize,
    /// How many findings it causes.
    cost: usize,
    /// Whether the records between the frontier and the position are given up.
    gap: bool,
}

impl<'a> Comparison<'a> {
    /// A comparison with `expected`.
    pub(super) fn new(expected: &'a [Fingerprint]) -> Comparison<'a> {
        Comparison {
            expected,
            index: None,
            seen: vec![false; expected.len()],
            leading: false,
            frontier: 0,
            away: None,
            ahead: VecDeque::new(),
            repeated: Vec::new(),
            findings: Findings::default(),
        }
    }

    /// The same where the source may have had records before the expected ones, which are `cut`
    /// off: what was made of those comes first, and nothing is left to compare it with.
    pub(super) fn after_a_cut(self, cut: bool) -> Comparison<'a> {
        Comparison { leading: cut, ..self }
    }

    /// Takes the next actual record.
    #[inline]
    pub(super) fn push(&mut self, actual: Actual) {
        let in_line = self.ahead.is_empty() && self.away.is_none() && !self.leading;
        if in_line && self.is_next(&actual.fingerprint) {
            self.seen[self.frontier] = true;
            self.frontier += 1;
        } else {
            self.ahead.push_back(Ahead { actual, known: None });
            self.settle(false);
        }
    }

    /// The findings, after the last actual record.
    pub(super) fn finish(mut self) -> Findings {
        self.settle(true);
        let unseen = (0..self.expected.len()).filter(|&position| !self.seen[position]);
        self.repeated.sort_unstable_by_key(|&(position, offset)| (self.expected[position], offset));
        let mut used = vec![false; self.repeated.len()];
        for position in unseen {
            let fingerprint = self.expected[position];
            let of = |&(position, _): &(usize, i64)| self.expected[position];
            let first = self.repeated.partition_point(|repeated| of(repeated) < fingerprint);
            let same = self.repeated[first..].iter().take_while(|repeated| of(repeated) == fingerprint);
            match same.zip(first..).find(|&(_, at)| !used[at]) {
                // Identical to one that was found once too often: it is that one, elsewhere.
                Some((&(as_position, offset), at)) => {
                    used[at] = true;
                    self.findings.take_back(Kind::Duplicate, Some(as_position), offset);
                    self.findings.add(Kind::Reordered, Some(position), offset);
                }
                None => self.findings.add_missing(fingerprint, position),
            }
        }
        self.findings
    }

    /// Whether the frontier's record, which must not have been seen early, is this one.
    #[inline]
    fn is_next(&self, fingerprint: &Fingerprint) -> bool {
        self.expected.get(self.frontier) == Some(fingerprint) && !self.seen[self.frontier]
    }

    /// Handles the records ahead; unless `ended`, those that need a longer look wait for it.
    fn settle(&mut self, ended: bool) {
        while let Some(head) = self.ahead.front() {
            let Actual { fingerprint, offset } = head.actual;
            if self.leading {
                if !ended && self.ahead.len() <= LOOKAHEAD {
                    return;
                }
                self.leading = !self.begins();
                if self.leading {
                    self.findings.add_unchecked(offset);
                    self.ahead.pop_front();
                }
                continue;
            }
            while self.seen.get(self.frontier) == Some(&true) {
                self.frontier += 1;
            }
            self.away = self.away.filter(|&position| position != self.frontier);
            if self.away.is_none() && self.is_next(&fingerprint) {
                self.take(self.frontier);
            } else if !ended && self.ahead.len() <= LOOKAHEAD {
                return;
            } else {
                self.resolve(fingerprint, ended);
            }
        }
    }

    /// Whether the head and what follows are what is left of the source. An equal record may have
    /// been among those that are gone, so the head alone does not decide it.
    fn begins(&mut self) -> bool {
        self.ahead.make_contiguous();
        let certain = CERTAIN.min(self.ahead.len());
        if self.run(0, 0) >= certain {
            return true;
        }
        if !self.is_known(0) {
            return false;
        }
        let head = self.ahead[0].actual.fingerprint;
        let index = self.index.take().unwrap_or_else(|| Index::new(self.expected));
        let longest = index.near(self.expected, &head, 0).map(|position| self.run(0, position)).max();
        self.index = Some(index);
        let known = (0..certain).filter(|&at| self.is_known(at)).count();
        longest.is_some_and(|longest| longest >= certain.min(2)) && 2 * known > certain
    }

    /// Handles the head, which is not the frontier's record or comes while away from it.
    fn resolve(&mut self, head: Fingerprint, ended: bool) {
        self.ahead.make_contiguous();
        if let Some(position) = self.away {
            let back = if self.is_next(&head) { self.run(0, self.frontier) } else { 0 };
            let on = self.run(0, position);
            if on > back {
                self.take(position);
            } else {
                self.away = None;
            }
            return;
        }
        if self.is_known(0) {
            let best = self.explain(&head, ended);
            if best.gap {
                self.frontier = best.position;
            } else {
                self.away = Some(best.position);
            }
            self.take(best.position);
        } else {
            self.take_foreign();
        }
    }

    /// The head is the record at `position`.
    fn take(&mut self, position: usize) {
        let Some(head) = self.ahead.pop_front() else { return };
        let offset = head.actual.offset;
        if std::mem::replace(&mut self.seen[position], true) {
            self.repeated.push((position, head.actual.offset));
            self.findings.add(Kind::Duplicate, Some(position), offset);
        } else if position == self.frontier {
            self.frontier += 1;
        } else {
            self.findings.add(Kind::Reordered, Some(position), offset);
        }
        if self.away.is_some() {
            self.away = Some(position + 1);
        }
    }

    /// The head is expected nowhere. It has wrong bytes if what follows continues as if it had
    /// taken a place, and is a phantom if what follows continues as if it were not there.
    fn take_foreign(&mut self) {
        let strangers = (0..self.ahead.len()).take_while(|&at| !self.is_known(at)).count();
        let replaced = self.run(strangers, self.frontier + strangers);
        let inserted = self.run(strangers, self.frontier);
        let Some(head) = self.ahead.pop_front() else { return };
        let stranger = head.actual.fingerprint;
        let expected = self.expected.get(self.frontier);
        // Without evidence from what follows, half of the record must be as expected.
        let is_like =
            |expected: &Fingerprint| expected.place == stranger.place || expected.content == stranger.content;
        let replaces = replaced > inserted || replaced == inserted && expected.is_some_and(is_like);
        if expected.is_some() && replaces {
            self.findings.add_foreign(head.actual, Some((self.expected[self.frontier], self.frontier)));
            self.seen[self.frontier] = true;
            self.frontier += 1;
        } else {
            self.findings.add_foreign(head.actual, None);
        }
    }

    /// The best explanation of the head, which is expected somewhere.
    fn explain(&mut self, head: &Fingerprint, ended: bool) -> Explanation {
        let len = self.ahead.len();
        // How many records match from the frontier on if those before them are set aside.
        let home: Vec<usize> = (0..=len).map(|at| self.run(at, self.frontier)).collect();
        let index = self.index.take().unwrap_or_else(|| Index::new(self.expected));
        let mut best: Option<Explanation> = None;
        for position in index.near(self.expected, head, self.frontier) {
            let run = self.run(0, position);
            let mut consider = |explained, end: usize, cost, gap| {
                // At the end of the partition, what is left over is missing.
                let rest = if ended && explained == len { self.expected.len() - end } else { 0 };
                let explanation = Explanation { position, explained, cost: cost + rest, gap };
                if best.is_none_or(|best| explanation.beats(&best)) {
                    best = Some(explanation);
                }
            };
            // Away for a while, and back to the frontier.
            let back = (1..=run).filter(|&length| home[length] > 0);
            if let Some(length) = back.max_by_key(|&length| (length + home[length], len - length)) {
                let end = self.frontier + home[length];
                consider(length + home[length], end, self.cost_away(position, length), false);
            }
            if position < self.frontier {
                // Once more from there, or late, perhaps up to the frontier and on.
                let end = self.frontier.max(position + run);
                consider(run, end, self.cost_away(position, run), false);
                continue;
            }
            // The records in between are given up, unless what comes after these is among them.
            let gap = position - self.frontier;
            consider(run, position + run, gap, true);
            let between = |follower: &&Ahead| {
                index.occurs(self.expected, &follower.actual.fingerprint, self.frontier..position)
            };
            let followers = self.ahead.range(run..len.min(run + FOLLOWERS));
            let back = followers.clone().filter(between).count();
            let at_once = followers.clone().next().is_some_and(|follower| between(&follower));
            if run < gap && (at_once || 2 * back > followers.len()) {
                consider(run, self.frontier, run, false);
            }
        }
        self.index = Some(index);
        best.expect("the head is expected somewhere")
    }

    /// The findings caused by taking `length` records from `position` on: one for each that was
    /// seen before or is early. Late ones make up for one that was missing.
    fn cost_away(&self, position: usize, length: usize) -> usize {
        if position >= self.frontier {
            return length;
        }
        let end = self.frontier.min(position + length);
        self.seen[position..end].iter().filter(|&&seen| seen).count()
    }

    /// How many records ahead, from the `at`-th on, are those expected from `position` on.
    fn run(&self, at: usize, position: usize) -> usize {
        let expected = self.expected.get(position..).unwrap_or_default();
        let ahead = self.ahead.as_slices().0.get(at..).unwrap_or_default();
        ahead
            .iter()
            .zip(expected)
            .take_while(|(ahead, expected)| ahead.actual.fingerprint == **expected)
            .count()
    }

    fn is_known(&mut self, at: usize) -> bool {
        let ahead = &mut self.ahead[at];
        *ahead.known.get_or_insert_with(|| {
            let index = self.index.get_or_insert_with(|| Index::new(self.expected));
            index.contains(self.expected, &ahead.actual.fingerprint)
        })
    }
}

impl Explanation {
    /// The explanation that covers more wins, less what it costs; then the one with fewer findings;
    /// then the earlier candidate. Beyond some number, findings cost no more: a long chunk has one
    /// cause.
    fn beats(&self, other: &Explanation) -> bool {
        let rank = |of: &Explanation| (of.explained + COST_MAX - of.cost.min(COST_MAX), usize::MAX - of.cost);
        rank(self) > rank(other)
    }
}

#[cfg(test)]
mod tests;

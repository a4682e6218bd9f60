//! What came of a trial, held against what was promised.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{
    Delivery,
    error::RunError,
    faults::{REBALANCES, SKIPPED, Twice},
    logs,
    reader::{Fingerprints, Isolation, Reader, note},
    report::Row,
    trial::{CATCH_UP, PARTITIONS, Trial},
};
use crate::judge::Counts;

/// How long a reader waits for more before it holds that there is no more.
const SILENCE: Duration = Duration::from_secs(3);

impl Trial<'_> {
    /// Ends everything, reads again, and judges.
    pub fn finish(mut self) -> Result<Row, RunError> {
        let written = self.writer.quiesce()?;
        let total: u64 = written.iter().sum();
        if self.fault.is_control() {
            // Not all may come: as long as something does.
            let end = Instant::now() + CATCH_UP;
            self.pause(SILENCE)?;
            while self.live.view(|view| view.last.elapsed()) < SILENCE && Instant::now() < end {
                self.pause(Duration::from_millis(50))?;
            }
        } else {
            self.expect_progress("in the end")?;
        }
        self.mills.scrape();
        for mill in self.mills.running() {
            self.mills.terminate(mill)?;
        }
        while self.live.view(|view| view.last.elapsed()) < SILENCE {
            self.pause(Duration::from_millis(50))?;
        }
        let (mut counts, pause, examples, prints, failure) = self.live.view(|view| {
            let counts = view.judge.finish(&written);
            (counts, view.pause, view.judge.examples().to_vec(), view.prints.clone(), view.failure.clone())
        });
        self.wrong.extend(failure);
        if self.fault.is_control() {
            // Who has ended, or never began, has lost nothing: what it has not committed is to come.
            let committed = self.committed()?;
            let unseen = |(partition, &end)| self.live.view(|view| view.judge.unseen(partition, end));
            counts.lost = committed.iter().enumerate().map(unseen).sum();
        } else {
            self.wrong.append(&mut self.mills.surprises);
            self.wrong.extend(self.commits.iter().flat_map(|commits| commits.found()));
            if self.delivery == Delivery::ExactlyOnce {
                self.check_ends(Instant::now())?;
            }
        }
        self.compare(&prints)?;
        let in_source = self.stage.admin.ends(&self.source, PARTITIONS, Isolation::Uncommitted)?;
        if in_source != written {
            let wrong = format!("the load wrote {written:?}, and the source ends at {in_source:?}");
            self.wrong.push(wrong);
        }
        let struck = self.strikes.iter().filter(|&&acked| acked < total).count() as u64;
        let planned = self.strikes.len() as u64;
        if struck < planned || planned == 0 {
            self.wrong.push(format!("of {planned} strikes, {struck} struck while work remained"));
        }
        counts.records = counts.records.max(self.live.view(|view| view.judge.counts().records));
        self.judge(&counts, pause);
        let topics: Vec<&str> = self.topics.iter().map(|topic| &**topic).collect();
        self.stage.admin.delete(&topics)?;
        Ok(Row {
            fault: self.fault.about().to_owned(),
            delivery: self.delivery.name(),
            protocol: self.protocol.name(),
            struck: (struck, planned),
            counts,
            pause,
            memory: self.mills.memory.peak,
            growth: self.mills.memory.growth(),
            sometimes: self.sometimes,
            wrong: self.wrong,
            examples,
        })
    }

    /// Two readers must agree on what is at each offset.
    fn compare(&mut self, live: &Fingerprints) -> Result<(), RunError> {
        let committed = self.read_again(Isolation::Committed)?;
        if &committed != live {
            let places = live.iter().chain(&committed).map(|(&place, _)| place);
            for place in places.collect::<BTreeSet<_>>() {
                let (first, second) = (live.get(&place), committed.get(&place));
                let (first, second) =
                    (first.cloned().unwrap_or_default(), second.cloned().unwrap_or_default());
                if let Some(offset) = first.differs(&second) {
                    self.wrong.push(format!(
                        "{place:?}: the readers differ by offset {offset}; live {} records, later {}",
                        first.records(),
                        second.records()
                    ));
                }
            }
        }
        if self.delivery == Delivery::ExactlyOnce {
            let sum = |prints: &Fingerprints| prints.values().map(|print| print.records()).sum::<u64>();
            let aborted = sum(&self.read_again(Isolation::Uncommitted)?) - sum(&committed);
            self.sometimes.push(("aborted records".into(), aborted));
        }
        Ok(())
    }

    fn read_again(&mut self, isolation: Isolation) -> Result<Fingerprints, RunError> {
        let reader = Reader::new(self.stage.nodes.bootstrap(), self.outputs.clone(), isolation)?;
        let (mut prints, mut last) = (Fingerprints::new(), Instant::now());
        while last.elapsed() < SILENCE {
            match reader.next() {
                Ok(Some(seen)) => {
                    note(&mut prints, &seen);
                    last = Instant::now();
                }
                Ok(None) => self.pause(Duration::ZERO)?,
                Err(failure) => {
                    self.wrong.push(failure);
                    break;
                }
            }
        }
        Ok(prints)
    }

    /// Holds what was found against what was promised.
    fn judge(&mut self, counts: &Counts, pause: Duration) {
        if let Some(found) = self.fault.control(counts) {
            if found == 0 {
                self.wrong.push("the judge did not notice".into());
            }
            return self.demand_rare_paths();
        }
        let never = [
            ("lost", counts.lost),
            ("out of order", counts.out_of_order),
            ("with a wrong key, value or time", counts.corrupt),
            ("where they do not belong", counts.phantom),
            ("read at an offset below the last", counts.went_back),
        ];
        for (what, count) in never.into_iter().filter(|&(_, count)| count > 0) {
            self.wrong.push(format!("{count} records {what}"));
        }
        let most = match self.fault.twice(self.delivery) {
            Twice::Any => counts.records,
            Twice::Permille(permille) => counts.records * permille / 1000,
            Twice::Never => 0,
        };
        if counts.twice > most {
            self.wrong.push(format!("{} records twice; at most {most} may be", counts.twice));
        }
        if pause > self.fault.pause_max() {
            self.wrong.push(format!("a partition with work to do did not go on for {pause:?}"));
        }
        self.wrong.extend(self.mills.memory.wrong());
        let samples = self.mills.samples();
        if self.fault.deletes_events() {
            let excused = self.live.view(|view| view.judge.excused());
            let skipped = samples.get(SKIPPED) as u64;
            if skipped < excused {
                self.wrong.push(format!("{excused} events are gone, and {skipped} were counted as skipped"));
            }
            self.sometimes.push(("events not due".into(), excused));
        }
        self.sometimes.push(("loud stops".into(), self.mills.stops));
        for (name, metric) in self.fault.sometimes(self.delivery) {
            let mut count = samples.get(metric) as u64;
            if name == REBALANCES {
                // Each start brings one that is none.
                count = count.saturating_sub(self.mills.starts());
            }
            self.sometimes.push((name.to_owned(), count));
        }
        let (first, second) = self.stage.rules.ends();
        if self.delivery == Delivery::ExactlyOnce {
            self.sometimes.push(("ends of version 1".into(), first));
            self.sometimes.push(("ends of version 2".into(), second));
        }
        let mut errors = logs::errors(self.mills.logs());
        for name in self.fault.errors() {
            errors.entry((*name).to_owned()).or_default();
        }
        self.sometimes.extend(errors);
        self.demand_rare_paths();
    }

    /// Each path that the fault must lead to was taken.
    fn demand_rare_paths(&mut self) {
        for (name, count) in &self.sometimes {
            if *count == 0 && self.fault.requires(name, self.delivery) {
                self.wrong.push(format!("the faults caused none of: {name}"));
            }
        }
    }
}

//! Combines the outcomes of the partitions into the report.

use std::sync::Arc;

use super::{
    Partition,
    findings::Kind,
    missing::{self, Gap},
    report::{PLACES_MAX, Place, Report, Rest, Stretch},
};
use crate::config::VerifyConfig;

impl Report {
    /// Adds the outcome of the partition `number`, of which the group has committed the records below
    /// `committed`, if there is a group.
    pub(super) fn add(
        &mut self,
        config: &VerifyConfig,
        number: i32,
        outcome: &Partition,
        committed: Option<i64>,
    ) {
        let Partition { findings, letters, expected, written, letter_count } = outcome;
        self.read += expected.read;
        self.written += written;
        self.letters += letter_count;
        let source = |first, last| Some(stretch(&config.source, number, first, last));
        let found = |first, last| Some(stretch(&config.destination, number, first, last));
        for run in &findings.runs {
            let ends = run.position.map(|first| [first, first + run.len - 1].map(|at| expected.offset(at)));
            let place = Place {
                source: ends.and_then(|[first, last]| source(first, last)),
                found: found(run.offset, run.offset + run.len as i64 - 1),
                count: run.len as u64,
                is_tail: false,
            };
            self.places.push((run.kind, place));
        }
        for finding in letters.iter().filter(|finding| finding.kind != Kind::Missing) {
            let at = |(partition, offset)| stretch(&config.dead_letter, partition, offset, offset);
            let place = Place {
                source: source(finding.offset, finding.offset),
                found: finding.place.map(at),
                count: 1,
                is_tail: false,
            };
            self.counts.add(finding.kind, 1);
            self.places.push((finding.kind, place));
        }
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Missing) {
            self.counts.add(kind, findings.counts.of(kind));
        }
        let (missing, behind) = missing::gaps(expected, findings, letters, committed);
        self.counts.add(Kind::Missing, count(&missing));
        let place = |gap: &Gap| Place {
            source: source(gap.first, gap.last),
            found: None,
            count: gap.count,
            is_tail: gap.is_tail && committed.is_none(),
        };
        self.places.extend(missing.iter().take(PLACES_MAX).map(|gap| (Kind::Missing, place(gap))));
        self.behind.add(count(&behind), behind.iter().take(PLACES_MAX).map(place));
        let unchecked = findings.unchecked.map(|unchecked| Place {
            source: None,
            found: found(unchecked.first, unchecked.last),
            count: unchecked.count,
            is_tail: false,
        });
        self.unchecked.add(unchecked.as_ref().map_or(0, |place| place.count), unchecked.into_iter());
    }

    /// Adds a hint if the records look as if another transform had made them.
    pub(super) fn hint_at_transform(&mut self) {
        let differing = self.counts.of(Kind::Corrupt) + self.counts.of(Kind::Phantom);
        let checked = self.written - self.unchecked.count;
        // Tombstones are the same whatever the transform.
        if differing > 0 && differing >= checked / 4 * 3 {
            let hint = "nearly every record differs: was another --transform, --field or --digest written?";
            self.hints.push(hint.to_owned());
        }
    }
}

impl Rest {
    fn add(&mut self, count: u64, places: impl Iterator<Item = Place>) {
        self.count += count;
        self.places.extend(places);
    }
}

fn count(gaps: &[Gap]) -> u64 {
    gaps.iter().map(|gap| gap.count).sum()
}

fn stretch(topic: &Arc<str>, partition: i32, first: i64, last: i64) -> Stretch {
    Stretch { topic: Arc::clone(topic), partition, first, last }
}

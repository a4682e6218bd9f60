//! Combines the outcomes of the partitions into the report.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Origin, Partition, SourcePartition,
    expected::Expected,
    findings::Kind,
    missing::{self, Gap},
    report::{PLACES_MAX, Place, Report, Rest, Stretch},
};
use crate::{batch::TopicPartition, config::VerifyConfig};

impl Report {
    /// Adds what was found about the source partition `number`, of which the group has committed the records
    /// below `committed`, if there is a group; and its counterpart in the destination.
    pub(super) fn add_source(
        &mut self,
        config: &VerifyConfig,
        number: i32,
        source: &SourcePartition,
        places: &BTreeMap<TopicPartition, Partition>,
        committed: Option<i64>,
    ) {
        self.read += source.read;
        self.letters += source.letter_count;
        let home = TopicPartition { topic: Arc::clone(&config.destination), partition: number };
        if let Some(partition) = places.get(&home) {
            self.add_place(config, &home, partition);
        }
        for finding in source.letters.iter().filter(|finding| finding.kind != Kind::Missing) {
            let at = |(partition, offset)| stretch(&config.dead_letter, partition, offset, offset);
            let place = Place {
                source: Some(stretch(&config.source, number, finding.offset, finding.offset)),
                found: finding.place.map(at),
                count: 1,
                ..Place::default()
            };
            self.counts.add(finding.kind, 1);
            self.places.push((finding.kind, place));
        }
        // What is missing there, and of the letters, in one order.
        let origin = places.get(&home).and_then(|partition| {
            let origin = partition.origins.iter().find(|origin| origin.number == number)?;
            Some((partition, origin))
        });
        let (none, letters) = (Expected::default(), &source.letters);
        let gaps = match origin {
            Some((partition, origin)) => {
                missing::gaps(&origin.expected, absent(partition, origin), &source.due, letters, committed)
            }
            None => missing::gaps(&none, std::iter::empty(), &source.due, letters, committed),
        };
        self.add_gaps(config, number, None, gaps, committed.is_none());
    }

    /// Adds what is wrong with the records of a partition that is written.
    pub(super) fn add_place(&mut self, config: &VerifyConfig, to: &TopicPartition, outcome: &Partition) {
        let Partition { findings, written, .. } = outcome;
        self.written += written;
        let found = |first, last| Some(stretch(&to.topic, to.partition, first, last));
        for run in &findings.runs {
            let source = run.position.and_then(|first| {
                let (origin, from) = outcome.origin_of(first)?;
                let (last, to) = outcome.origin_of(first + run.len - 1)?;
                let end = if last.number == origin.number { to } else { from };
                Some(stretch(&config.source, origin.number, from, end))
            });
            let found = found(run.offset, run.offset + run.len as i64 - 1);
            let place = Place { source, found, count: run.len as u64, ..Place::default() };
            self.places.push((run.kind, place));
        }
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Missing) {
            self.counts.add(kind, findings.counts.of(kind));
        }
        let unchecked = findings.unchecked.map(|unchecked| Place {
            found: found(unchecked.first, unchecked.last),
            count: unchecked.count,
            ..Place::default()
        });
        self.unchecked.add(unchecked.as_ref().map_or(0, |place| place.count), unchecked.into_iter());
    }

    /// Adds what is missing in a partition that is written, apart from what
    /// [`add_source`](Report::add_source) does.
    pub(super) fn add_missing(
        &mut self,
        config: &VerifyConfig,
        (to, outcome): (&TopicPartition, &Partition),
        committed: impl Fn(i32) -> Option<i64>,
    ) {
        for origin in &outcome.origins {
            if to.topic == config.destination && to.partition == origin.number {
                continue;
            }
            let committed = committed(origin.number);
            let gaps = missing::gaps(&origin.expected, absent(outcome, origin), &[], &[], committed);
            self.add_gaps(config, origin.number, Some(to), gaps, committed.is_none());
        }
    }

    fn add_gaps(
        &mut self,
        config: &VerifyConfig,
        number: i32,
        to: Option<&TopicPartition>,
        (missing, behind): (Vec<Gap>, Vec<Gap>),
        may_be_tail: bool,
    ) {
        self.counts.add(Kind::Missing, count(&missing));
        let place = |gap: &Gap| Place {
            source: Some(stretch(&config.source, number, gap.first, gap.last)),
            due_in: to.cloned(),
            count: gap.count,
            is_tail: gap.is_tail && may_be_tail,
            ..Place::default()
        };
        self.places.extend(missing.iter().take(PLACES_MAX).map(|gap| (Kind::Missing, place(gap))));
        self.behind.add(count(&behind), behind.iter().take(PLACES_MAX).map(place));
    }

    /// Adds a hint if the records look as if another transform had made them.
    pub(super) fn hint_at_transform(&mut self, config: &VerifyConfig) {
        let differing = self.counts.of(Kind::Corrupt) + self.counts.of(Kind::Phantom);
        let checked = self.written - self.unchecked.count;
        // Tombstones are the same whatever the transform.
        if differing > 0 && differing >= checked / 4 * 3 {
            let hint = if config.transform.counts().is_some() {
                "nearly every record differs: were other steps done, or with other settings or keys?"
            } else {
                "nearly every record differs: was another --transform, --field or --digest written?"
            };
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

/// The positions of what is missing of an origin, counted from its first.
fn absent(partition: &Partition, origin: &Origin) -> impl Iterator<Item = usize> {
    let range = origin.first..origin.first + origin.expected.outputs;
    let positions = partition.findings.absent.iter().map(|(_, position)| *position);
    positions.filter(move |position| range.contains(position)).map(|position| position - origin.first)
}

fn count(gaps: &[Gap]) -> u64 {
    gaps.iter().map(|gap| gap.count).sum()
}

fn stretch(topic: &Arc<str>, partition: i32, first: i64, last: i64) -> Stretch {
    Stretch { topic: Arc::clone(topic), partition, first, last }
}

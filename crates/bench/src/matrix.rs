//! What is measured: the shapes of a source topic, and the programs that transform each.

use std::fmt;

use serde::Serialize;
use topicmill_mill::{delivery::DeliveryKind, engine::EngineKind, strategy::StrategyKind};
use topicmill_records::Compression;

use super::{contender::Contender, peers::Peer};

/// The most batches in a source topic: tiny ones are written one request each.
const BATCHES_MAX: u64 = 100_000;

/// The most bytes of values in a source topic.
const BYTES_MAX: u64 = 1 << 30;

/// The most bytes of values in a record batch, below the 1 MiB that brokers take unless told
/// otherwise.
const BATCH_BYTES_MAX: usize = 800_000;

/// The size in bytes up to which a value is a natural event, as `generate` writes it.
const NATURAL_MAX: usize = 64;

/// How a source topic looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// The compression of source and destination.
    #[serde(serialize_with = "codec")]
    pub codec: Compression,
    /// The number of partitions.
    pub partitions: i32,
    /// The size of a value in bytes; natural events vary by a few.
    pub value: usize,
    /// The records of a batch.
    pub batch: usize,
}

impl Shape {
    /// The shape from which every other one differs in one thing.
    pub const BASE: Shape = Shape { codec: Compression::None, partitions: 1, value: 53, batch: 10_000 };

    /// The records of a batch as it is written: fewer than asked for when they are large.
    pub fn batch_records(&self) -> usize {
        self.batch.min(BATCH_BYTES_MAX / self.value).max(1)
    }

    /// Whether the values are natural events, as `generate` writes them.
    pub fn is_natural(&self) -> bool {
        self.value <= NATURAL_MAX
    }

    /// How many of `events` the source gets.
    pub fn events(&self, events: u64) -> u64 {
        events.min(BATCHES_MAX * self.batch_records() as u64).min(BYTES_MAX / self.value as u64)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { codec, partitions, value, .. } = self;
        let plural = if *partitions == 1 { "" } else { "s" };
        write!(f, "{codec}, {partitions} partition{plural}, {value} B, batches of {}", self.batch_records())
    }
}

/// A shape and who transforms it.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The shape.
    pub shape: Shape,
    /// Those who transform it, in turn.
    pub contenders: Vec<Contender>,
}

/// What was chosen to be measured; nothing chosen of a list means the usual.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Every combination; without, one thing is changed at a time.
    pub full: bool,
    /// The strategies.
    pub strategies: Vec<StrategyKind>,
    /// The deliveries.
    pub deliveries: Vec<DeliveryKind>,
    /// The engines.
    pub engines: Vec<EngineKind>,
    /// The compressions of source and destination.
    pub codecs: Vec<Compression>,
    /// The numbers of partitions.
    pub partitions: Vec<i32>,
    /// The sizes of a value in bytes.
    pub value_sizes: Vec<usize>,
    /// The numbers of records in a source batch.
    pub batch_sizes: Vec<usize>,
}

/// The cells that were chosen. Without a choice: the base shape with every strategy and peer,
/// and each shape that differs from it in one thing with the strategy `pipeline` and the peers
/// that are tuned.
pub fn plan(selection: &Selection, peers: &[Peer]) -> Vec<Cell> {
    let shapes = shapes(selection);
    let cell = |shape: Shape| {
        let strategies = match selection.strategies.as_slice() {
            [] if selection.full || shape == shapes[0] => {
                vec![StrategyKind::Serial, StrategyKind::Pipeline, StrategyKind::Worker]
            }
            [] => vec![StrategyKind::Pipeline],
            chosen => chosen.to_vec(),
        };
        let mut contenders = Vec::new();
        for &engine in engines(selection) {
            for &delivery in deliveries(selection) {
                let mill = |&strategy| Contender::Mill { strategy, delivery, engine };
                contenders.extend(strategies.iter().map(mill));
            }
        }
        let takes_part = |peer: &&Peer| selection.full || shape == shapes[0] || peer.is_tuned();
        contenders.extend(peers.iter().filter(takes_part).flat_map(|peer| peer.contenders(shape.codec)));
        Cell { shape, contenders }
    };
    shapes.iter().copied().map(cell).collect()
}

fn shapes(selection: &Selection) -> Vec<Shape> {
    let base = Shape::BASE;
    let chosen = !(selection.codecs.is_empty()
        && selection.partitions.is_empty()
        && selection.value_sizes.is_empty()
        && selection.batch_sizes.is_empty());
    match (selection.full, chosen) {
        (false, false) => {
            let codec = |codec| Shape { codec, ..base };
            vec![
                base,
                codec(Compression::Lz4),
                codec(Compression::Zstd),
                Shape { partitions: 8, ..base },
                Shape { value: 1000, ..base },
                Shape { batch: 1000, ..base },
                Shape { batch: 10, ..base },
            ]
        }
        (full, _) => {
            let or = |all: &[usize], base| if full { all.to_vec() } else { vec![base] };
            let codecs = match selection.codecs.as_slice() {
                [] if full => vec![Compression::None, Compression::Lz4, Compression::Zstd],
                [] => vec![base.codec],
                chosen => chosen.to_vec(),
            };
            let pick = |chosen: &[usize], otherwise: Vec<usize>| match chosen {
                [] => otherwise,
                chosen => chosen.to_vec(),
            };
            let partitions: Vec<usize> = selection.partitions.iter().map(|&count| count as usize).collect();
            let partitions = pick(&partitions, or(&[1, 8], base.partitions as usize));
            let values = pick(&selection.value_sizes, or(&[53, 1000], base.value));
            let batches = pick(&selection.batch_sizes, or(&[10_000, 1000, 10], base.batch));
            product(&codecs, &partitions, &values, &batches)
        }
    }
}

fn product(codecs: &[Compression], partitions: &[usize], values: &[usize], batches: &[usize]) -> Vec<Shape> {
    let mut shapes = Vec::new();
    for &codec in codecs {
        for &partitions in partitions {
            for &value in values {
                for &batch in batches {
                    shapes.push(Shape { codec, partitions: partitions as i32, value, batch });
                }
            }
        }
    }
    shapes
}

fn engines(selection: &Selection) -> &[EngineKind] {
    match selection.engines.as_slice() {
        [] => &[EngineKind::Native],
        chosen => chosen,
    }
}

fn deliveries(selection: &Selection) -> &[DeliveryKind] {
    match selection.deliveries.as_slice() {
        [] => &[DeliveryKind::AtLeastOnce],
        chosen => chosen,
    }
}

fn codec<S: serde::Serializer>(codec: &Compression, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(codec.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_changes_one_thing_at_a_time() {
        let cells = plan(&Selection::default(), &[]);
        assert_eq!(cells[0].shape, Shape::BASE);
        assert_eq!(cells[0].contenders.len(), 3);
        for Cell { shape, contenders } in &cells[1..] {
            let base = Shape::BASE;
            let differs = [
                shape.codec != base.codec,
                shape.partitions != base.partitions,
                shape.value != base.value,
                shape.batch != base.batch,
            ];
            assert_eq!(differs.iter().filter(|differs| **differs).count(), 1, "{shape}");
            assert_eq!(contenders.len(), 1);
        }
    }

    #[test]
    fn everything_is_the_product() {
        let cells = plan(&Selection { full: true, ..Selection::default() }, &[]);
        assert_eq!(cells.len(), 3 * 2 * 2 * 3);
        assert!(cells.iter().all(|cell| cell.contenders.len() == 3));
    }

    #[test]
    fn what_is_chosen_is_the_product_of_the_choices() {
        let selection = Selection {
            codecs: vec![Compression::Lz4, Compression::Zstd],
            batch_sizes: vec![10],
            strategies: vec![StrategyKind::Serial, StrategyKind::Worker],
            ..Selection::default()
        };
        let cells = plan(&selection, &[]);
        let shapes: Vec<String> = cells.iter().map(|cell| cell.shape.to_string()).collect();
        assert_eq!(
            shapes,
            ["lz4, 1 partition, 53 B, batches of 10", "zstd, 1 partition, 53 B, batches of 10"]
        );
        assert!(cells.iter().all(|cell| cell.contenders.len() == 2));
    }

    #[test]
    fn all_peers_take_part_first_and_the_tuned_ones_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["go", "franz", "streams", "other"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let peers = Peer::find(folder.path());
        let (strategies, batch_sizes) = (vec![StrategyKind::Serial], vec![1000, 10]);
        let selection = Selection { strategies, batch_sizes, ..Selection::default() };
        let cells = plan(&selection, &peers);
        assert_eq!(cells[0].contenders.len(), 1 + 3 + 1 + 1);
        let last: Vec<String> = cells[1].contenders.iter().map(Contender::to_string).collect();
        assert_eq!(last, ["topicmill serial", "franz-go, tuned"]);
    }

    #[test]
    fn a_source_has_bounds() {
        let shape = Shape { value: 1000, ..Shape::BASE };
        assert_eq!(shape.batch_records(), 800);
        assert_eq!(shape.to_string(), "none, 1 partition, 1000 B, batches of 800");
        assert!(!shape.is_natural() && Shape::BASE.is_natural());
        let small = Shape { batch: 10, ..Shape::BASE };
        assert_eq!((small.events(5_000_000), small.events(7)), (1_000_000, 7));
    }
}

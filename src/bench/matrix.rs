//! What is measured: the shapes of a source topic, and the programs that transform each.

use std::fmt;

use serde::Serialize;

use super::{contender::Contender, peers::Peer};
use crate::{
    cli::BenchArgs, delivery::DeliveryKind, engine::EngineKind, records::Compression, strategy::StrategyKind,
};

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

/// The cells that `args` ask for. Without a choice: the base shape with every strategy and peer,
/// and each shape that differs from it in one thing with the strategy `pipeline` and the peers
/// that are tuned.
pub fn plan(args: &BenchArgs, peers: &[Peer]) -> Vec<Cell> {
    let shapes = shapes(args);
    let cell = |shape: Shape| {
        let strategies = match args.strategy.as_slice() {
            [] if args.full || shape == shapes[0] => {
                vec![StrategyKind::Serial, StrategyKind::Pipeline, StrategyKind::Worker]
            }
            [] => vec![StrategyKind::Pipeline],
            chosen => chosen.to_vec(),
        };
        let mut contenders = Vec::new();
        for engine in engines(args) {
            for &delivery in deliveries(args) {
                let mill = |&strategy| Contender::Mill { strategy, delivery, engine };
                contenders.extend(strategies.iter().map(mill));
            }
        }
        let takes_part = |peer: &&Peer| args.full || shape == shapes[0] || peer.is_tuned();
        contenders.extend(peers.iter().filter(takes_part).flat_map(|peer| peer.contenders(shape.codec)));
        Cell { shape, contenders }
    };
    shapes.iter().copied().map(cell).collect()
}

fn shapes(args: &BenchArgs) -> Vec<Shape> {
    let base = Shape::BASE;
    let chosen = !(args.codec.is_empty()
        && args.partitions.is_empty()
        && args.value_size.is_empty()
        && args.batch_size.is_empty());
    match (args.full, chosen) {
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
            let codecs = match args.codec.as_slice() {
                [] if full => vec![Compression::None, Compression::Lz4, Compression::Zstd],
                [] => vec![base.codec],
                chosen => chosen.to_vec(),
            };
            let pick = |chosen: &[usize], otherwise: Vec<usize>| match chosen {
                [] => otherwise,
                chosen => chosen.to_vec(),
            };
            let partitions: Vec<usize> = args.partitions.iter().map(|&count| count as usize).collect();
            let partitions = pick(&partitions, or(&[1, 8], base.partitions as usize));
            let values = pick(&args.value_size, or(&[53, 1000], base.value));
            let batches = pick(&args.batch_size, or(&[10_000, 1000, 10], base.batch));
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

/// The engines that are asked for, or all of this build.
fn engines(args: &BenchArgs) -> Vec<EngineKind> {
    match args.engine.as_slice() {
        [] if cfg!(feature = "librdkafka") => vec![EngineKind::Native, EngineKind::Librdkafka],
        [] => vec![EngineKind::Native],
        chosen => chosen.to_vec(),
    }
}

fn deliveries(args: &BenchArgs) -> &[DeliveryKind] {
    match args.delivery.as_slice() {
        [] => &[DeliveryKind::AtLeastOnce],
        chosen => chosen,
    }
}

fn codec<S: serde::Serializer>(codec: &Compression, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(codec.as_str())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn planned(typed: &str) -> Vec<Cell> {
        let words = std::iter::once("bench").chain(typed.split_whitespace());
        plan(&Typed::parse_from(words).args, &[])
    }

    #[test]
    fn the_default_changes_one_thing_at_a_time() {
        let cells = planned("--engine native");
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
        let cells = planned("--full --engine native");
        assert_eq!(cells.len(), 3 * 2 * 2 * 3);
        assert!(cells.iter().all(|cell| cell.contenders.len() == 3));
    }

    #[test]
    fn what_is_chosen_is_the_product_of_the_choices() {
        let cells = planned("--codec lz4,zstd --batch-size 10 --strategy serial,worker --engine native");
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
        let args =
            Typed::parse_from(["bench", "--engine=native", "--strategy=serial", "--batch-size=1000,10"]).args;
        let cells = plan(&args, &peers);
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

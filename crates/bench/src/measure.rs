//! Measures the cells of the matrix one after the other, the contenders of a cell in turn.

use std::{
    fmt,
    future::Future,
    pin::pin,
    process::Command,
    time::{Duration, Instant},
};

use topicmill_kafka::Client;
use topicmill_mill::{cpu, engine::ClientSettings};

use super::{
    BenchError, BenchSettings, Contender, Step, TURN_LIMIT,
    ceiling::{self, Ceiling},
    contender::Turn,
    embedded::EmbeddedBroker,
    fill::{Source, fill},
    latency::{self, Percentiles},
    machine::{self, Machine},
    matrix::{Cell, Shape},
    process::Running,
    report::{Latency, Results, Throughput, median},
};

/// The memory of the embedded broker at least, and per byte of a source: output and framing.
const MEMORY_MIN: u64 = 256 << 20;
const MEMORY_PER_BYTE: u64 = 5;

/// Measures `cells`, the ceilings of each and the latency of the first one's contenders, until
/// done or `stop` resolves; `progress` is told before each measurement.
///
/// # Errors
/// When anything fails; the topics are deleted all the same.
pub async fn measure(
    asked: &BenchSettings,
    cells: &[Cell],
    stop: impl Future<Output = ()>,
    mut progress: impl FnMut(Step<'_>),
) -> Result<Results, BenchError> {
    let embedded =
        if asked.embedded { Some(EmbeddedBroker::start(asked, memory(asked, cells))?) } else { None };
    let mut settings = asked.client.clone();
    if let Some(broker) = &embedded {
        settings.brokers = vec![broker.address.clone()];
    }
    let client = Client::connect(&settings).await?;
    let brokers = settings.brokers.join(",");
    let broker_id = embedded.as_ref().map(EmbeddedBroker::id).or(asked.broker_pid);
    if let Some(id) = broker_id.filter(|id| cpu::time_used_by(*id).is_none()) {
        return Err(BenchError::NoProcess { id });
    }
    let of_cell = |cell: &Cell| cell.contenders.len() + 1 + usize::from(cell.shape.is_natural());
    let throughputs: usize = cells.iter().map(of_cell).sum();
    let steps = (throughputs + latency_contenders(asked, cells).len()) * asked.runs;
    let mut bench = Bench {
        asked,
        settings,
        client,
        brokers,
        broker_id,
        prefix: format!("bench_{:08x}", rand::random::<u32>()),
        topics: Vec::new(),
        names: 0,
        measured: 0,
        is_warm: asked.warm_up.is_zero(),
        total: steps as u64,
        progress: &mut progress,
    };
    let results = tokio::select! {
        results = bench.all(cells) => results,
        () = pin!(stop) => Err(BenchError::Stopped),
    };
    let deleted = bench.delete_topics().await;
    let results = results?;
    deleted?;
    Ok(results)
}

/// Those whose latency is measured: this program's among the first cell's contenders.
fn latency_contenders<'a>(asked: &BenchSettings, cells: &'a [Cell]) -> Vec<&'a Contender> {
    let ours = |contender: &&Contender| matches!(contender, Contender::Mill { .. });
    let first = cells.first().filter(|_| !asked.latency_time.is_zero());
    first.map_or(Vec::new(), |cell| cell.contenders.iter().filter(ours).collect())
}

/// Those that warm the broker up: one of each delivery, as transactions are code of its own there.
fn warming(contenders: &[Contender]) -> Vec<&Contender> {
    let mut warming: Vec<&Contender> = Vec::new();
    for contender in contenders {
        if !warming.iter().any(|other| other.delivery() == contender.delivery()) {
            warming.push(contender);
        }
    }
    // A peer does nothing that ours do not.
    let ours = warming.iter().any(|contender| contender.delivery().is_some());
    warming.retain(|contender| contender.delivery().is_some() || !ours);
    warming
}

/// The memory that the embedded broker needs for the largest source with its outputs.
fn memory(asked: &BenchSettings, cells: &[Cell]) -> u64 {
    let bytes = |cell: &Cell| cell.shape.events(asked.events) * (cell.shape.value as u64 + 16);
    MEMORY_MIN + MEMORY_PER_BYTE * cells.iter().map(bytes).max().unwrap_or(0)
}

struct Bench<'a> {
    asked: &'a BenchSettings,
    settings: ClientSettings,
    client: Client,
    brokers: String,
    broker_id: Option<u32>,
    /// What the names of all topics and groups start with.
    prefix: String,
    /// The topics that exist.
    topics: Vec<String>,
    /// How many names were given.
    names: u64,
    /// How many measurements were begun.
    measured: u64,
    /// Whether the broker has worked for a while.
    is_warm: bool,
    /// How many there are.
    total: u64,
    progress: &'a mut dyn FnMut(Step<'_>),
}

/// One measurement.
struct Sample {
    events: u64,
    seconds: f64,
    cpu: Duration,
    broker_cpu: Option<Duration>,
    peak_rss: Option<u64>,
}

impl Bench<'_> {
    async fn all(&mut self, cells: &[Cell]) -> Result<Results, BenchError> {
        let mut results = Results {
            date: machine::today(),
            version: env!("CARGO_PKG_VERSION"),
            brokers: if self.asked.embedded { "the embedded broker".into() } else { self.brokers.clone() },
            machine: Machine::this(),
            runs: self.asked.runs,
            commit_interval: self.asked.commit_interval.clone(),
            throughput: Vec::new(),
            ceilings: Vec::new(),
            latency: Vec::new(),
        };
        for cell in cells {
            self.cell(cell, &mut results).await?;
        }
        results.latency = self.latency(&latency_contenders(self.asked, cells)).await?;
        Ok(results)
    }

    /// Measures a cell: fills its source once, then all take turns.
    async fn cell(&mut self, cell: &Cell, results: &mut Results) -> Result<(), BenchError> {
        let topic = self.name("source");
        let events = cell.shape.events(self.asked.events);
        let source = fill(&self.client, &self.settings, &topic, cell.shape, events).await?;
        if !self.is_warm {
            self.warm_up(&warming(&cell.contenders), &source, cell.shape).await?;
        }
        let runs = self.asked.runs;
        let mut samples: Vec<Vec<Sample>> = cell.contenders.iter().map(|_| Vec::new()).collect();
        let (mut consumed, mut produced) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            for (contender, samples) in cell.contenders.iter().zip(&mut samples) {
                self.show(contender);
                samples.push(self.turn(contender, &source, cell.shape).await?);
            }
            let consume = async |bench: &mut Self| ceiling::consume(&bench.client, &source).await;
            consumed.push(self.ceiling("consume only", consume).await?);
            // `generate` knows natural events only: with others it would be no ceiling.
            if cell.shape.is_natural() {
                let produce = async |bench: &mut Self| bench.produce(cell.shape, events).await;
                produced.push(self.ceiling("produce only", produce).await?);
            }
        }
        self.delete_topics().await?;
        let row = |name: String, samples: &[Sample]| throughput(name, cell.shape, &source, samples);
        let rows = cell.contenders.iter().zip(&samples);
        results.throughput.extend(rows.map(|(contender, samples)| row(contender.to_string(), samples)));
        results.ceilings.push(row("ceiling: consume only".into(), &consumed));
        if !produced.is_empty() {
            results.ceilings.push(row("ceiling: produce only".into(), &produced));
        }
        Ok(())
    }

    /// Takes turns that do not count: a broker in Java is slow until its code is compiled.
    async fn warm_up(
        &mut self,
        contenders: &[&Contender],
        source: &Source,
        shape: Shape,
    ) -> Result<(), BenchError> {
        self.tell("warming up");
        let until = Instant::now() + self.asked.warm_up;
        for contender in contenders.iter().cycle() {
            if Instant::now() >= until {
                break;
            }
            self.turn(contender, source, shape).await?;
        }
        self.is_warm = true;
        Ok(())
    }

    /// One turn of one contender over a source.
    async fn turn(
        &mut self,
        contender: &Contender,
        source: &Source,
        shape: Shape,
    ) -> Result<Sample, BenchError> {
        let events = source.events.min(self.asked.peer_events);
        let turn = self.next_turn(source.topic.clone(), events);
        for topic in [&turn.destination, &turn.dead_letter] {
            self.client.create_topic(topic, shape.partitions, None, &[]).await?;
        }
        let command = contender.command(&turn, &self.brokers, self.run(shape));
        let broker_before = self.broker_cpu();
        let finished = Running::start(contender.to_string(), command)?.finish(TURN_LIMIT).await?;
        let broker_cpu = self.broker_cpu().zip(broker_before).map(|(after, before)| after - before);
        let (events, seconds) = contender.outcome(&turn, &finished)?;
        for topic in [&turn.destination, &turn.dead_letter] {
            self.client.delete_topic(topic).await?;
        }
        self.topics.retain(|topic| *topic != turn.destination && *topic != turn.dead_letter);
        let peak_rss = Some(finished.peak_rss);
        Ok(Sample { events, seconds, cpu: finished.cpu, broker_cpu, peak_rss })
    }

    async fn ceiling(
        &mut self,
        name: &str,
        measure: impl AsyncFnOnce(&mut Self) -> Result<Ceiling, BenchError>,
    ) -> Result<Sample, BenchError> {
        self.show(name);
        let broker_before = self.broker_cpu();
        let Ceiling { events, seconds, cpu } = measure(self).await?;
        let broker_cpu = self.broker_cpu().zip(broker_before).map(|(after, before)| after - before);
        Ok(Sample { events, seconds, cpu, broker_cpu, peak_rss: None })
    }

    async fn produce(&mut self, shape: Shape, events: u64) -> Result<Ceiling, BenchError> {
        let topic = self.name("produced");
        self.client.create_topic(&topic, shape.partitions, None, &[]).await?;
        let ceiling = ceiling::produce(self.mill("generate", shape), &topic, events).await?;
        self.client.delete_topic(&topic).await?;
        self.topics.retain(|other| *other != topic);
        Ok(ceiling)
    }

    async fn latency(&mut self, contenders: &[&Contender]) -> Result<Vec<Latency>, BenchError> {
        let (rate, lasting) = (self.asked.latency_rate, self.asked.latency_time);
        let mut samples: Vec<Vec<Percentiles>> = contenders.iter().map(|_| Vec::new()).collect();
        for _ in 0..self.asked.runs {
            for (contender, samples) in contenders.iter().zip(&mut samples) {
                self.show(format_args!("latency of {contender}"));
                let source = self.name("steady");
                let turn = self.next_turn(source, 0);
                let run = self.run(Shape::BASE);
                let (client, settings) = (&self.client, &self.settings);
                let found = latency::measure(client, settings, contender, &turn, run, rate, lasting).await?;
                samples.push(found);
                self.delete_topics().await?;
            }
        }
        let latency = |(contender, samples): (&&Contender, &Vec<Percentiles>)| {
            let of =
                |part: fn(&Percentiles) -> f64| median(&mut samples.iter().map(part).collect::<Vec<_>>());
            let milliseconds = Percentiles {
                p50: of(|p| p.p50),
                p99: of(|p| p.p99),
                p999: of(|p| p.p999),
                max: of(|p| p.max),
            };
            Latency { contender: contender.to_string(), rate, milliseconds }
        };
        Ok(contenders.iter().zip(&samples).map(latency).collect())
    }

    /// A name that nothing had before; if a topic is created with it, it will be deleted.
    fn name(&mut self, what: &str) -> String {
        self.names += 1;
        let name = format!("{}_{}_{what}", self.prefix, self.names);
        self.topics.push(name.clone());
        name
    }

    fn next_turn(&mut self, source: String, events: u64) -> Turn {
        let (destination, dead_letter) = (self.name("destination"), self.name("dead_letter"));
        let group = format!("{}_{}", self.prefix, self.names);
        Turn { source, destination, dead_letter, group, events }
    }

    /// A turn of this program.
    fn run(&self, shape: Shape) -> Command {
        let mut command = self.mill("run", shape);
        if let Some(interval) = &self.asked.commit_interval {
            command.args(["--commit-interval", interval]);
        }
        command
    }

    /// This program with a subcommand, which reaches the cluster and compresses as `shape` says.
    fn mill(&self, subcommand: &str, shape: Shape) -> Command {
        let mut command = self.asked.program(subcommand);
        if !self.asked.embedded {
            command.args(&self.asked.connection);
        }
        command.args(["--brokers", &self.brokers, "-X", &format!("compression.type={}", shape.codec)]);
        command
    }

    fn broker_cpu(&self) -> Option<Duration> {
        self.broker_id.and_then(cpu::time_used_by)
    }

    fn show(&mut self, what: impl fmt::Display) {
        self.tell(&what.to_string());
        self.measured += 1;
    }

    fn tell(&mut self, what: &str) {
        (self.progress)(Step { done: self.measured, total: self.total, what });
    }

    async fn delete_topics(&mut self) -> Result<(), BenchError> {
        while let Some(topic) = self.topics.pop() {
            self.client.delete_topic(&topic).await?;
        }
        Ok(())
    }
}

fn throughput(contender: String, shape: Shape, source: &Source, samples: &[Sample]) -> Throughput {
    let of = |figure: &dyn Fn(&Sample) -> Option<f64>| {
        let mut figures: Vec<f64> = samples.iter().filter_map(figure).collect();
        (!figures.is_empty()).then(|| median(&mut figures))
    };
    let rate = |sample: &Sample| sample.events as f64 / sample.seconds;
    let per_event = |time: Duration, sample: &Sample| time.as_secs_f64() * 1e6 / sample.events as f64;
    let events_per_s = of(&|sample| Some(rate(sample))).unwrap_or_default();
    Throughput {
        contender,
        shape,
        events: samples.first().map_or(0, |sample| sample.events),
        events_per_s,
        mb_per_s: events_per_s * source.bytes as f64 / source.events as f64 / 1e6,
        client_cpu_us_per_event: of(&|sample| Some(per_event(sample.cpu, sample))).unwrap_or_default(),
        broker_cpu_us_per_event: of(&|sample| sample.broker_cpu.map(|time| per_event(time, sample))),
        peak_rss_mib: of(&|sample| sample.peak_rss.map(|bytes| bytes as f64 / f64::from(1 << 20))),
        runs_events_per_s: samples.iter().map(rate).collect(),
    }
}

#[cfg(test)]
mod tests {
    use topicmill_mill::{delivery::DeliveryKind, engine::EngineKind, strategy::StrategyKind};

    use super::*;

    #[test]
    fn one_of_each_delivery_warms_the_broker_up() {
        use DeliveryKind::{AtLeastOnce, ExactlyOnce};
        let mill = |(strategy, delivery)| Contender::Mill { strategy, delivery, engine: EngineKind::Native };
        let peer = Contender::Peer { program: "peer".into(), name: "peer".into(), mode: String::new() };
        let (serial, pipeline) = (StrategyKind::Serial, StrategyKind::Pipeline);
        let ours =
            [(serial, AtLeastOnce), (pipeline, AtLeastOnce), (serial, ExactlyOnce), (pipeline, ExactlyOnce)];
        let all: Vec<Contender> = [peer.clone()].into_iter().chain(ours.map(mill)).collect();
        let names: Vec<String> = warming(&all).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["topicmill serial", "topicmill serial, exactly once"]);
        assert_eq!(warming(&[peer]).len(), 1);
    }
}

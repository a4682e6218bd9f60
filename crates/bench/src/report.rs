//! The results: as JSON, as Markdown tables and as plots.

use std::{fmt::Write as _, fs, io, path::Path};

use serde::Serialize;

use super::{
    format::grouped,
    latency::Percentiles,
    machine::Machine,
    matrix::Shape,
    plot::{Bar, Group, Plot},
};

/// All that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// The date in UTC.
    pub date: String,
    /// The version of this program.
    pub version: &'static str,
    /// The brokers: the embedded one, or the addresses.
    pub brokers: String,
    /// The machine of the clients.
    pub machine: Machine,
    /// How often each was measured; figures are medians.
    pub runs: usize,
    /// How often this program committed, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_interval: Option<String>,
    /// The throughput of each contender on each shape.
    pub throughput: Vec<Throughput>,
    /// The results of consuming alone and producing alone, by shape.
    pub ceilings: Vec<Throughput>,
    /// The latency end to end, by contender.
    pub latency: Vec<Latency>,
}

/// What a contender reached on a shape: medians of its runs.
#[derive(Clone, Debug, Serialize)]
pub struct Throughput {
    /// Who.
    pub contender: String,
    /// The source's shape.
    pub shape: Shape,
    /// The events of a run.
    pub events: u64,
    /// Events per second.
    pub events_per_s: f64,
    /// Megabytes (10⁶) per second of the records read, uncompressed, framing included.
    pub mb_per_s: f64,
    /// The client's processor time per event in microseconds, its start and end included.
    pub client_cpu_us_per_event: f64,
    /// The broker's processor time per event in microseconds, where its process is known.
    pub broker_cpu_us_per_event: Option<f64>,
    /// The client's peak resident memory in MiB, where it is a process of its own.
    pub peak_rss_mib: Option<f64>,
    /// Events per second of each run.
    pub runs_events_per_s: Vec<f64>,
}

/// The latency of a contender: medians of its runs.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Who.
    pub contender: String,
    /// The steady rate in events per second.
    pub rate: f64,
    /// The latency in milliseconds.
    pub milliseconds: Percentiles,
}

/// The median; of an even number the mean of the middle two, of none 0.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => 0.0,
        (len, middle) if len.is_multiple_of(2) => (values[middle - 1] + values[middle]) / 2.0,
        (_, middle) => values[middle],
    }
}

impl Results {
    /// Writes `results.json`, `results.md` and the plots into `folder`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let json = serde_json::to_string_pretty(self)?;
        fs::write(folder.join("results.json"), json + "\n")?;
        let mut markdown = self.markdown();
        for (name, plot) in self.plots() {
            fs::write(folder.join(name).with_extension("svg"), plot.svg())?;
            let _ = write!(markdown, "\n![{}]({name}.svg)\n", plot.title);
        }
        fs::write(folder.join("results.md"), markdown)
    }

    /// The results as Markdown.
    pub fn markdown(&self) -> String {
        let Machine { cpu, cores, memory_mib, kernel } = &self.machine;
        let mut text = format!(
            "# Benchmark of {}\n\ntopicmill {} on {}. Clients on {cpu}, {cores} cores, {memory_mib} MiB, Linux \
             {kernel}. Medians of {} interleaved runs.\n\nEvents/s count from the first batch read to the \
             last commit (of peers to the last acknowledgement); MB/s are of the records read, \
             uncompressed. CPU is the whole process, its start included, in steps of 10 ms. \
             Produce only is `generate`, which chooses its own batches.\n",
            self.date, self.version, self.brokers, self.runs
        );
        if let Some(interval) = &self.commit_interval {
            let _ = write!(text, "\ntopicmill commits every {interval}.\n");
        }
        for shape in self.shapes() {
            let _ = write!(text, "\n## {shape}\n\n{HEADER}");
            let of_shape = |row: &&Throughput| row.shape == shape;
            for row in self.throughput.iter().chain(&self.ceilings).filter(of_shape) {
                text.push_str(&row.markdown());
            }
        }
        if let Some(first) = self.latency.first() {
            let rate = grouped(first.rate);
            let _ = write!(
                text,
                "\n## Latency end to end at {rate} events/s\n\nFrom an event's creation to a consumer of \
                 the destination, one partition.\n\n| | p50 ms | p99 ms | p99.9 ms | max ms |\n\
                 |---|---:|---:|---:|---:|\n"
            );
            for Latency { contender, milliseconds: Percentiles { p50, p99, p999, max }, .. } in &self.latency
            {
                let _ = writeln!(text, "| {contender} | {p50:.1} | {p99:.1} | {p999:.1} | {max:.1} |");
            }
        }
        text
    }

    /// The plots with the names of their files.
    pub fn plots(&self) -> Vec<(&'static str, Plot)> {
        let mut plots = Vec::new();
        let shapes = self.shapes();
        let Some(base) = shapes.first() else { return plots };
        let of_base = || self.throughput.iter().filter(|row| row.shape == *base);
        let each = |figure: fn(&Throughput) -> f64| {
            of_base().map(|row| Group::single(&row.contender, figure(row))).collect()
        };
        let note = base.to_string();
        let plot = |title: &str, unit, note: &str, groups| Plot {
            title: title.into(),
            note: note.into(),
            unit,
            groups,
        };
        plots.push(("throughput", plot("Throughput", "events/s", &note, each(|row| row.events_per_s))));
        let cpu = plot("Client CPU", "µs per event", &note, each(|row| row.client_cpu_us_per_event));
        plots.push(("cpu", cpu));
        let memory = each(|row| row.peak_rss_mib.unwrap_or_default());
        plots.push(("memory", plot("Peak memory", "MiB resident", &note, memory)));
        if shapes.len() > 1 {
            let group = |shape: &Shape| Group {
                label: shape.to_string(),
                bars: self
                    .throughput
                    .iter()
                    .filter(|row| row.shape == *shape)
                    .map(|row| Bar { label: row.contender.clone(), value: row.events_per_s })
                    .collect(),
            };
            let groups = shapes.iter().skip(1).map(group).collect();
            plots.push(("shapes", plot("Throughput by shape", "events/s", "", groups)));
        }
        if let Some(first) = self.latency.first() {
            let bars = |p: &Percentiles| {
                [("p50", p.p50), ("p99", p.p99), ("p99.9", p.p999)]
                    .map(|(label, value)| Bar { label: label.into(), value })
            };
            let group =
                |of: &Latency| Group { label: of.contender.clone(), bars: bars(&of.milliseconds).into() };
            let note = format!("at {} events/s", grouped(first.rate));
            let groups = self.latency.iter().map(group).collect();
            plots.push(("latency", plot("Latency end to end", "ms", &note, groups)));
        }
        plots
    }

    /// The shapes in the order they were measured.
    fn shapes(&self) -> Vec<Shape> {
        let mut shapes = Vec::new();
        for row in self.throughput.iter().chain(&self.ceilings) {
            if !shapes.contains(&row.shape) {
                shapes.push(row.shape);
            }
        }
        shapes
    }
}

const HEADER: &str = "| | events/s | MB/s | client CPU µs/event | broker CPU µs/event | peak RSS MiB |\n\
                      |---|---:|---:|---:|---:|---:|\n";

impl Throughput {
    fn markdown(&self) -> String {
        let optional = |value: Option<f64>, digits| value.map_or("–".into(), |v| format!("{v:.digits$}"));
        format!(
            "| {} | {} | {:.1} | {:.3} | {} | {} |\n",
            self.contender,
            grouped(self.events_per_s),
            self.mb_per_s,
            self.client_cpu_us_per_event,
            optional(self.broker_cpu_us_per_event, 3),
            optional(self.peak_rss_mib, 0)
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn results() -> Results {
        let row = |contender: &str, shape: Shape, events_per_s| Throughput {
            contender: contender.into(),
            shape,
            events: 1000,
            events_per_s,
            mb_per_s: 1.25,
            client_cpu_us_per_event: 0.0714,
            broker_cpu_us_per_event: None,
            peak_rss_mib: Some(41.6),
            runs_events_per_s: vec![events_per_s],
        };
        let small = Shape { batch: 10, ..Shape::BASE };
        Results {
            date: "2024-02-29".into(),
            version: "1.2.3",
            brokers: "the embedded broker".into(),
            machine: Machine { cpu: "A & B <C>".into(), cores: 2, memory_mib: 4096, kernel: "6.1".into() },
            runs: 3,
            commit_interval: None,
            throughput: vec![
                row("topicmill <serial> & more", Shape::BASE, 4_999_999.7),
                row("slow", Shape::BASE, 0.0),
                row("topicmill pipeline", small, 1234.0),
            ],
            ceilings: vec![row("consume only", Shape::BASE, 9_000_000.0)],
            latency: vec![Latency {
                contender: "topicmill pipeline".into(),
                rate: 100_000.0,
                milliseconds: Percentiles { p50: 1.0, p99: 2.0, p999: 3.25, max: 40.0 },
            }],
        }
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut []), 0.0);
    }

    #[test]
    fn the_tables_have_a_row_for_each_result_under_its_shape() {
        let text = results().markdown();
        let (base, rest) = text.split_once("## none, 1 partition, 53 B, batches of 10\n").unwrap();
        assert!(base.contains("| topicmill <serial> & more | 5,000,000 | 1.2 | 0.071 | – | 42 |"), "{text}");
        assert!(base.contains("| consume only | 9,000,000 |"), "{text}");
        assert!(rest.contains("| topicmill pipeline | 1,234 |"), "{text}");
        assert!(rest.contains("| topicmill pipeline | 1.0 | 2.0 | 3.2 | 40.0 |"), "{text}");
        let columns = |line: &str| line.matches('|').count();
        let rows = text.lines().filter(|line| line.starts_with('|') && columns(line) != 6);
        assert!(rows.clone().all(|line| columns(line) == 7), "{:?}", rows.collect::<Vec<_>>());
    }

    #[test]
    fn everything_is_saved() {
        let folder = tempfile::tempdir().unwrap();
        results().save(&folder.path().join("deep/down")).unwrap();
        let mut names: Vec<String> = fs::read_dir(folder.path().join("deep/down"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "cpu.svg",
                "latency.svg",
                "memory.svg",
                "results.json",
                "results.md",
                "shapes.svg",
                "throughput.svg"
            ]
        );
        let json = fs::read_to_string(folder.path().join("deep/down/results.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["throughput"][0]["shape"]["codec"], "none");
        assert_eq!(json["latency"][0]["milliseconds"]["p999"], 3.25);
    }
}

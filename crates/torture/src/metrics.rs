//! The metrics of an instance: what it counts on paths that are rarely taken.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// How long an instance may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most bytes of an answer.
const ANSWER_MAX: u64 = 4 << 20;

/// Values by name, with the label `outcome` where a metric has one; summed over the other labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// Asks an instance on this port of this machine.
    ///
    /// # Errors
    /// It does not answer in time.
    pub fn of(port: u16) -> io::Result<Samples> {
        let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
        Ok(Samples::parse(&answer))
    }

    /// Reads the exposition format of Prometheus.
    pub fn parse(text: &str) -> Samples {
        let mut samples = Samples::default();
        for line in text.lines().filter(|line| line.starts_with("topicmill_")) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let outcome = labels.split_once("outcome=\"").and_then(|(_, rest)| rest.split_once('"'));
            let name = match outcome {
                Some((outcome, _)) => format!("{name}.{outcome}"),
                None => name.to_owned(),
            };
            *samples.0.entry(name).or_default() += value;
        }
        samples
    }

    /// A value; 0 when it is not there.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// Adds those of another process.
    pub fn add(&mut self, other: &Samples) {
        for (name, value) in &other.0 {
            *self.0.entry(name.clone()).or_default() += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_labels_but_the_outcome() {
        let text = "HTTP/1.1 200 OK\r\n\r\n# TYPE x counter\ntopicmill_rewinds_total 3\n\
                    topicmill_lag_records{group=\"g\",partition=\"0\"} 1\ntopicmill_lag_records{group=\"g\",partition=\"1\"} 2\n\
                    topicmill_transactions_total{outcome=\"aborted\"} 4\n";
        let mut samples = Samples::parse(text);
        samples.add(&Samples::parse("topicmill_rewinds_total 2"));
        assert_eq!(samples.get("topicmill_rewinds_total"), 5.0);
        assert_eq!(samples.get("topicmill_lag_records"), 3.0);
        assert_eq!(samples.get("topicmill_transactions_total.aborted"), 4.0);
        assert_eq!(samples.get("topicmill_nothing"), 0.0);
    }
}

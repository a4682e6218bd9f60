//! `dry-run`: the transform from stdin to stdout, without a broker.

mod heading;
pub(crate) mod topic;

use std::io::{self, BufRead, Write};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use serde_json::json;

use self::heading::heading;
use crate::{
    batch::{AssignmentId, PartitionBatch, Record, Span, TopicPartition},
    config::DryRunConfig,
    records::NO_HEADERS,
    transform::{Place, Transform, TransformKind, ValueError},
    trial::{self, Outcome, Plain, Written},
};

/// The longest line that is read, in bytes: far beyond what Kafka takes, while its output still
/// fits into a record batch.
const MAX_LINE: usize = 256 * 1024 * 1024;

/// Standard alphabet; padding may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The topic that values come from unless one is configured.
const STDIN: &str = "stdin";

/// The number of lines by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DryRunSummary {
    /// Lines transformed.
    pub transformed: u64,
    /// Lines that failed.
    pub failed: u64,
}

/// Transforms `input` to `output`, one value a line. A value is the line without its newline, every
/// other byte kept; with `base64` it is what the line encodes (an empty line is the empty value).
///
/// With `json`, each line becomes one object: `{"output_b64":…}`, `{"error":CLASS,"message":…}`, or, unless
/// there is just one result for the destination, `{"outputs":[…]}`, which names topic and partition where they
/// are chosen; a result with a key or headers has those as `key` and `headers`. Otherwise each result is
/// written as it is, after what was chosen or set besides (`→ TOPIC[PARTITION], key "…", headers {…}: `), if
/// anything was, and a line that fails is reported on standard error instead.
/// Whatever has been read is answered before waiting for more.
///
/// # Errors
/// What `input` or `output` returns, a closed pipe included; `InvalidData` for a line that is not
/// base64 or longer than 256 MiB, after the lines above it have been answered.
pub fn run(
    kind: &TransformKind,
    input: impl BufRead,
    output: impl Write,
    base64: bool,
    json: bool,
) -> io::Result<DryRunSummary> {
    let config = Values { kind, source: STDIN, base64, json };
    run_with(config, input, output, io::stderr())
}

/// The command without `--from-topic`, as [`run`]; values are said to come from the source, if it is configured.
///
/// # Errors
/// As [`run`].
pub(crate) fn command(
    config: &DryRunConfig,
    input: impl BufRead,
    output: impl Write,
) -> io::Result<DryRunSummary> {
    let DryRunConfig { transform, source, base64, json, .. } = config;
    let source = source.as_deref().unwrap_or(STDIN);
    run_with(Values { kind: transform, source, base64: *base64, json: *json }, input, output, io::stderr())
}

/// What is done with the values of standard input.
struct Values<'a> {
    kind: &'a TransformKind,
    /// The topic that they are said to come from.
    source: &'a str,
    base64: bool,
    json: bool,
}

fn run_with(
    config: Values<'_>,
    mut input: impl BufRead,
    mut output: impl Write,
    mut complaints: impl Write,
) -> io::Result<DryRunSummary> {
    let Values { kind, source, base64, json } = config;
    let origin = TopicPartition::new(source, 0);
    let summary = DryRunSummary::default();
    let mut dry_run = DryRun { transform: kind.build(), origin, base64, json, summary };
    let mut pending = Vec::new();
    loop {
        let chunk = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        let len = chunk.len();
        let complete = chunk.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        pending.extend_from_slice(&chunk[..complete]);
        if complete > 0 || len == 0 {
            let answers = dry_run.answer(&pending);
            complaints.write_all(&answers.complaints)?;
            output.write_all(&answers.output)?;
            output.flush()?;
            if let Some(error) = answers.error {
                return Err(error);
            }
            pending.clear();
        }
        if len == 0 {
            return Ok(dry_run.summary);
        }
        pending.extend_from_slice(&chunk[complete..]);
        if pending.len() > MAX_LINE {
            return Err(dry_run.refuse(0, format!("longer than {MAX_LINE} bytes")));
        }
        input.consume(len);
    }
}

struct DryRun {
    transform: Box<dyn Transform>,
    origin: TopicPartition,
    base64: bool,
    json: bool,
    summary: DryRunSummary,
}

/// What is to be written for some lines.
#[derive(Default)]
struct DryRunOutput {
    output: Vec<u8>,
    complaints: Vec<u8>,
    /// Why the rest was not answered.
    error: Option<io::Error>,
}

impl DryRun {
    /// Transforms the values on `lines`, of which the last may lack its newline.
    fn answer(&mut self, lines: &[u8]) -> DryRunOutput {
        let mut answers = DryRunOutput::default();
        // Every record's headers are the ones at the front.
        let mut buffer = NO_HEADERS.to_vec();
        let mut spans = Vec::new();
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let start = buffer.len();
            if self.base64 {
                let text = line.strip_suffix(b"\r").unwrap_or(line);
                if let Err(error) = BASE64.decode_vec(text, &mut buffer) {
                    answers.error = Some(self.refuse(spans.len() as u64, format!("not base64: {error}")));
                    buffer.truncate(start);
                    break;
                }
            } else {
                buffer.extend_from_slice(line);
            }
            spans.push(Span::new(start as u32, (buffer.len() - start) as u32));
        }
        let batch = batch(&self.origin, buffer, &spans);
        let outcomes = match trial::outcomes(self.transform.as_mut(), &batch) {
            Ok(outcomes) => outcomes,
            Err(breach) => {
                let what = format!("the transform breaks its contract: {breach}");
                answers.error = Some(self.refuse(breach.index() as u64, what));
                return answers;
            }
        };
        for outcome in outcomes {
            match outcome {
                Outcome::DeadLetter(error) => self.fail(&error, &mut answers),
                Outcome::Written(all) => self.write(&all, &mut answers.output),
            }
        }
        answers
    }

    fn write(&mut self, all: &[Written], output: &mut Vec<u8>) {
        self.summary.transformed += 1;
        if self.json {
            let line = match all {
                [Written { place, record }] if *place == Place::default() => output_of(record),
                all => {
                    let outputs = all.iter().map(|Written { place, record }| {
                        let mut output = output_of(record);
                        if let Some(topic) = &place.topic {
                            output["topic"] = json!(**topic);
                        }
                        if let Some(partition) = place.partition {
                            output["partition"] = json!(partition);
                        }
                        output
                    });
                    json!({ "outputs": outputs.collect::<Vec<_>>() })
                }
            };
            output.extend_from_slice(format!("{line}\n").as_bytes());
        } else {
            let read = Plain::default();
            for written in all {
                let Written { place, record } = written;
                if *place != Place::default() || record.key.is_some() || !record.headers.is_empty() {
                    output.extend_from_slice(heading(written, &read).as_bytes());
                    output.extend_from_slice(b": ");
                }
                output.extend_from_slice(record.value.as_deref().unwrap_or_default());
                output.push(b'\n');
            }
        }
    }

    fn fail(&mut self, error: &ValueError, answers: &mut DryRunOutput) {
        self.summary.failed += 1;
        if self.json {
            let message = serde_json::Value::from(error.message.as_str());
            let object = format!("{{\"error\":\"{}\",\"message\":{message}}}\n", error.class);
            answers.output.extend_from_slice(object.as_bytes());
        } else {
            let line = self.lines();
            answers.complaints.extend_from_slice(format!("line {line}: {error}\n").as_bytes());
        }
    }

    /// The lines answered so far.
    fn lines(&self) -> u64 {
        self.summary.transformed + self.summary.failed
    }

    /// The error for the line after `unanswered` lines that follow the last answer.
    fn refuse(&self, unanswered: u64, why: String) -> io::Error {
        let line = self.lines() + unanswered + 1;
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line}: {why}"))
    }
}

/// A batch of the values at `spans`, as if they had been read from a topic.
fn batch(origin: &TopicPartition, buffer: Vec<u8>, spans: &[Span]) -> PartitionBatch {
    let headers = Span::new(0, NO_HEADERS.len() as u32);
    let record = |(offset, &value)| Record { offset, timestamp: 0, key: Span::NULL, value, headers };
    PartitionBatch {
        origin: origin.clone(),
        assignment: AssignmentId::default(),
        next_offset: spans.len() as i64,
        buffer: Bytes::from(buffer),
        records: (0..).zip(spans).map(record).collect(),
        ..PartitionBatch::default()
    }
}

/// A result as `--json` shows it: the value, and key and headers if a step has made some.
fn output_of(record: &Plain) -> serde_json::Value {
    let mut output = json!({ "output_b64": BASE64.encode(record.value.as_deref().unwrap_or_default()) });
    if let Some(key) = &record.key {
        output["key"] = json!(String::from_utf8_lossy(key));
    }
    if !record.headers.is_empty() {
        output["headers"] = topic::headers_of(record);
    }
    output
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;

    use super::*;
    use crate::{
        cli::{Cli, Command},
        transform::{Emission, NameEvent, Output, Values},
    };

    fn dry_run(input: &[u8], base64: bool, json: bool) -> (io::Result<DryRunSummary>, String, String) {
        let (mut output, mut complaints) = (Vec::new(), Vec::new());
        // A buffer of three bytes splits every line.
        let input = io::BufReader::with_capacity(3, input);
        let kind = NameEvent::kind();
        let config = super::Values { kind: &kind, source: STDIN, base64, json };
        let summary = run_with(config, input, &mut output, &mut complaints);
        (summary, String::from_utf8(output).unwrap(), String::from_utf8(complaints).unwrap())
    }

    #[test]
    fn plain_lines_become_plain_lines_or_complaints() {
        let (summary, output, complaints) = dry_run(b"null\n\n{} x\n{}\r", false, false);
        assert_eq!(summary.unwrap(), DryRunSummary { transformed: 2, failed: 2 });
        assert_eq!(
            output,
            "{\"first_name\":\"\",\"last_name\":\"\",\"hash\":\"37a6259cc0c1dae299a7866489dff0bd\"}\n\
             {\"first_name\":\"\",\"last_name\":\"\",\"hash\":\"e499f6ba3eb9a6b0d199ae4f763bcf96\"}\n"
        );
        assert_eq!(
            complaints,
            "line 2: empty: the value has no bytes\nline 3: trailing: 'x' at byte 3, after the value's end\n"
        );
    }

    #[test]
    fn json_answers_every_line_in_its_place() {
        let (summary, output, complaints) = dry_run(b"bnVsbA==\n\nWw\r\n", true, true);
        assert_eq!(summary.unwrap(), DryRunSummary { transformed: 1, failed: 2 });
        let lines: Vec<_> = output.lines().collect();
        assert!(lines[0].starts_with("{\"output_b64\":\"eyJmaXJzdF9uYW1lI"), "{output}");
        assert_eq!(lines[1], r#"{"error":"empty","message":"the value has no bytes"}"#);
        assert!(lines[2].starts_with(r#"{"error":"eof","message":""#), "{output}");
        assert_eq!(complaints, "");
    }

    #[test]
    fn none_and_several_results_are_shown() {
        /// Passes `none` over, and makes two of everything else.
        struct Several;
        impl Transform for Several {
            fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
                for (index, value) in values.iter() {
                    if value == b"none" {
                        out.skip(index);
                        continue;
                    }
                    for topic in [None, Some(&"there".into())] {
                        let value = [value];
                        let (value, headers) = (Some(value.as_slice()), NO_HEADERS);
                        let (partition, timestamp, key) = (topic.map(|_| 3), 0, None);
                        out.emit(index, &Emission { topic, partition, timestamp, key, value, headers });
                    }
                }
            }
        }
        let kind = TransformKind::custom(|| Box::new(Several));
        let run = |json| {
            let mut output = Vec::new();
            let config = super::Values { kind: &kind, source: STDIN, base64: false, json };
            let summary = run_with(config, &b"none\na\n"[..], &mut output, io::sink()).unwrap();
            assert_eq!(summary, DryRunSummary { transformed: 2, failed: 0 });
            String::from_utf8(output).unwrap()
        };
        assert_eq!(run(false), "a\n→ there[3]: a\n");
        let there = r#"{"output_b64":"YQ==","partition":3,"topic":"there"}"#;
        let expected = format!("{{\"outputs\":[]}}\n{{\"outputs\":[{{\"output_b64\":\"YQ==\"}},{there}]}}\n");
        assert_eq!(run(true), expected);
    }

    /// What is made of a value from `orders`, with `shown` as the destination.
    fn shown(flags: &[&str], value: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "[source]\ntopic = 'orders'\n[destination]\ntopic = 'shown'\n").unwrap();
        let words = ["topicmill", "dry-run", "--config", file.path().to_str().unwrap()];
        let cli = Cli::parse_from(words.iter().chain(flags));
        let Command::DryRun(args) = cli.command else { panic!("{cli:?}") };
        let mut output = Vec::new();
        command(&DryRunConfig::new(&args).unwrap(), value.as_bytes(), &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn values_come_from_the_source_and_go_to_the_destination() {
        let shown = |flags: &[&str]| {
            let text = shown(&[&["--json"], flags].concat(), "{}");
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let value = |text: &str| BASE64.encode(text);
        assert_eq!(shown(&["--set", ".t=$topic"]), json!({ "output_b64": value(r#"{"t":"orders"}"#) }));
        assert_eq!(shown(&["--route", "shown"]), json!({ "output_b64": value("{}") }));
        let around = json!({ "output_b64": value("{}"), "key": "shop", "headers": { "h": "orders" } });
        assert_eq!(shown(&["--key", "\"shop\"", "--header", "h=$topic"]), around);
    }

    #[test]
    fn a_line_says_what_a_step_has_set_beside_its_value() {
        let shown = |flags: &[&str]| shown(flags, "{\"n\":1}");
        assert_eq!(shown(&["--drop", ".n"]), "{}\n");
        assert_eq!(shown(&["--route", "shown"]), "{\"n\":1}\n");
        assert_eq!(shown(&["--route", "some"]), "→ some: {\"n\":1}\n");
        let all = ["--key", "\"a\\nb\"", "--header", "h=$topic", "--route", "no_{.n}", "--jq", "1, 2"];
        let said = "→ no_1, key \"a\\nb\", headers {\"h\":\"orders\"}: ";
        assert_eq!(shown(&all), format!("{said}1\n{said}2\n"));
        assert_eq!(shown(&["--key", ".n"]), "→ the destination, key \"1\": {\"n\":1}\n");
    }

    #[test]
    fn what_is_not_base64_ends_the_run_and_names_its_line() {
        let (summary, output, _) = dry_run(b"bnVsbA==\n\nbn*sbA==\nbnVsbA==\n", true, true);
        let error = summary.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().starts_with("line 3: not base64"), "{error}");
        assert_eq!(output.lines().count(), 2);
    }

    #[test]
    fn a_closed_pipe_is_an_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = run(&NameEvent::kind(), &b"{}\n"[..], Closed, false, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn values_of_many_megabytes_pass() {
        let name = "<".repeat(8 << 20);
        let line = format!("{{\"first_name\":\"{name}\"}}\n{{}}\n");
        let mut output = Vec::new();
        let summary = run(&NameEvent::kind(), line.as_bytes(), &mut output, false, false).unwrap();
        assert_eq!(summary, DryRunSummary { transformed: 2, failed: 0 });
        assert!(output.starts_with(b"{\"first_name\":\"\\u003c\\u003c"));
        assert!(output.len() > 6 * name.len());
    }
}

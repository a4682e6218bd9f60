//! How `lag` shows what it has measured.

use std::io::{self, Write};

use super::PartitionLag;

/// One object a line and partition.
pub(super) fn json(all: &[PartitionLag], out: &mut impl Write) -> io::Result<()> {
    for of in all {
        serde_json::to_writer(&mut *out, of)?;
        writeln!(out)?;
    }
    Ok(())
}

/// A row for each partition, `-` for what is not known, and a last one for all of them.
pub(super) fn table(all: &[PartitionLag], out: &mut impl Write) -> io::Result<()> {
    let topic_width = all.iter().map(|of| of.topic.len()).max().unwrap_or(0).max("TOPIC".len());
    let row = |cells: [&str; 8]| {
        let [topic, partition, committed, end, lag, seconds, stable, note] = cells;
        let row = format!(
            "{topic:<topic_width$} {partition:>9} {committed:>14} {end:>14} {lag:>12} {seconds:>11} \
             {stable:>14}  {note}"
        );
        row.trim_end().to_owned()
    };
    let heads = ["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "LAG_SECONDS", "STABLE_END", "NOTE"];
    writeln!(out, "{}", row(heads))?;
    for of in all {
        let [committed, end, lag, stable] = [of.committed, of.end, of.lag, of.stable_end].map(text);
        let (partition, seconds) = (of.partition.to_string(), seconds(of.lag_seconds));
        let note = of.note.as_deref().unwrap_or_default();
        writeln!(out, "{}", row([&of.topic, &partition, &committed, &end, &lag, &seconds, &stable, note]))?;
    }
    let lag: i64 = all.iter().filter_map(|of| of.lag).sum();
    let oldest = all.iter().filter_map(|of| of.lag_seconds).reduce(f64::max);
    let note = match all.iter().filter(|of| of.lag.is_none()).count() {
        0 => String::new(),
        unknown => format!("without {unknown} that are not known"),
    };
    let count = all.len().to_string();
    writeln!(out, "{}", row(["TOTAL", &count, "-", "-", &lag.to_string(), &seconds(oldest), "-", &note]))
}

fn text(number: Option<i64>) -> String {
    number.map_or("-".into(), |number| number.to_string())
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or("-".into(), |seconds| format!("{seconds:.1}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> [PartitionLag; 3] {
        let caught_up = PartitionLag {
            topic: "names".into(),
            partition: 0,
            committed: Some(12),
            end: Some(12),
            lag: Some(0),
            start: Some(0),
            stable_end: Some(12),
            ..PartitionLag::default()
        };
        let behind = PartitionLag {
            partition: 1,
            committed: None,
            end: Some(1000),
            lag: Some(900),
            lag_seconds: Some(3.25),
            ..caught_up.clone()
        };
        let unknown = PartitionLag {
            topic: "names".into(),
            partition: 2,
            committed: Some(5),
            note: Some("there is no leader".into()),
            ..PartitionLag::default()
        };
        [caught_up, behind, unknown]
    }

    #[test]
    fn json_is_one_object_a_line_with_the_keys_in_their_order() {
        let mut out = Vec::new();
        json(&three(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[0],
            r#"{"topic":"names","partition":0,"committed":12,"end":12,"lag":0,"lag_seconds":null,"start":0,"stable_end":12,"note":null}"#
        );
        assert!(lines[2].contains(r#""end":null,"lag":null,"lag_seconds":null"#), "{}", lines[2]);
    }

    #[test]
    fn the_table_has_a_row_for_each_partition_and_one_for_all() {
        let mut out = Vec::new();
        table(&three(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let cells: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(cells[0].len(), 8, "no blank in a column's name");
        assert_eq!(cells[1], ["names", "0", "12", "12", "0", "-", "12"]);
        assert_eq!(cells[2], ["names", "1", "-", "1000", "900", "3.2", "12"]);
        assert_eq!(cells[3], ["names", "2", "5", "-", "-", "-", "-", "there", "is", "no", "leader"]);
        assert_eq!(cells[4][..6], ["TOTAL", "3", "-", "-", "900", "3.2"]);
    }
}

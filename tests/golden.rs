//! What Go's `encoding/json` made of 190 values, good and bad, must come out byte for byte.

use topicmill::{internal::dry_run, transform::NameEvent};

#[derive(serde::Deserialize)]
struct Case {
    id: u32,
    input_b64: String,
    output_b64: Option<String>,
    class: String,
    note: String,
}

#[test]
fn every_golden_case_comes_out_as_from_go() {
    let cases: Vec<Case> = include_str!("data/golden.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a case a line"))
        .collect();
    assert_eq!(cases.len(), 190);
    let input: String = cases.iter().map(|case| format!("{}\n", case.input_b64)).collect();
    let mut output = Vec::new();
    let summary = dry_run::run(&NameEvent::kind(), input.as_bytes(), &mut output, true, true)
        .expect("memory does not fail");
    assert_eq!(summary.transformed + summary.failed, 190);
    let output = String::from_utf8(output).expect("JSON is UTF-8");
    assert_eq!(output.lines().count(), 190);
    for (case, line) in cases.iter().zip(output.lines()) {
        let is_expected = match &case.output_b64 {
            Some(output) => line == format!("{{\"output_b64\":\"{output}\"}}"),
            None => line.starts_with(&format!("{{\"error\":\"{}\",\"message\":", case.class)),
        };
        assert!(is_expected, "case {} ({}): got {line:.300}", case.id, case.note);
    }
}

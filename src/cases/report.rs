//! The results of the cases, for people and as JUnit's XML.

use std::{
    io::{self, Write},
    time::Duration,
};

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{FileVerdicts, Verdict};

/// Writes what failed, and how many passed.
pub(super) fn text(files: &[FileVerdicts], out: &mut impl Write) -> io::Result<()> {
    let all = || files.iter().flat_map(|file| &file.cases);
    for file in files {
        for Verdict { name, mismatches, .. } in file.cases.iter().filter(|case| !case.mismatches.is_empty()) {
            writeln!(out, "FAILED {}: {name}", file.path.display())?;
            for mismatch in mismatches {
                for line in mismatch.to_string().lines() {
                    writeln!(out, "    {line}")?;
                }
            }
        }
    }
    let failed = all().filter(|case| !case.mismatches.is_empty()).count();
    let (count, time) = (all().count(), all().map(|case| case.time).sum::<Duration>());
    let seconds = time.as_secs_f64();
    writeln!(out, "{count} cases: {} passed, {failed} failed; {seconds:.3} s", count - failed)?;
    out.flush()
}

/// The XML: a test suite for each file.
pub(super) fn junit(files: &[FileVerdicts]) -> String {
    let mut report = Report::new("topicmill test");
    for file in files {
        let path = xml(&file.path.display().to_string());
        let mut suite = TestSuite::new(&path);
        for Verdict { name, mismatches, time } in &file.cases {
            let mut status = TestCaseStatus::success();
            if let Some(first) = mismatches.first() {
                status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                let told: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
                let headline = if first.part.is_empty() { &first.lines[0] } else { &first.part };
                status.set_message(xml(headline)).set_description(xml(&told.join("\n")));
            }
            let mut case = TestCase::new(xml(name), status);
            case.set_classname(&path).set_time(*time);
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    report.to_string().unwrap_or_default()
}

/// A text with U+FFFD for what no XML may have in it, escaped or not (XML 1.0, section 2.2).
fn xml(text: &str) -> String {
    let is_char = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if is_char(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

//! `test`: cases beside a configuration – a record, and what should become of it – without a broker.

mod compare;
mod file;
mod report;

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use self::{
    compare::Mismatch,
    file::{Case, read},
};
use crate::{
    batch::TopicPartition,
    config::CasesConfig,
    exit::{Exit, Failure},
    transform::Transform,
    trial,
};

/// Why the cases were not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CasesError {
    /// A file of cases cannot be read.
    #[error("{path}: {error}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// The report cannot be written.
    #[error("{path}: {error}")]
    Report {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A file of cases is wrong.
    #[error("{path}: {message}")]
    Cases {
        /// The file.
        path: String,
        /// What is wrong, with its place.
        message: String,
    },
    /// There is nothing to run.
    #[error("no cases: name a file, or write them into {0}")]
    None(String),
    /// Standard output is gone.
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl Failure for CasesError {
    fn exit(&self) -> Exit {
        match self {
            CasesError::Unreadable { .. } | CasesError::None(_) | CasesError::Cases { .. } => Exit::Config,
            CasesError::Report { .. } => Exit::Failed,
            CasesError::Output(error) => error.exit(),
        }
    }
}

/// The result of a case.
struct Verdict {
    name: String,
    /// Nothing when it passed.
    mismatches: Vec<Mismatch>,
    time: Duration,
}

/// The results of a file.
struct FileVerdicts {
    path: PathBuf,
    cases: Vec<Verdict>,
}

/// Runs the cases of all files and reports them; `Failed` when one does not pass.
///
/// # Errors
/// When a file cannot be read, or has no case.
pub(crate) fn command(config: &CasesConfig, out: &mut impl io::Write) -> Result<Exit, CasesError> {
    let usual = usual_file(config.config.as_deref());
    let files = if config.files.is_empty() { vec![usual.clone()] } else { config.files.clone() };
    if config.files.is_empty() && !usual.exists() {
        return Err(CasesError::None(usual.display().to_string()));
    }
    let mut transform = config.transform.build();
    let mut verdicts = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path);
        let text =
            text.map_err(|error| CasesError::Unreadable { path: path.display().to_string(), error })?;
        let cases = read(&text, config.source.as_deref())
            .map_err(|message| CasesError::Cases { path: path.display().to_string(), message })?;
        if cases.is_empty() {
            return Err(CasesError::None(path.display().to_string()));
        }
        let cases = cases.iter().map(|case| run(case, config, &mut transform)).collect();
        verdicts.push(FileVerdicts { path, cases });
    }
    report::text(&verdicts, out)?;
    if let Some(path) = &config.junit {
        let written = fs::write(path, report::junit(&verdicts));
        written.map_err(|error| CasesError::Report { path: path.display().to_string(), error })?;
    }
    let passed = verdicts.iter().flat_map(|file| &file.cases).all(|case| case.mismatches.is_empty());
    Ok(if passed { Exit::Done } else { Exit::Failed })
}

/// `orders.toml` has its cases in `orders.test.toml`.
fn usual_file(config: Option<&Path>) -> PathBuf {
    config.unwrap_or(Path::new("topicmill.toml")).with_extension("test.toml")
}

fn run(case: &Case, config: &CasesConfig, transform: &mut Box<dyn Transform>) -> Verdict {
    let started = Instant::now();
    let origin = TopicPartition::new(case.topic.as_str(), case.partition);
    let batch = trial::batch_of(&case.record, origin, case.offset);
    let outcome = catch_unwind(AssertUnwindSafe(|| trial::outcomes(transform.as_mut(), &batch)));
    let mismatches = match outcome {
        Ok(Ok(mut outcomes)) => {
            compare::compare(&case.expected, &outcomes.remove(0), config.destination.as_deref())
        }
        Ok(Err(breach)) => vec![Mismatch::said(format!("the transform breaks its contract: {breach}"))],
        Err(_) => {
            *transform = config.transform.build();
            vec![Mismatch::said("the transform panicked".into())]
        }
    };
    Verdict { name: case.name.clone(), mismatches, time: started.elapsed() }
}

#[cfg(test)]
mod tests;

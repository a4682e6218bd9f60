//! What happens to dead letters.

use std::time::{Duration, Instant};

use crate::run::{acls, error::RunError, trial::Trial};

/// How long instances may go on while they may not write dead letters.
const NOTICE: Duration = Duration::from_secs(20);

/// An ACL refuses dead letters for a time, and instances stop. In turn, they are started again and again until it is
/// lifted, or all are killed under it, and nothing may be committed whose dead letter is missing.
pub(super) fn refused(trial: &mut Trial<'_>) -> Result<(), RunError> {
    let (stage, topic) = (trial.stage, trial.outputs.dead_letter.clone());
    for round in 0..trial.scaled(20).max(2) {
        let stops = trial.mills.stops;
        trial.mills.may_stop = true;
        trial.strike();
        acls::refuse(&stage.nodes, &topic)?;
        let start = Instant::now();
        while trial.mills.stops == stops && start.elapsed() < NOTICE {
            trial.pause(Duration::ZERO)?;
        }
        if trial.mills.stops == stops {
            trial.wrong.push(format!("instances went on for {NOTICE:?} while dead letters were refused"));
        }
        trial.random_pause(1000..4000)?;
        let killed = if round % 2 == 1 { trial.mills.running() } else { Vec::new() };
        for &mill in &killed {
            trial.mills.kill(mill)?;
        }
        if !killed.is_empty() {
            trial.check_commits()?;
        }
        acls::allow(&stage.nodes, &topic)?;
        killed.iter().try_for_each(|&mill| trial.mills.start(mill))?;
        let goes_on = trial.expect_progress("after dead letters were allowed again")?;
        trial.mills.may_stop = false;
        if !goes_on {
            break;
        }
    }
    Ok(())
}

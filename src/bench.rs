//! `bench`: how fast the transformer is, beside its peers and the ceilings, on a real or an
//! embedded broker.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    path::Path,
};

use tokio_util::sync::CancellationToken;
use topicmill_bench::matrix::{Selection, plan};
pub(crate) use topicmill_bench::*;

use crate::{
    cli::BenchArgs,
    config::{BenchConfig, keys},
    console::progress::Progress,
    engine::EngineKind,
    exit::{Ended, Exit, Failure},
    run,
};

/// The command: measures, prints the results, and saves them if a folder is given.
///
/// # Errors
/// When anything fails; what was measured until then is lost.
pub(crate) async fn command(config: &BenchConfig, out: &mut impl Write) -> Result<(), Ended> {
    let peers = match &config.args.peers {
        None => Vec::new(),
        Some(folder) => match Peer::find(folder) {
            none if none.is_empty() => return Err(BenchError::NoPeers { folder: folder.clone() }.into()),
            peers => peers,
        },
    };
    // Before hours of work rather than after them.
    if let Some(folder) = &config.args.output {
        writable(folder).map_err(|error| BenchError::Output { folder: folder.clone(), error })?;
    }
    let stop = CancellationToken::new();
    run::signals::drain_on_signal(stop.clone());
    let (settings, cells) = (settings(config)?, plan(&selection(&config.args), &peers));
    let mut progress: Option<Progress> = None;
    let show = |step: Step<'_>| {
        let new = || Progress::new("bench", "measurements", Some(step.total));
        progress.get_or_insert_with(new).update(step.done, step.what);
    };
    let results = measure(&settings, &cells, stop.cancelled(), show).await;
    if let Some(progress) = progress {
        progress.finish();
    }
    let results = results?;
    if let Some(folder) = &config.args.output {
        results.save(folder)?;
    }
    if config.args.json {
        writeln!(out, "{}", serde_json::to_string(&results).map_err(io::Error::from)?)?;
    } else {
        write!(out, "{}", results.markdown())?;
    }
    Ok(())
}

fn settings(config: &BenchConfig) -> io::Result<BenchSettings> {
    let args = &config.args;
    let mut connection: Vec<OsString> = Vec::new();
    if let Some(file) = &args.connection.config {
        connection.extend(["--config".into(), file.into()]);
    }
    for property in &args.connection.properties {
        connection.extend(["-X".into(), format!("{}={}", property.key, property.value).into()]);
    }
    Ok(BenchSettings {
        program: std::env::current_exe()?,
        client: config.client.clone(),
        embedded: config.embedded,
        connection,
        events: args.events,
        peer_events: args.peer_events,
        runs: args.runs,
        commit_interval: args.keys.get(keys::COMMIT_INTERVAL.flag).map(str::to_owned),
        broker_pid: args.broker_pid,
        warm_up: args.warm_up,
        latency_rate: args.latency_rate,
        latency_time: args.latency_time,
    })
}

/// What is asked for; without a choice all engines of this build.
fn selection(args: &BenchArgs) -> Selection {
    let engines = match args.engine.as_slice() {
        [] if cfg!(feature = "librdkafka") => vec![EngineKind::Native, EngineKind::Librdkafka],
        chosen => chosen.to_vec(),
    };
    Selection {
        full: args.full,
        strategies: args.strategy.clone(),
        deliveries: args.delivery.clone(),
        engines,
        codecs: args.codec.clone(),
        partitions: args.partitions.clone(),
        value_sizes: args.value_size.clone(),
        batch_sizes: args.batch_size.clone(),
    }
}

/// Creates the folder and tries to write there.
fn writable(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let probe = folder.join(".topicmill");
    fs::write(&probe, "")?;
    fs::remove_file(probe)
}

impl Failure for BenchError {
    fn exit(&self) -> Exit {
        match self {
            BenchError::Engine(error) => error.exit(),
            BenchError::Generate(error) => error.exit(),
            BenchError::Io(error) => error.exit(),
            BenchError::NoProcess { .. } | BenchError::NoPeers { .. } => Exit::Config,
            BenchError::Stopped => Exit::Interrupted,
            BenchError::Start { .. }
            | BenchError::Failed { .. }
            | BenchError::TimedOut { .. }
            | BenchError::Output { .. }
            | BenchError::NoResult { .. } => Exit::Failed,
        }
    }
}

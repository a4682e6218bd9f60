//! The schedules, and the faults that they find.

use super::*;

/// The number of schedules that run; `SCHEDULES` makes them more, `SEED` runs one.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SCHEDULES").unwrap_or(1200),
    }
}

/// Runs the schedules of all seeds, on all cores.
fn all_of<C: Send>(run: impl Fn(u64) -> C + Sync) -> Vec<C> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let run = &run;
        let part = |first| scope.spawn(move || seeds().skip(first).step_by(threads).map(run).collect());
        let parts: Vec<std::thread::ScopedJoinHandle<'_, Vec<C>>> = (0..threads).map(part).collect();
        parts.into_iter().flat_map(|part| part.join().expect("a schedule failed")).collect()
    })
}

#[test]
fn whatever_happens_nothing_is_lost_and_no_fault_spreads() {
    let courses = all_of(|seed| course_of(Schedule::new(seed)));
    let starts: usize = courses.iter().map(|course| course.starts).sum();
    let rewinds: u64 = courses.iter().map(|course| course.rewinds).sum();
    eprintln!("{} schedules, {starts} starts, {rewinds} rewinds", courses.len());
    if seeds().count() >= 1000 {
        assert!(starts > 1500 && rewinds > 1000, "too little goes wrong");
    }
}

/// Runs a schedule; one that fails is printed, reduced as far as possible.
fn course_of(schedule: Schedule) -> Course {
    run(&schedule).unwrap_or_else(|failure| {
        let (smallest, failure) = schedule.shrunk(failure, |candidate| run(candidate).err());
        panic!("{failure}\n{smallest}");
    })
}

#[test]
fn without_mishaps_every_record_is_written_once() {
    for seed in 0..20 {
        for (spreads, exact) in [(false, false), (true, false), (false, true), (true, true)] {
            let base = if exact { Schedule::exactly_once(seed) } else { Schedule::new(seed) };
            let schedule = Schedule { decisions: Vec::new(), latest: false, spreads, ..base };
            let course = run(&schedule).unwrap();
            assert_eq!((course.starts, course.rewinds), (1, 0), "{schedule}");
            assert_eq!(course.records, course.due, "{schedule}");
            let plain = (i64::from(PARTITIONS) * RECORDS) as usize;
            assert!(course.records == plain || spreads && course.records > plain, "{schedule}");
        }
    }
}

#[test]
fn a_stop_finishes_what_is_under_way_and_repeats_nothing() {
    for seed in 0..20 {
        let stop = |ms| Decision { at: Duration::from_millis(ms), instance: 0, what: Mishap::Stop };
        let decisions = [7, 31, 64].map(stop).into();
        let schedule = Schedule { decisions, latest: false, ..Schedule::new(seed) };
        let course = run(&schedule).unwrap();
        assert_eq!(course.starts, 4, "{schedule}");
        assert_eq!(course.records, course.due, "{schedule}");
        assert!(schedule.spreads || course.due == (i64::from(PARTITIONS) * RECORDS) as usize, "{schedule}");
    }
}

/// A planted fault is found by some schedule, which is then reduced.
#[test]
fn every_fault_that_is_planted_is_found_and_its_schedule_shrunk() {
    let plants = [
        (Plant::CommitsAheadOfOutput, "committed ahead", 0),
        (Plant::FailuresAreSkipped, "committed ahead", 1),
        (Plant::OrderIsLost, "is written where", 0),
        (Plant::ForgetIsIgnored, "which is over", 1),
        (Plant::PositionsCountAsCommitted, "a second time", 1),
        (Plant::OneFullStopsAll, "beside partition", 1),
    ];
    for (plant, says, decisions) in plants {
        let planted = |seed| Schedule { plant: Some(plant), ..Schedule::new(seed) };
        let found = (0..400).map(planted).find_map(|schedule| {
            let failure = run(&schedule).err().filter(|failure| failure.contains(says))?;
            Some((schedule, failure))
        });
        let (schedule, failure) = found.unwrap_or_else(|| panic!("{plant:?} is not found"));
        // Whatever the transform does.
        let spread = (0..400).map(|seed| Schedule { spreads: true, ..planted(seed) });
        let is_found = |schedule: &Schedule| run(schedule).is_err_and(|failure| failure.contains(says));
        assert!(
            spread.into_iter().any(|schedule| is_found(&schedule)),
            "{plant:?} is not found where it spreads"
        );
        let before = schedule.decisions.len();
        let fails = |candidate: &Schedule| run(candidate).err().filter(|failure| failure.contains(says));
        let (smallest, failure) = schedule.shrunk(failure, fails);
        eprintln!("{plant:?}: {failure}, of {before} decisions\n{smallest}");
        assert!(smallest.decisions.len() <= decisions.max(before / 2), "{plant:?}: {smallest}");
        assert!(smallest.decisions.len() >= decisions, "{plant:?}: {smallest}");
    }
}

/// The end is the place to start at, and nothing has been read when it happens.
#[test]
fn a_position_that_was_chosen_is_kept_whatever_comes_before_the_first_record() {
    for what in [Mishap::Stop, Mishap::Revoke(PARTITIONS, 5000), Mishap::BreakSink] {
        for (plant, is_kept) in [(None, true), (Some(Plant::PositionsCountAsCommitted), false)] {
            let decisions = vec![Decision { at: Duration::from_millis(1), instance: 0, what: what.clone() }];
            let schedule = Schedule { decisions, latest: true, plant, ..Schedule::new(1) };
            let course = run(&schedule);
            if is_kept {
                assert!(course.is_ok(), "{course:?}: {schedule}");
            } else {
                assert!(course.is_err_and(|failure| failure.contains("a second time")), "{schedule}");
            }
        }
    }
}

/// With threads, as a mill has in production.
#[test]
fn every_strategy_writes_everything_and_stops_before_a_letter_that_is_refused() {
    let all = [
        (StrategyKind::Serial, Order::Partition),
        (StrategyKind::Pipeline, Order::Partition),
        (StrategyKind::Worker, Order::Partition),
        (StrategyKind::Worker, Order::Key),
        (StrategyKind::Worker, Order::None),
    ];
    for ((kind, order), letters_refused) in all.into_iter().flat_map(|of| [(of, false), (of, true)]) {
        let mut world = World::new(5, order, false);
        world.letters_refused = letters_refused;
        let world = Arc::new(Mutex::new(world));
        let drain = CancellationToken::new();
        let ended = in_virtual_time(async { mill(&world, &settings(kind, order)).run(drain).await });
        let world = world.lock().unwrap();
        assert_eq!(world.violation(), None, "{kind} {order}");
        if letters_refused {
            assert!(matches!(ended.result, Err(MillError::Stopped(_))), "{:?}", ended.result);
            let first_bad = (0..RECORDS).find(|offset| is_poison(*offset)).unwrap();
            assert!(world.committed.values().all(|committed| *committed <= first_bad));
        } else {
            ended.result.unwrap();
            (0..PARTITIONS).try_for_each(|partition| world.check_complete(partition)).unwrap();
        }
    }
}

#[test]
fn exactly_once_each_record_is_seen_once_whatever_happens() {
    let courses = all_of(|seed| course_of(Schedule::exactly_once(seed)));
    let sum = |of: fn(&Course) -> usize| courses.iter().map(of).sum::<usize>();
    let (starts, committed, aborted) = (sum(|of| of.starts), sum(|of| of.committed), sum(|of| of.aborted));
    let (outdated, replaced) = (sum(|of| of.outdated), sum(|of| of.replaced));
    eprintln!(
        "{} schedules, {starts} starts, {committed} commits, {aborted} aborts, {outdated} outdated, \
         {replaced} replaced",
        courses.len()
    );
    if seeds().count() >= 1000 {
        assert!(starts > 1500 && committed > 6000 && aborted > 1000, "too little goes wrong");
        assert!(outdated > 20 && replaced > 50, "too little goes wrong");
    }
}

#[test]
fn what_would_break_exactly_once_is_found() {
    let plants = [
        (Plant::AbortsAreVisible, "visible beyond"),
        (Plant::OffsetsAloneAreCommitted, "committed ahead"),
        (Plant::FailuresAreSkipped, "committed ahead"),
    ];
    for (plant, says) in plants {
        let planted = |seed| Schedule { plant: Some(plant), ..Schedule::exactly_once(seed) };
        let failures = (0..400).map(planted).filter_map(|schedule| run(&schedule).err());
        let failures: Vec<String> = failures.take(20).collect();
        assert!(failures.iter().any(|failure| failure.contains(says)), "{plant:?}: {failures:?}");
    }
}

#[test]
fn several_instances_over_one_log_write_each_record_once() {
    let courses = all_of(|seed| {
        let schedule = Schedule::several(seed);
        run_several(&schedule).unwrap_or_else(|failure| {
            let (smallest, failure) = schedule.shrunk(failure, |candidate| run_several(candidate).err());
            panic!("{failure}\n{smallest}");
        })
    });
    let sum = |of: fn(&Together) -> usize| courses.iter().map(of).sum::<usize>();
    let (committed, aborted) = (sum(|of| of.committed), sum(|of| of.aborted));
    let (outdated, evictions) = (sum(|of| of.outdated), sum(|of| of.evictions));
    let assigned: u64 = courses.iter().map(|of| of.assigned).sum();
    eprintln!(
        "{} schedules, {committed} commits, {aborted} aborts, {outdated} outdated, {evictions} evictions, \
         {assigned} assignments",
        courses.len()
    );
    if seeds().count() >= 1000 {
        assert!(committed > 6000 && aborted > 1000 && outdated > 100, "too little goes wrong");
        assert!(evictions > 500 && assigned > 10_000, "too little goes wrong");
    }
}

#[test]
fn what_would_break_it_among_several_is_found() {
    let plants = [
        (Plant::ZombiesCommit, "twice"),
        (Plant::UnstableIsRead, "twice"),
        (Plant::AbortsAreVisible, "visible"),
    ];
    for (plant, says) in plants {
        let planted = |seed| Schedule { plant: Some(plant), ..Schedule::several(seed) };
        let fails =
            |schedule: &Schedule| run_several(schedule).err().filter(|failure| failure.contains(says));
        let found = (0..400).map(planted).find_map(|schedule| Some((fails(&schedule)?, schedule)));
        let (failure, schedule) = found.unwrap_or_else(|| panic!("{plant:?} is not found"));
        let (smallest, failure) = schedule.shrunk(failure, fails);
        eprintln!("{plant:?}: {failure}\n{smallest}");
    }
}

//! Measures nanoseconds of CPU time a record on one thread, for three sizes of batches.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The numbers of records in a batch.
pub const SIZES: [usize; 3] = [10, 1000, 10_000];

const PASSES: usize = 15;

/// Prints what the columns are.
pub fn header() {
    println!("{:<40} minimum and median of {PASSES} passes, ns a record, by records a batch", "");
    println!("{:<40} {:>15} {:>15} {:>15}", "", SIZES[0], SIZES[1], SIZES[2]);
}

/// Prints a line, if its name has the part that the command line asks for. `run` gets the number
/// of records and gives the result of [`measure`].
pub fn report(name: &str, run: impl Fn(usize) -> [f64; 2]) {
    let wanted = std::env::args().skip(1).find(|argument| argument != "--bench");
    if wanted.is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let [a, b, c] = SIZES.map(run).map(|[least, median]| format!("{least:.1} {median:>7.1}"));
    println!("{name:<40} {a:>15} {b:>15} {c:>15}");
}

/// The nanoseconds that `work`, which handles `count` records, takes for each: the least and the
/// median of several passes.
pub fn measure(count: usize, mut work: impl FnMut()) -> [f64; 2] {
    let repeats = (100_000 / count).max(1);
    let mut passes = [0.0; PASSES];
    work();
    for pass in &mut passes {
        let start = cpu_time();
        (0..repeats).for_each(|_| work());
        *pass = (cpu_time() - start).as_nanos() as f64 / (repeats * count) as f64;
    }
    passes.sort_by(f64::total_cmp);
    [passes[0], passes[PASSES / 2]]
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

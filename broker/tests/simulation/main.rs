//! The simulation: a whole broker on a simulated disk and clock, in one thread, from a seed.
//!
//! ```text
//!   workload ── picks the next step from the seed ──> world ── handle, tick, stop, crash ──> the broker's own code
//!                                                       │ what was asked, answered, stored
//!                                                       ▼
//!                                                     model ── what must be there ──> checks, after each step
//! ```
//!
//! A failure prints its seed; the same seed gives the same run. `SIM_SEED=n` runs one seed and prints its steps,
//! `SIM_SEEDS=n` that many, `SIM_FIRST=n` from that one on, `SIM_STEPS=n` steps each; `SIM_BUG=Name` plants that one only.

mod checks;
mod model;
mod replay;
mod workload;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use common::planted_bug::{PlantedBug, plant};
use world::World;

/// What is wrong.
type Violation = String;

/// Returns a [`Violation`] unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}
pub(crate) use ensure;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn steps() -> u64 {
    setting("SIM_STEPS").unwrap_or(50)
}

/// Seeds within which a planted bug must be found.
const SEEDS_FOR_A_BUG: u64 = 2_000;

/// Runs a seed to its end. Gives the steps, the last of which sums up the disk, and what went wrong.
fn run(seed: u64, steps: u64) -> (Vec<String>, Result<(), Violation>) {
    let mut world = World::new(seed);
    world.prints = setting("SIM_SEED").is_some();
    let outcome = catch_unwind(AssertUnwindSafe(|| workload::run(&mut world, steps)));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    });
    let digest = world.digest_of_disk();
    world.note(format!("the disk's digest is {digest:08x}"));
    (world.take_trace(), outcome)
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = setting("SIM_SEED") {
        let (_, outcome) = run(seed, steps());
        assert_eq!(outcome, Ok(()), "seed {seed}");
        return;
    }
    let first = setting("SIM_FIRST").unwrap_or(0);
    let end = first + setting("SIM_SEEDS").unwrap_or(2_000);
    let (next, failures) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end || failures.lock().unwrap().len() >= 5 {
                return;
            }
            let (trace, outcome) = run(seed, steps());
            if let Err(violation) = outcome {
                let last = trace.len().saturating_sub(12);
                let steps = trace[last..].join("\n  ");
                failures
                    .lock()
                    .unwrap()
                    .push(format!("seed {seed}: {violation}\n  {steps}"));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "repeat one with SIM_SEED=<seed>:\n{}",
        failures.join("\n")
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1_000_000..1_000_010 {
        let (first, second) = (run(seed, 60), run(seed, 60));
        assert_eq!(first, second, "seed {seed}");
        assert!(first.0.len() > 60);
    }
}

/// The checks can fail: each mistake that somebody could make is found, and soon.
#[test]
fn every_planted_bug_is_found() {
    let find = |bug: PlantedBug| {
        plant(Some(bug));
        (0..SEEDS_FOR_A_BUG).find_map(|seed| run(seed, steps()).1.err().map(|violation| (seed, violation)))
    };
    let found: Vec<_> = std::thread::scope(|scope| {
        let only = std::env::var("SIM_BUG").ok();
        let bugs = PlantedBug::ALL.into_iter();
        let bugs = bugs.filter(|bug| only.as_ref().is_none_or(|only| *only == format!("{bug:?}")));
        let searches: Vec<_> = bugs.map(|bug| (bug, scope.spawn(move || find(bug)))).collect();
        let found = searches.into_iter();
        found.map(|(bug, search)| (bug, search.join().unwrap())).collect()
    });
    for (bug, found) in &found {
        println!("{bug:?}: {found:?}");
    }
    let missed: Vec<_> = found.iter().filter(|(_, found)| found.is_none()).collect();
    assert!(
        missed.is_empty(),
        "not found in {SEEDS_FOR_A_BUG} seeds: {missed:?}"
    );
}

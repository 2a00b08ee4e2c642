//! Every target against inputs mutated from the corpus, on stable Rust and from a printed seed.
//!
//! `FUZZ_EXECUTIONS` sets how many inputs each target gets, `FUZZ_SEED` repeats a run, `FUZZ_TARGET` chooses one target.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use common::random::Random;
use fuzz_targets::{TARGETS, Target};

const EXECUTIONS: u64 = 100_000;
const SEED: u64 = 0x5EED_0004;

/// Inputs do not grow beyond this.
const MAX_INPUT_BYTES: usize = 8192;

/// Lengths and counts that decoders stumble over.
const WORDS: [u32; 12] = [
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10_0000,
    0x7FFF_FFFF,
    0x8000_0000,
    u32::MAX,
];

/// Pieces that are rare in random bytes and mean something to a decoder.
const PIECES: [&[u8]; 16] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"null",
    b"-9223372036854775808",
    b"1e999",
    b"\\ud800",
    b"\\u0000",
    b"{{}:{}}",
    b"\x01",
    b"\x02",
    b"\xF0\x9F\x98",
];

/// Makes inputs: mostly a file of the corpus with a few changes, now and then plain noise.
struct Mutator {
    random: Random,
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    fn of(target: &str, seed: u64) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        let mut paths: Vec<_> = fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
            .map(|entry| entry.expect("the directory is readable").path())
            .collect();
        // The same seed must choose the same files everywhere.
        paths.sort();
        let read = |path| fs::read(path).expect("the corpus is readable");
        Mutator {
            random: Random::new(seed),
            corpus: paths.into_iter().map(read).collect(),
        }
    }

    fn below(&self, limit: usize) -> usize {
        (self.random.next_u64() % limit.max(1) as u64) as usize
    }

    fn pick(&self) -> &[u8] {
        &self.corpus[self.below(self.corpus.len())]
    }

    fn noise(&self, limit: usize) -> Vec<u8> {
        (0..self.below(limit))
            .map(|_| self.random.next_u64() as u8)
            .collect()
    }

    fn next_into(&self, input: &mut Vec<u8>) {
        input.clear();
        if self.below(64) == 0 {
            input.extend(self.noise(200));
            return;
        }
        input.extend_from_slice(self.pick());
        for _ in 0..=self.below(4) {
            self.change(input);
        }
        input.truncate(MAX_INPUT_BYTES);
    }

    fn change(&self, input: &mut Vec<u8>) {
        let at = self.below(input.len());
        let some = self.below(40).min(input.len() - at);
        match self.below(10) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = self.random.next_u64() as u8,
            2 => overwrite(input, at, &WORDS[self.below(WORDS.len())].to_be_bytes()),
            3 => overwrite(input, at, &(WORDS[self.below(WORDS.len())] as u16).to_be_bytes()),
            4 => input.truncate(at),
            5 => drop(input.drain(at..at + some)),
            6 => {
                let copy = input[at..at + some].to_vec();
                let target = self.below(input.len());
                input.splice(target..target, copy);
            }
            7 => {
                let other = self.pick();
                input.truncate(at);
                input.extend_from_slice(&other[self.below(other.len())..]);
            }
            8 => drop(input.splice(at..at, PIECES[self.below(PIECES.len())].iter().copied())),
            _ => drop(input.splice(at..at, self.noise(8))),
        }
    }
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (old, new) in input[at..].iter_mut().zip(bytes) {
        *old = *new;
    }
}

fn run(name: &str, target: Target, executions: u64, seed: u64) -> Result<(), String> {
    let started = Instant::now();
    let mutator = Mutator::of(name, seed);
    for input in &mutator.corpus {
        survives(target, input).map_err(|why| format!("{name}: of the corpus: {why}"))?;
    }
    let mut input = Vec::new();
    for execution in 0..executions {
        mutator.next_into(&mut input);
        survives(target, &input)
            .map_err(|why| format!("{name}: execution {execution} of seed {seed}: {why}"))?;
    }
    println!("{name}: {executions} executions in {:.1?}", started.elapsed());
    Ok(())
}

fn survives(target: Target, input: &[u8]) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| target(input)))
        .map_err(|_| format!("panicked, see above, on {}", input.escape_ascii()))
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn every_target_survives_random_and_mutated_input() {
    let executions = from_environment("FUZZ_EXECUTIONS", EXECUTIONS);
    let seed = from_environment("FUZZ_SEED", SEED);
    println!("seed {seed}");
    let only = std::env::var("FUZZ_TARGET").ok();
    let is_chosen = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let targets: Vec<_> = TARGETS.iter().filter(|(name, _)| is_chosen(name)).collect();
    assert!(!targets.is_empty(), "no target is called {only:?}");
    let next = AtomicUsize::new(0);
    let work = || {
        let mut crashes = Vec::new();
        while let Some((name, target)) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            crashes.extend(run(name, *target, executions, seed).err());
        }
        crashes
    };
    let crashes: Vec<String> = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, |count| count.get());
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("crashes are caught"))
            .collect()
    });
    assert_eq!(crashes, Vec::<String>::new());
}

//! kill -9 of the real broker in the middle of a load, again and again on one directory.
//!
//! A killed process loses nothing it has written to a mapped file: the page cache belongs to the kernel. So with either kind of flush
//! every acknowledged message must be there, once, at the offset its producer was told.
//!
//! `KILL_ROUNDS` sets how many rounds (each flush type), `KILL_SEED` the seed, `KILL_ROUND_MS` the longest load. The moments of the
//! kills follow from the seed; what the broker is doing then does not.

mod durability;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use common::random::Random;
use durability::{Checked, Ledger, Load, LoadSpec, Mqbroker, TOPIC, Wire, from_environment, look_up, seed};

const QUEUES: i32 = 4;
/// Of each queue, this many messages are read again in rounds that do not read everything.
const OVERLAP: i64 = 300;
/// Every so many rounds everything is read.
const FULL_CHECK_EVERY: u64 = 10;
/// `flushConsumerOffsetInterval` of the tests, and what a busy machine may add.
const OFFSETS_ON_DISK_AFTER: Duration = Duration::from_millis(500 + 2_000);

/// One directory with all that happens to it.
struct Rounds<'a> {
    home: &'a Path,
    settings: Vec<(&'a str, &'a str)>,
    random: Random,
    ledger: Ledger,
    ends: Vec<i64>,
    /// What the group's offsets were after the last restart.
    committed: HashMap<i32, i64>,
    longest_load_ms: i32,
    kills: usize,
    kills_at_start: usize,
    stops: usize,
    unacknowledged: usize,
}

impl Rounds<'_> {
    /// A load that is cut short, a restart, a check.
    fn round(&mut self, broker: Mqbroker, round: u64, is_last: bool) -> Mqbroker {
        let begun = Instant::now();
        let load = Load::start(
            broker.address(),
            &LoadSpec {
                name: format!("r{round}"),
                seed: self.random.next_u64(),
                producers: 3,
                queues: QUEUES,
                window: 16,
                pause: Duration::ZERO,
                consume_from: self.ends.clone(),
            },
        );
        std::thread::sleep(Duration::from_millis(
            30 + self.random.below(self.longest_load_ms) as u64,
        ));
        let ended = Instant::now();
        if self.random.below(6) == 0 {
            broker.stop();
            self.stops += 1;
        } else {
            broker.kill();
            self.kills += 1;
        }
        let of_round = load.join();
        assert!(of_round.refused.is_empty(), "refused: {:?}", of_round.refused);
        let keys: Vec<String> = of_round.acked.keys().cloned().collect();
        let commits = of_round.commits.clone();
        self.ledger.merge(of_round);

        if self.random.below(3) == 0 {
            let starting = Mqbroker::spawn(self.home, &self.settings);
            std::thread::sleep(Duration::from_millis(self.random.below(250) as u64));
            starting.kill();
            self.kills_at_start += 1;
        }
        let broker = Mqbroker::start(self.home, &self.settings);
        let reads_all = is_last || round % FULL_CHECK_EVERY == FULL_CHECK_EVERY - 1;
        self.check_messages(&broker, reads_all);
        self.check_keys(&broker, &keys);
        self.check_offsets(&broker, &commits, begun, ended);
        broker
    }

    fn check_messages(&mut self, broker: &Mqbroker, reads_all: bool) {
        let from: Vec<i64> = match reads_all {
            true => vec![0; self.ends.len()],
            false => self.ends.iter().map(|end| (end - OVERLAP).max(0)).collect(),
        };
        let checked = Checked::of(broker.address(), &self.ledger, &from);
        assert_eq!(checked.lost, Vec::<String>::new(), "acknowledged and lost");
        checked.require_seen(&self.ledger);
        let log = broker.logged();
        assert!(!log.contains(" ERROR "), "a kill damages nothing:\n{log}");
        assert!(!log.contains("panicked"), "{log}");
        if reads_all {
            self.unacknowledged = checked.unacknowledged;
        }
        self.ends = checked.ends;
    }

    fn check_keys(&self, broker: &Mqbroker, keys: &[String]) {
        let mut wire = Wire::connect(broker.address()).expect("the broker accepts connections");
        for _ in 0..40.min(keys.len()) {
            let key = &keys[self.random.below(keys.len() as i32) as usize];
            let found = look_up(&mut wire, key);
            assert!(
                found.iter().any(|found| found == key),
                "a look-up of {key} finds {found:?}"
            );
        }
    }

    /// Committed offsets go back by no more than the interval at which they are written.
    fn check_offsets(
        &mut self,
        broker: &Mqbroker,
        commits: &HashMap<i32, Vec<(Instant, i64)>>,
        begun: Instant,
        ended: Instant,
    ) {
        let mut wire = Wire::connect(broker.address()).expect("the broker accepts connections");
        for queue_id in 0..QUEUES {
            let none = Vec::new();
            let commits = commits.get(&queue_id).unwrap_or(&none);
            let on_disk = commits
                .iter()
                .filter(|(at, _)| *at >= begun && *at + OFFSETS_ON_DISK_AFTER < ended)
                .map(|(_, offset)| *offset)
                .max();
            let before = self.committed.get(&queue_id).copied();
            let most = commits.iter().map(|(_, offset)| *offset).max().max(before);
            let found = wire.committed(TOPIC, queue_id);
            assert!(
                found >= on_disk.max(before),
                "the group's offset in queue {queue_id} went back to {found:?}; before the round {before:?}, in time {on_disk:?}"
            );
            assert!(
                found <= most,
                "{found:?} was never committed in queue {queue_id}, at most {most:?}"
            );
            if let Some(found) = found {
                self.committed.insert(queue_id, found);
            }
        }
    }
}

fn survives_kills(flush: &str) {
    let (rounds, seed) = (from_environment("KILL_ROUNDS", 3), seed("KILL_SEED"));
    println!("{flush}: {rounds} rounds, KILL_SEED={seed}");
    let mut home = tempfile::tempdir().expect("a directory can be made");
    home.disable_cleanup(std::env::var_os("KILL_KEEP").is_some());
    let settings = vec![("flushDiskType", flush)];
    let mut broker = Mqbroker::start(home.path(), &settings);
    Wire::connect(broker.address())
        .expect("the broker accepts connections")
        .create_topic(TOPIC, QUEUES);
    let mut all = Rounds {
        home: home.path(),
        settings,
        random: Random::new(seed),
        ledger: Ledger::default(),
        ends: vec![0; QUEUES as usize],
        committed: HashMap::new(),
        longest_load_ms: from_environment("KILL_ROUND_MS", 1_200) as i32,
        kills: 0,
        kills_at_start: 0,
        stops: 0,
        unacknowledged: 0,
    };
    let begun = Instant::now();
    for round in 0..rounds {
        broker = all.round(broker, round, round + 1 == rounds);
    }
    broker.stop();
    println!(
        "{flush}: {} kills under load, {} while starting, {} clean stops under load; {} messages acknowledged, none lost; \
         {} stored without an acknowledgement; {:.0?}",
        all.kills,
        all.kills_at_start,
        all.stops,
        all.ledger.acked.len(),
        all.unacknowledged,
        begun.elapsed()
    );
    assert!(all.ledger.acked.len() as u64 > rounds * 10, "the load was a load");
}

#[test]
fn kills_under_synchronous_flush_lose_nothing_acknowledged() {
    survives_kills("SYNC_FLUSH");
}

#[test]
fn kills_under_asynchronous_flush_lose_nothing_acknowledged() {
    survives_kills("ASYNC_FLUSH");
}

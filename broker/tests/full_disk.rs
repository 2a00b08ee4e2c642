//! A disk that fills up under load: the broker refuses sends by name, keeps serving, and takes sends again when there is room.
//!
//! The store lies on a small tmpfs, where a write into a page without a block would kill the process with SIGBUS. Log, queues
//! and index all have to grow on the full disk. Not run without root.

mod durability;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use durability::{Checked, Ledger, Load, LoadSpec, Mount, Mqbroker, TOPIC, Wire, look_up, seed};

/// Many queues, so that their files have to grow too.
const QUEUES: i32 = 48;
const DISK_KIB: u64 = 48 * 1024;
const SERVICE_NOT_AVAILABLE: i32 = 14;

fn main() {
    let seed = seed("DISK_SEED");
    println!("full disk: DISK_SEED={seed}");
    for flush in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
        let home = tempfile::tempdir().expect("a directory can be made");
        let mount = match Mount::tmpfs(&home.path().join("disk"), DISK_KIB) {
            Ok(mount) => mount,
            Err(missing) => return println!("full disk: not run: {missing}"),
        };
        let mut disk = FullDisk {
            home: home.path(),
            mount: &mount,
            flush,
            seed,
            ledger: Ledger::default(),
            rounds: 0,
        };
        disk.over_the_ratio();
        disk.without_a_block();
        disk.restarted_while_full();
        println!("{flush}: {} acknowledged, all there", disk.ledger.acked.len());
    }
}

struct FullDisk<'a> {
    home: &'a Path,
    mount: &'a Mount,
    flush: &'a str,
    seed: u64,
    ledger: Ledger,
    rounds: u64,
}

impl FullDisk<'_> {
    fn spawn(&self, look_every_ms: &str) -> Mqbroker {
        let settings = [
            ("flushDiskType", self.flush),
            ("cleanResourceInterval", look_every_ms),
            // Deleting the oldest messages is the other way out; here every message must stay.
            ("cleanFileForciblyEnable", "false"),
        ];
        Mqbroker::spawn_on(self.home, &self.mount.directory().join("store"), &settings)
    }

    fn start(&self, look_every_ms: &str) -> Mqbroker {
        let mut broker = self.spawn(look_every_ms);
        broker.await_serving();
        broker
    }

    /// Use over `diskSpaceWarningLevelRatio`: refused before anything fails.
    fn over_the_ratio(&mut self) {
        let broker = self.start("50");
        let mut wire = Wire::connect(broker.address()).expect("the broker accepts connections");
        wire.create_topic(TOPIC, QUEUES);
        assert!(self.send_until(&broker, |acked, _| acked > 200));
        // Over the ratio, with room for what is sent until somebody looks.
        let filler = self.mount.fill(4 << 20);
        assert!(self.send_until(&broker, |_, refused| refused));
        self.require_refused(&["%", "disk"]);
        self.require_all(&broker);
        fs::remove_file(filler).expect("the filler can go");
        assert!(
            self.send_until(&broker, |acked, _| acked > 200),
            "sends are taken again"
        );
        self.require_all(&broker);
        broker.stop();
    }

    /// Not a block left, and nobody has looked at the ratio: files cannot grow in the middle of the load.
    fn without_a_block(&mut self) {
        let mut broker = self.start("600000");
        let load = self.load(&broker);
        while load.acked() < 200 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let filler = self.mount.fill(0);
        std::thread::sleep(Duration::from_millis(2_500));
        let ledger = load.stop();
        self.ledger.merge(ledger);
        assert_eq!(
            broker.ended(),
            None,
            "a full disk ends no broker:\n{}",
            broker.logged()
        );
        // Which of the two comes first, the failed growth or a look at the ratio, is the machine's choice.
        self.require_refused(&["disk", "store"]);
        let mut wire = Wire::connect(broker.address()).expect("the broker accepts connections");
        let answer = wire.pull(TOPIC, 0, 0).expect("pulls are served");
        assert_eq!(answer.code, 0, "{:?}", answer.remark());

        fs::remove_file(filler).expect("the filler can go");
        assert!(
            self.send_until(&broker, |acked, _| acked > 200),
            "sends are taken again"
        );
        self.require_all(&broker);
        let key = self
            .ledger
            .acked
            .keys()
            .next()
            .expect("something was acknowledged")
            .clone();
        assert!(
            look_up(&mut wire, &key).contains(&key),
            "keys are found: the index grew on"
        );
        broker.kill();
    }

    /// A start on a full disk serves, or ends with words. With room again nothing is missing.
    fn restarted_while_full(&mut self) {
        let filler = self.mount.fill(0);
        let mut broker = self.spawn("200");
        let begun = Instant::now();
        let served = loop {
            if Wire::connect(broker.address()).is_ok() {
                break true;
            }
            if let Some(status) = broker.ended() {
                assert!(
                    status.code().is_some(),
                    "an error, no signal: {status}\n{}",
                    broker.logged()
                );
                break false;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "neither serves nor ends"
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        println!(
            "{}: a start on the full disk {}",
            self.flush,
            if served { "serves" } else { "is refused with words" }
        );
        if served {
            assert!(self.send_until(&broker, |_, refused| refused));
            self.require_refused(&["disk"]);
        } else {
            assert!(broker.logged().contains("No space left"), "{}", broker.logged());
        }
        broker.kill();
        fs::remove_file(filler).expect("the filler can go");
        let broker = self.start("200");
        self.require_all(&broker);
        broker.stop();
    }

    fn load(&mut self, broker: &Mqbroker) -> Load {
        self.rounds += 1;
        let spec = LoadSpec {
            name: format!("d{}", self.rounds),
            seed: self.seed + self.rounds,
            producers: 2,
            queues: QUEUES,
            window: 8,
            pause: Duration::ZERO,
            consume_from: Vec::new(),
        };
        Load::start(broker.address(), &spec)
    }

    /// Short loads until one of them acknowledged enough, or was refused.
    fn send_until(&mut self, broker: &Mqbroker, is_enough: impl Fn(usize, bool) -> bool) -> bool {
        for _ in 0..40 {
            let load = self.load(broker);
            std::thread::sleep(Duration::from_millis(250));
            let ledger = load.stop();
            let enough = is_enough(ledger.acked.len(), !ledger.refused.is_empty());
            self.ledger.merge(ledger);
            if enough {
                return true;
            }
        }
        false
    }

    /// All refusals so far were of the one code, with a remark that names the trouble.
    fn require_refused(&mut self, words: &[&str]) {
        let refused = std::mem::take(&mut self.ledger.refused);
        for (code, (count, remark)) in &refused {
            println!("{}: {count} sends refused with {code}: {remark}", self.flush);
        }
        assert_eq!(
            refused.keys().copied().collect::<Vec<_>>(),
            [SERVICE_NOT_AVAILABLE]
        );
        let remark = &refused[&SERVICE_NOT_AVAILABLE].1;
        assert!(
            words.iter().all(|word| remark.contains(word)),
            "{words:?} in {remark}"
        );
    }

    fn require_all(&self, broker: &Mqbroker) {
        // Dispatch may have had to wait for room.
        let mut wire = Wire::connect(broker.address()).expect("the broker accepts connections");
        for queue_id in 0..QUEUES {
            let last = self
                .ledger
                .acked
                .values()
                .filter(|acked| acked.queue_id == queue_id);
            let end = last.map(|acked| acked.queue_offset + 1).max().unwrap_or(0);
            let begun = Instant::now();
            while wire.max_offset(TOPIC, queue_id) < end {
                assert!(
                    begun.elapsed() < Duration::from_secs(20),
                    "dispatch goes on:\n{}",
                    broker.logged()
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let checked = Checked::of(broker.address(), &self.ledger, &[0; QUEUES as usize]);
        assert_eq!(checked.lost, Vec::<String>::new(), "acknowledged and lost");
    }
}

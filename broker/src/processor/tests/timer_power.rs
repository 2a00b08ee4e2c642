//! The timer on a disk that loses power, from a seed.
//!
//! ```text
//!   steps    send (soon, far, beyond the roll window) · recall · time passes · flush of log, of timer · clean stop ·
//!            kill · power failure
//!   model    what was sent, when it is due, whether its sender or its recaller was promised anything
//!   checks   nothing early, nothing twice, nothing recalled; at the end everything that was safe on the disk
//! ```
//!
//! A failure names its seed: `TIMER_SEED=n` runs that one, `TIMER_SEEDS=n` so many.

use std::collections::HashMap;
use std::time::Duration;

use common::random::Random;
use remoting::header::RecallMessageRequestHeader;
use store::QueueOffset;
use store::sim_disk::SimDisk;

use super::*;
use crate::timer::{TimerFlush, TimerService};

const ROOT: &str = "/timer";
const SEEDS: u64 = 8;
const STEPS: usize = 150;
/// Slots in the roll window: six seconds.
const WINDOW_SLOTS: &str = "6";

/// One message that was sent.
#[derive(Debug)]
struct Sent {
    due_ms: i64,
    handle: String,
    end: u64,
    /// It is on the disk: it must come.
    is_safe: bool,
    recall: Option<Recall>,
}

/// Its recall was promised; once that is on the disk, it must not come.
#[derive(Debug)]
struct Recall {
    end: u64,
    is_safe: bool,
}

/// A broker that goes and comes back on one disk.
struct World {
    random: Random,
    clock: Arc<ManualClock>,
    disk: SimDisk,
    running: Option<Running>,
    sent: HashMap<String, Sent>,
}

struct Running {
    test: TestBroker,
    service: TimerService,
    flush: TimerFlush,
}

#[test]
fn whatever_dies_no_timer_message_is_early_lost_or_delivered_twice() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    let seeds = match number("TIMER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 1..1 + number("TIMER_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        println!("TIMER_SEED={seed}");
        World::new(seed).run();
    }
}

/// A late message has no unit in the timer log. One behind it has, and may be on the disk before the late one's copy.
#[test]
fn a_late_message_comes_when_the_power_takes_its_copy_and_leaves_the_timer_log() {
    let mut lost = 0;
    for seed in 0..16 {
        let mut world = World::new(seed);
        world.settle();
        world.flush_timer();
        let sent_ms = world.clock.wall_ms();
        world.send_due("late", sent_ms + 1_500, false);
        // Its slot is passed before the message comes into the queue.
        world.clock.advance(Duration::from_secs(4));
        let running = world.running.as_mut().expect("a broker runs");
        tick(&mut running.service, &world.clock);
        world.send_due("waits", sent_ms + 8_000, false);
        world.flush_log();
        world.settle();
        assert!(world.delivered().contains_key("late"), "at once, seed {seed}");
        let timers = world.timers();
        assert_eq!(timers.files.log_end(), 52, "one unit, seed {seed}");
        timers.files.flush(timers.files.progress()).expect("a flush");
        world.lose_power();
        lost += usize::from(!world.delivered().contains_key("late"));
        world.pass(20_000);
        world.check();
        let mut delivered: Vec<String> = world.delivered().into_keys().collect();
        delivered.sort_unstable();
        assert_eq!(delivered, ["late", "waits"], "seed {seed}");
    }
    assert!(lost > 0, "no power failure took the copy");
}

/// The slot is filed anew with what is left of it: recalls are, too.
#[test]
fn a_recall_holds_when_its_slot_is_left_in_the_middle() {
    for dies in [World::stop, World::kill, World::lose_power] {
        let mut world = World::new(1);
        let slot_ms = world.clock.wall_ms() + 3_000;
        world.send_due("comes", slot_ms + 100, false);
        world.send_due("met", slot_ms + 200, false);
        world.send_due("unmet", slot_ms + 900, false);
        world.settle();
        world.recall_of("met");
        world.recall_of("unmet");
        world.pass(3_300);
        assert!(world.delivered().contains_key("comes"));
        world.flush_timer();
        dies(&mut world);
        world.pass(12_000);
        world.check();
        assert_eq!(world.delivered().len(), 1);
        let metrics = world.timers().metrics.snapshot().timing_count;
        assert!(metrics.values().all(|metric| metric.count == 0), "{metrics:?}");
    }
}

/// A stop takes what was delivered out of the slot. That may be on the disk while the copies are not.
#[test]
fn a_message_comes_again_when_the_power_fails_in_a_stop_and_takes_its_copy() {
    for seed in 0..16 {
        let mut world = World::new(seed);
        world.settle();
        let slot_ms = world.clock.wall_ms().div_euclid(1_000) * 1_000 + 5_000;
        world.send_due("comes", slot_ms + 100, false);
        world.send_due("waits", slot_ms + 900, false);
        world.settle();
        world.flush_timer();
        while world.clock.wall_ms() < slot_ms + 300 {
            world.pass(100);
        }
        assert!(world.delivered().contains_key("comes"), "seed {seed}");
        world.lose_power_in_a_stop();
        world.pass(12_000);
        let mut delivered: Vec<String> = world.delivered().into_keys().collect();
        delivered.sort_unstable();
        assert_eq!(delivered, ["comes", "waits"], "seed {seed}");
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let mut world = World {
            random: Random::new(Random::new(seed).next_u64()),
            disk: SimDisk::new(clock.clone()),
            clock,
            running: None,
            sent: HashMap::new(),
        };
        world.start();
        world
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        // Everything gets due, and nothing dies any more.
        self.pass(40_000);
        self.check();
        for (body, sent) in &self.sent {
            let is_recalled = sent.recall.is_some();
            assert!(
                !sent.is_safe || is_recalled || self.delivered().contains_key(body),
                "{body} was safe and never came: {sent:?}"
            );
        }
        let waiting = self.timers().files.pending();
        assert_eq!(waiting, 0, "nothing waits at the end");
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0..14 => self.send(),
            14..17 => self.recall(),
            17..28 => {
                let ms = 50 + self.random.below(1_500);
                self.pass(ms.unsigned_abs().into());
            }
            28..31 => self.flush_log(),
            31..35 => self.flush_timer(),
            35 => self.stop(),
            36..38 => self.kill(),
            38 => self.lose_power(),
            _ => self.lose_power_in_a_stop(),
        }
    }

    fn send(&mut self) {
        let now_ms = self.clock.wall_ms();
        let body = format!("m{}", self.sent.len());
        let far_ms = [300, 3_000, 9_000, 25_000][self.random.below(4) as usize];
        let due_ms = now_ms + 1 + i64::from(self.random.below(far_ms));
        let is_relative = self.random.below(2) == 0;
        self.send_due(&body, due_ms, is_relative);
    }

    fn send_due(&mut self, body: &str, due_ms: i64, is_relative: bool) {
        let now_ms = self.clock.wall_ms();
        let relative = (due_ms - now_ms).to_string();
        let absolute = due_ms.to_string();
        let timer = if is_relative {
            ("TIMER_DELAY_MS", &*relative)
        } else {
            ("TIMER_DELIVER_MS", &*absolute)
        };
        let properties = property_text(&[timer, ("UNIQ_KEY", body)]);
        let client = self.running().test.client();
        let answer = client.send(send_header("Orders", &properties), body.as_bytes());
        assert_eq!(answer.code, response_code::SUCCESS, "{}", answer.remark);
        let sent = Sent {
            due_ms,
            handle: answer.field("recallHandle").to_owned(),
            end: self.log_end(),
            is_safe: false,
            recall: None,
        };
        self.sent.insert(body.to_owned(), sent);
    }

    fn recall(&mut self) {
        let number = self.random.below(self.sent.len().max(1) as i32);
        self.recall_of(&format!("m{number}"));
    }

    fn recall_of(&mut self, body: &str) {
        let Some(handle) = self.sent.get(body).map(|sent| sent.handle.clone()) else {
            return;
        };
        let header = RecallMessageRequestHeader {
            producer_group: None,
            topic: "Orders".to_owned(),
            recall_handle: Some(handle),
        };
        let request = OutgoingRequest::new(request_code::RECALL_MESSAGE).header(&header);
        let answer = self.running().test.client().call(request);
        let end = self.log_end();
        let sent = self.sent.get_mut(body).expect("found above");
        if answer.code == response_code::SUCCESS && sent.recall.is_none() {
            sent.recall = Some(Recall { end, is_safe: false });
        } else {
            assert!(
                sent.recall.is_some() || sent.due_ms - 1_000 <= self.clock.wall_ms(),
                "{body} not recalled: {}",
                answer.remark
            );
        }
    }

    fn pass(&mut self, ms: u64) {
        let mut left = ms;
        loop {
            self.settle();
            if left == 0 {
                return self.check();
            }
            let step = left.min(1 + self.random.below(200).unsigned_abs() as u64);
            self.clock.advance(Duration::from_millis(step));
            left -= step;
        }
    }

    fn settle(&mut self) {
        let clock = Arc::clone(&self.clock);
        let running = self.running.as_mut().expect("a broker runs");
        loop {
            running.test.settle();
            let more = running.service.tick(clock.now(), false).expect("a tick") == Next::Again;
            let state = running.test.broker.store.state();
            if !more && state.dispatched == state.commit_log_max {
                return;
            }
        }
    }

    fn flush_log(&mut self) {
        self.running().test.broker.store.flush().expect("a flush");
        self.note_safe();
    }

    fn flush_timer(&mut self) {
        let clock = Arc::clone(&self.clock);
        tick(&mut self.running.as_mut().expect("a broker runs").flush, &clock);
        self.note_safe();
    }

    fn note_safe(&mut self) {
        let flushed = self.running().test.broker.store.state().flushed.0;
        for sent in self.sent.values_mut() {
            sent.is_safe |= sent.end <= flushed;
            if let Some(recall) = &mut sent.recall {
                recall.is_safe |= recall.end <= flushed;
            }
        }
    }

    fn stop(&mut self) {
        let now = self.clock.now();
        let mut running = self.running.take().expect("a broker runs");
        running.service.tick(now, true).expect("the last tick");
        running.flush.tick(now, true).expect("the last tick");
        running.test.broker.store.close().expect("a clean stop");
        let flushed = running.test.broker.store.state().flushed.0;
        drop(running);
        for sent in self.sent.values_mut() {
            sent.is_safe |= sent.end <= flushed;
        }
        self.start();
    }

    fn kill(&mut self) {
        self.running = None;
        self.start();
    }

    fn lose_power(&mut self) {
        self.running = None;
        self.disk.crash(self.random.next_u64()).expect("a crash");
        // What was not on the disk may be gone, and its promises with it.
        for sent in self.sent.values_mut() {
            let is_recall_unsure = sent.recall.take_if(|recall| !recall.is_safe).is_some();
            if !sent.is_safe || is_recall_unsure {
                (sent.is_safe, sent.end) = (false, u64::MAX);
            }
        }
        self.start();
    }

    /// The slot is left, and nothing else of a stop is done.
    fn lose_power_in_a_stop(&mut self) {
        let now = self.clock.now();
        let running = self.running.as_mut().expect("a broker runs");
        running.service.tick(now, true).expect("the last tick");
        self.note_safe();
        self.lose_power();
    }

    /// Starts a broker, at once or some time later.
    fn start(&mut self) {
        if self.random.below(3) == 0 {
            self.clock.advance(Duration::from_millis(
                self.random.below(9_000).unsigned_abs().into(),
            ));
        }
        let window = [
            ("storePathRootDir", ROOT),
            ("mappedFileSizeCommitLog", "16384"),
            ("mappedFileSizeTimerLog", "4096"),
            ("timerRollWindowSlot", WINDOW_SLOTS),
            ("recallMessageEnable", "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = Arc::new(self.disk.clone());
        let test = TestBroker::open_on(disk, directory, Arc::clone(&self.clock), window).with_topic("Orders");
        let ticks = crate::services::BrokerTicks::of(&test.broker).expect("services");
        self.running = Some(Running {
            test,
            service: ticks.timer.expect("the timer is on"),
            flush: ticks.timer_flush.expect("the timer is on"),
        });
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("a broker runs")
    }

    fn timers(&self) -> &crate::timer::Timers {
        let broker = &self.running().test.broker;
        broker.timers.as_ref().expect("a timer")
    }

    fn log_end(&self) -> u64 {
        self.running().test.broker.store.state().commit_log_max.0
    }

    /// Bodies in the topic, each with the times at which it was stored.
    fn delivered(&self) -> HashMap<String, Vec<i64>> {
        let store = &self.running().test.broker.store;
        let mut delivered: HashMap<String, Vec<i64>> = HashMap::new();
        for entry in store.queue_entries("Orders", 0, QueueOffset(0), 100_000) {
            let bytes = store.read_at(entry.physical_offset).expect("a record");
            let record = record::decode(&bytes).expect("a record");
            let body = String::from_utf8(record.body.to_vec()).expect("text");
            delivered.entry(body).or_default().push(record.store_timestamp_ms);
        }
        delivered
    }

    /// Everything the log holds of a message.
    fn history(&self, body: &str) -> String {
        let mut history = String::new();
        let store = &self.running().test.broker.store;
        store
            .scan(store.log_range().start, |record| {
                if record.body == body.as_bytes() {
                    let place = (
                        record.physical_offset,
                        record.queue_offset,
                        record.store_timestamp_ms,
                    );
                    let properties = properties_of(record);
                    history.push_str(&format!("\n{} {place:?} {properties:?}", record.topic));
                }
            })
            .expect("a log without a gap");
        history
    }

    fn check(&self) {
        for (body, stored_ms) in self.delivered() {
            let sent = &self.sent[&body];
            let told = || format!("{body}, {sent:?}: {}", self.history(&body));
            assert_eq!(stored_ms.len(), 1, "came {} times: {}", stored_ms.len(), told());
            assert!(stored_ms[0] >= sent.due_ms, "came early: {}", told());
            assert!(sent.recall.is_none(), "was recalled: {}", told());
        }
    }
}

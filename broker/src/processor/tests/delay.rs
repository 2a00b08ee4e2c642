//! Messages of the delay levels over a kill: what was delivered does not come again.

use std::time::Duration;

use store::{PhysicalOffset, QueueOffset};

use super::*;
use crate::delay::DelayDelivery;
use crate::registry::persist::Table as _;

/// A broker whose levels are ticked by hand.
struct DelayBroker {
    test: TestBroker,
    delivery: DelayDelivery,
}

impl DelayBroker {
    fn new() -> Self {
        Self::of(TestBroker::new().with_topic("Orders"))
    }

    fn of(test: TestBroker) -> Self {
        let ticks = crate::services::BrokerTicks::of(&test.broker).unwrap();
        DelayBroker {
            delivery: ticks.delay,
            test,
        }
    }

    fn send(&self, level: i32, body: &str) {
        self.test
            .client()
            .must_send("Orders", &[("DELAY", &level.to_string())], body.as_bytes());
    }

    fn pass(&mut self, time: Duration) {
        self.test.settle();
        self.test.clock.advance(time);
        while self.delivery.tick(self.test.clock.now(), false).unwrap() == Next::Again {}
        self.test.settle();
    }

    fn write_progress(&self) {
        self.test.broker.delay_offsets.flush().unwrap();
    }

    fn crash(self) -> Self {
        let DelayBroker { test, delivery } = self;
        drop(delivery);
        Self::of(test.crash_and_restart())
    }

    fn delivered(&self) -> Vec<String> {
        let store = &self.test.broker.store;
        let body = |offset: PhysicalOffset| {
            store.with_record(offset, |record| String::from_utf8(record.body.to_vec()).unwrap())
        };
        store
            .queue_entries("Orders", 0, QueueOffset(0), 1_000)
            .iter()
            .filter_map(|entry| body(entry.physical_offset))
            .collect()
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn what_was_delivered_before_a_kill_does_not_come_again_and_the_rest_comes() {
    let mut broker = DelayBroker::new();
    broker.send(1, "written");
    broker.pass(MINUTE);
    broker.write_progress();
    broker.send(1, "a");
    broker.send(3, "c");
    broker.send(1, "b");
    broker.send(16, "much later");
    broker.pass(MINUTE);
    assert_eq!(broker.delivered(), ["written", "a", "b", "c"]);
    broker.send(1, "pending");

    let mut broker = broker.crash();
    broker.pass(MINUTE);
    assert_eq!(broker.delivered(), ["written", "a", "b", "c", "pending"]);
    let mut broker = broker.crash();
    broker.pass(60 * MINUTE);
    assert_eq!(
        broker.delivered(),
        ["written", "a", "b", "c", "pending", "much later"]
    );
}

#[test]
fn before_the_first_write_nothing_comes_twice_either() {
    let mut broker = DelayBroker::new();
    broker.send(2, "a");
    broker.pass(MINUTE);
    let mut broker = broker.crash();
    broker.pass(MINUTE);
    assert_eq!(broker.delivered(), ["a"]);
}

#[test]
fn of_messages_that_are_alike_each_comes() {
    let mut broker = DelayBroker::new();
    let alike: [(&str, &str); 2] = [("DELAY", "1"), ("UNIQ_KEY", "K")];
    broker.test.client().must_send("Orders", &alike, b"alike");
    broker.pass(MINUTE);
    broker.test.client().must_send("Orders", &alike, b"alike");
    let mut broker = broker.crash();
    broker.pass(MINUTE);
    assert_eq!(broker.delivered(), ["alike", "alike"]);
}

//! The same random operations on a store and on a vector: after each one they must agree. Reopening, cleanly or after a
//! kill, is just another operation.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::message::sys_flag;
use proptest::prelude::*;
use store::record::decode;
use store::{BatchItem, Message, QueueOffset, Store};
use support::{Bench, dispatch, flush_all, message, properties, read_queue, split};

const TOPICS: [&str; 3] = ["Orders", "%RETRY%group", "Events"];
const QUEUES: i32 = 2;

#[derive(Clone, Debug)]
enum Op {
    Put {
        topic: usize,
        queue_id: i32,
        body_bytes: usize,
    },
    PutBatch {
        topic: usize,
        queue_id: i32,
        sizes: Vec<usize>,
    },
    PutHalf {
        topic: usize,
    },
    Dispatch,
    FlushAll,
    AllocateAhead,
    Wait {
        ms: u64,
    },
    ReopenClean,
    ReopenKilled,
    DeleteTopic {
        topic: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let topic = 0..TOPICS.len();
    prop_oneof![
        12 => (topic.clone(), 0..QUEUES, 0usize..700)
            .prop_map(|(topic, queue_id, body_bytes)| Op::Put { topic, queue_id, body_bytes }),
        4 => (topic.clone(), 0..QUEUES, prop::collection::vec(0usize..300, 1..6))
            .prop_map(|(topic, queue_id, sizes)| Op::PutBatch { topic, queue_id, sizes }),
        1 => topic.clone().prop_map(|topic| Op::PutHalf { topic }),
        4 => Just(Op::Dispatch),
        2 => Just(Op::FlushAll),
        1 => Just(Op::AllocateAhead),
        2 => (0u64..5_000).prop_map(|ms| Op::Wait { ms }),
        1 => Just(Op::ReopenClean),
        2 => Just(Op::ReopenKilled),
        1 => topic.prop_map(|topic| Op::DeleteTopic { topic }),
    ]
}

/// What the store must hold.
#[derive(Default)]
struct Model {
    queues: BTreeMap<(usize, i32), Vec<Expected>>,
    stored: usize,
}

#[derive(Clone, Debug)]
struct Expected {
    key: String,
    body: Vec<u8>,
    physical_offset: u64,
    store_timestamp_ms: i64,
}

struct Run {
    bench: Bench,
    store: Arc<Store>,
    model: Model,
}

impl Run {
    fn new() -> Self {
        let bench = Bench::small();
        let store = bench.open();
        Self {
            bench,
            store,
            model: Model::default(),
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Put {
                topic,
                queue_id,
                body_bytes,
            } => self.put(*topic, *queue_id, *body_bytes),
            Op::PutBatch {
                topic,
                queue_id,
                sizes,
            } => self.put_batch(*topic, *queue_id, sizes),
            Op::PutHalf { topic } => {
                let half = message(TOPICS[*topic], 0, "", b"half");
                self.store
                    .put(&Message {
                        sys_flag: sys_flag::TRANSACTION_PREPARED,
                        ..half
                    })
                    .unwrap();
            }
            Op::Dispatch => dispatch(&self.store, &self.bench),
            Op::FlushAll => flush_all(&self.store, &self.bench),
            Op::AllocateAhead => support::run(&mut self.store.ticks().allocate, &*self.bench.clock),
            Op::Wait { ms } => self.bench.advance_ms(*ms),
            Op::ReopenClean => {
                self.store.close().unwrap();
                self.reopen();
            }
            Op::ReopenKilled => self.reopen(),
            Op::DeleteTopic { topic } => {
                self.store.delete_topic(TOPICS[*topic]);
                self.model.queues.retain(|(other, _), _| other != topic);
            }
        }
    }

    fn reopen(&mut self) {
        // The lock goes with the last handle.
        let unused = Bench::small();
        self.store = unused.open();
        self.store = self.bench.open();
        assert_eq!(self.store.damage(), []);
    }

    fn new_message(&mut self, body_bytes: usize) -> (String, String, Vec<u8>) {
        self.model.stored += 1;
        let key = format!("key-{}", self.model.stored);
        let text = properties(&[("UNIQ_KEY", &key), ("TAGS", "tag"), ("KEYS", "shared")]);
        let body = (0..body_bytes)
            .map(|n| u8::try_from((n + self.model.stored) % 256).unwrap())
            .collect();
        (key, text, body)
    }

    fn put(&mut self, topic: usize, queue_id: i32, body_bytes: usize) {
        let (key, text, body) = self.new_message(body_bytes);
        let appended = self
            .store
            .put(&message(TOPICS[topic], queue_id, &text, &body))
            .unwrap();
        let queue = self.model.queues.entry((topic, queue_id)).or_default();
        assert_eq!(appended.queue_offset, QueueOffset(queue.len() as u64));
        let physical_offset = appended.physical_offset.0;
        queue.push(Expected {
            key,
            body,
            physical_offset,
            store_timestamp_ms: appended.store_timestamp_ms,
        });
    }

    fn put_batch(&mut self, topic: usize, queue_id: i32, sizes: &[usize]) {
        let messages: Vec<_> = sizes.iter().map(|size| self.new_message(*size)).collect();
        let items: Vec<_> = messages
            .iter()
            .map(|(_, properties, body)| BatchItem {
                flag: 0,
                properties,
                body,
            })
            .collect();
        let shared = message(TOPICS[topic], queue_id, "", b"");
        let appended = self.store.put_batch(&shared, &items).unwrap();
        let queue = self.model.queues.entry((topic, queue_id)).or_default();
        assert_eq!(appended.queue_offset, QueueOffset(queue.len() as u64));
        let store_timestamp_ms = appended.store_timestamp_ms;
        for ((key, _, body), offset) in messages.into_iter().zip(&appended.physical_offsets) {
            queue.push(Expected {
                key,
                body,
                physical_offset: offset.0,
                store_timestamp_ms,
            });
        }
    }

    fn check(&self) {
        dispatch(&self.store, &self.bench);
        for (number, topic) in TOPICS.into_iter().enumerate() {
            for queue_id in 0..QUEUES {
                let expected = self.model.queues.get(&(number, queue_id));
                self.check_queue(topic, queue_id, expected.map_or(&[], Vec::as_slice));
            }
        }
        let state = self.store.state();
        assert_eq!(state.dispatched, state.commit_log_max);
        assert_eq!(state.writable, Ok(()));
    }

    fn check_queue(&self, topic: &str, queue_id: i32, expected: &[Expected]) {
        assert_eq!(
            self.store.max_offset(topic, queue_id),
            i64::try_from(expected.len()).unwrap(),
            "{topic} {queue_id}"
        );
        let records = read_queue(&self.store, topic, queue_id);
        assert_eq!(records.len(), expected.len(), "{topic} {queue_id}");
        for (number, (record, expected)) in records.iter().zip(expected).enumerate() {
            let record = decode(record).unwrap();
            assert_eq!(record.queue_offset, QueueOffset(number as u64));
            assert_eq!(record.physical_offset.0, expected.physical_offset);
            assert_eq!(record.store_timestamp_ms, expected.store_timestamp_ms);
            assert_eq!(
                (record.topic, record.queue_id, record.body),
                (topic, queue_id, &expected.body[..])
            );
            assert!(record.body_matches_crc());
        }
        // One key a queue is enough to see that the index follows.
        if let Some(last) = expected.last() {
            let mut out = Vec::new();
            self.store
                .query_by_key(topic, &last.key, None, 64, 0, i64::MAX, &mut out);
            let found: Vec<u64> = split(&out)
                .into_iter()
                .map(|record| decode(record).unwrap())
                .filter(|record| record.property("UNIQ_KEY") == Some(&last.key))
                .map(|record| record.physical_offset.0)
                .collect();
            assert_eq!(found, [last.physical_offset], "{}", last.key);
        }
    }
}

proptest! {
    #![proptest_config(support::cases(48))]
    #[test]
    fn a_store_holds_what_was_put_whatever_happens(ops in prop::collection::vec(op(), 1..80)) {
        let mut run = Run::new();
        for (number, op) in ops.iter().enumerate() {
            run.apply(op);
            if number % 7 == 0 || matches!(op, Op::ReopenClean | Op::ReopenKilled | Op::DeleteTopic { .. }) {
                run.check();
            }
        }
        run.check();
        run.store.close().unwrap();
        run.reopen();
        run.check();
    }
}

#[test]
fn keys_that_many_messages_share_are_all_found() {
    let mut run = Run::new();
    for number in 0..100 {
        run.put(0, number % QUEUES, 20);
        run.bench.advance_ms(700);
    }
    dispatch(&run.store, &run.bench);
    let all: Vec<Expected> = run.model.queues.into_values().flatten().collect();
    let times: Vec<i64> = all.iter().map(|expected| expected.store_timestamp_ms).collect();
    let mut times = times;
    times.sort_unstable();
    for (from, to) in [(0, 50), (10, 40), (63, 64), (99, 99)] {
        let (begin_ms, end_ms) = (times[from], times[to]);
        let is_wanted = |time_ms: i64| (begin_ms..=end_ms).contains(&time_ms);
        let mut out = Vec::new();
        run.store
            .query_by_key(TOPICS[0], "shared", None, 64, begin_ms, end_ms, &mut out);
        // Times are indexed in whole seconds: neighbours within a second may be found too.
        let found = split(&out).into_iter().map(|record| decode(record).unwrap());
        let found = found.filter(|record| is_wanted(record.store_timestamp_ms));
        let mut expected: Vec<u64> = all
            .iter()
            .filter(|message| is_wanted(message.store_timestamp_ms))
            .map(|message| message.physical_offset)
            .collect();
        expected.sort_unstable();
        assert_eq!(
            found.map(|record| record.physical_offset.0).collect::<Vec<_>>(),
            expected,
            "{from}..={to}"
        );
    }
}

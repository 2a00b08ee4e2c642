//! Targets of what messages say about themselves: property strings as producers send them, and as the broker finds them again
//! in the records of its own topics.

use broker::delay::levels;
use broker::processor::send_properties::{Changes, SendProperties};
use broker::timer::message::{Leaving, TimerMessage};
use broker::transaction::half_message::HalfMessage;
use common::message::id::{offset_msg_id, parse_offset_msg_id};
use common::message::properties::{self, name};
use common::names;
use store::dispatch::further_queues;
use store::record::{Record, RecordVersion};
use store::{Message, PhysicalOffset, QueueOffset};

/// A message as a producer at this host might have sent it.
pub(crate) fn message<'a>(topic: &'a str, properties: &'a str, body: &'a [u8]) -> Message<'a> {
    let host = ([127, 0, 0, 1], 1).into();
    Message {
        topic,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 0,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        properties,
        body,
    }
}

/// The record of a message, as a decoder gives it; the target `record` is for its bytes.
pub(crate) fn stored<'a>(message: &Message<'a>) -> Record<'a> {
    Record {
        size_bytes: 300,
        version: RecordVersion::V1,
        body_crc: 7,
        queue_id: message.queue_id,
        flag: message.flag,
        queue_offset: QueueOffset(5),
        physical_offset: PhysicalOffset(1_000),
        sys_flag: message.sys_flag,
        born_timestamp_ms: message.born_timestamp_ms,
        born_host: message.born_host,
        store_timestamp_ms: 0,
        store_host: message.store_host,
        reconsume_times: message.reconsume_times,
        prepared_transaction_offset: message.prepared_transaction_offset,
        body: message.body,
        topic: message.topic,
        properties: message.properties,
    }
}

/// What a broker that stores a message may add to its properties or take from them.
const OF_THE_BROKER: [&str; 15] = [
    name::MSG_REGION,
    name::TRACE_ON,
    name::UNIQ_KEY,
    name::CLUSTER,
    name::INNER_MULTI_DISPATCH,
    name::TRANSACTION_ID,
    name::DELAY,
    name::PRIORITY,
    name::POP_CK,
    name::TIMER_DELAY_SEC,
    name::TIMER_DELAY_MS,
    name::TIMER_DELIVER_MS,
    name::TIMER_OUT_MS,
    name::REAL_TOPIC,
    name::REAL_QUEUE_ID,
];

/// A byte that chooses what the broker changes, and the property string of a SEND_MESSAGE.
pub fn send_properties(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    let sent = match SendProperties::scan(&text) {
        Ok(sent) => sent,
        Err(fault) => return assert!(!fault.to_string().is_empty()),
    };
    let chosen = |bit: u8| choice & 1 << bit != 0;
    let changes = Changes {
        region_id: "R",
        trace_on: chosen(0),
        cluster: chosen(1).then_some("C"),
        new_uniq_key: chosen(2).then_some("U"),
        delay_level: chosen(3).then_some(3),
        multi_dispatch: chosen(4).then_some("%LMQ%a,%LMQ%b"),
        real_destination: chosen(5).then_some(("T", 7)),
        transaction_id: None,
        timer_out_ms: chosen(6).then_some(1),
        drop_priority: chosen(7),
        drop_timer: chosen(6),
    };
    let written = sent.encode(&changes);
    let stored = SendProperties::scan(&written).expect("what is stored can be read");
    let of_the_producer = |text| properties::iter(text).filter(|(name, _)| !OF_THE_BROKER.contains(name));
    assert!(of_the_producer(&written).eq(of_the_producer(&text)));
    assert_eq!(properties::get(&written, name::MSG_REGION), Some("R"));
    assert_eq!(properties::get(&written, name::POP_CK), None);
    assert_eq!(stored.uniq_key, changes.new_uniq_key.or(sent.uniq_key));
    assert_eq!(
        stored.delay_level,
        changes.delay_level.unwrap_or(sent.delay_level)
    );
    if chosen(6) {
        assert!(stored.timer_done && stored.timer.is_none());
    }
    let _ = (sent.priority(), sent.has_void_priority());
    let _ = sent.timer.map(|timer| timer.deliver_at_ms(i64::MAX));
}

/// The property string of a record in the half topic, and what the transaction service makes of the message.
pub fn half_message(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let record = stored(&message(names::TRANS_HALF_TOPIC, &text, b"body"));
    let half = HalfMessage::of(record).expect("it is in the half topic");

    // One of the two copies, so that an execution stays short.
    let (draft, check_times) = match text.len() % 2 {
        0 => (
            half.checked_again(),
            Some(half.check_times().map_or(1, |times| times.saturating_add(1))),
        ),
        _ => (half.immune(), half.check_times()),
    };
    let copy = draft.message();
    let copy = HalfMessage::of(stored(&copy)).expect("a copy goes back into the half topic");
    assert_eq!(
        copy.key(),
        half.key(),
        "a copy counts as the message it is a copy of"
    );
    assert!(copy.is_put_back());
    assert_eq!(copy.check_times(), check_times);
    assert_eq!(copy.real_topic(), half.real_topic());
    assert_eq!(copy.real_queue_id(), half.real_queue_id());
    assert_eq!(copy.immunity(), half.immunity());
    let discarded = half.discarded();
    let given_up = stored(&discarded.message());
    assert!(HalfMessage::of(given_up).is_none());

    let committed = half.committed();
    assert_eq!(draft.as_asked_about().is_some(), committed.is_some());
    let Some(committed) = committed else {
        return;
    };
    let visible = stored(&committed.message());
    assert_eq!(Some(visible.topic), half.real_topic());
    assert_eq!(Some(visible.queue_id), half.real_queue_id());
    assert_eq!(visible.property(name::REAL_TOPIC), None);
    let timed = committed.clone().timed(1);
    let waiting = stored(&timed.message());
    let waiting = TimerMessage::of(&waiting).expect("it says where it goes and when");
    assert_eq!(Some(waiting.real_topic), half.real_topic());
    let delayed = committed.delayed(3);
    let waiting = stored(&delayed.message());
    if waiting.property(name::REAL_TOPIC) != Some(names::TRANS_HALF_TOPIC) {
        assert!(levels::restore(&waiting).is_some(), "it says where it goes");
    }
}

/// The property string of a record in the timer's topic, and the copies that leave the timer.
pub fn timer_message(data: &[u8]) {
    const PRECISION_MS: i64 = 1_000;
    let text = String::from_utf8_lossy(data);
    let record = stored(&message(names::TIMER_TOPIC, &text, b"body"));
    let Some(waiting) = TimerMessage::of(&record) else {
        return;
    };
    let due_ms = waiting.due_ms(PRECISION_MS);
    assert!((waiting.out_ms..=waiting.out_ms.saturating_add(PRECISION_MS)).contains(&due_ms));
    assert_eq!(waiting.delete_key(true).is_some(), waiting.uniq_key.is_some());
    for rolls_until_ms in [None, Some(due_ms)] {
        let leaving = Leaving {
            enqueue_ms: 1,
            now_ms: 2,
            rolls_until_ms,
        };
        let (topic, queue_id) = leaving.destination(&waiting);
        let properties = leaving.properties(&record, &waiting);
        let copy = Message {
            queue_id,
            ..message(topic, &properties, record.body)
        };
        let copy = stored(&copy);
        let again = TimerMessage::of(&copy).expect("a copy says what its original did");
        let rolled = u32::from(rolls_until_ms.is_some());
        assert_eq!(again.roll_times, waiting.roll_times.saturating_add(rolled));
        assert_eq!(
            (
                again.out_ms,
                again.real_topic,
                again.real_queue_id,
                again.uniq_key
            ),
            (
                waiting.out_ms,
                waiting.real_topic,
                waiting.real_queue_id,
                waiting.uniq_key
            )
        );
        if rolls_until_ms.is_some() {
            assert_eq!(again.due_ms(PRECISION_MS), due_ms, "it is due when it was");
        }
    }
}

/// The property string of a record that waits for its delay, and the message that leaves.
pub fn delayed_message(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let record = stored(&message(names::SCHEDULE_TOPIC, &text, b"body"));
    let Some(due) = levels::restore(&record) else {
        return;
    };
    assert_ne!(due.topic, names::TRANS_HALF_TOPIC);
    let but_checksums = |text| properties::iter(text).filter(|(name, _)| *name != name::CRC32);
    assert!(but_checksums(due.properties).eq(but_checksums(record.properties)));
    let copy = stored(&due);
    assert_eq!((copy.topic, copy.body), (due.topic, record.body));
}

/// The light message queues a record names, a zero byte, and their offsets.
pub fn light_queues(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (queues, offsets) = text.split_once('\0').unwrap_or((&text, ""));
    let found: Vec<(&str, u64)> = further_queues(Some(queues), Some(offsets)).collect();
    for (queue, _) in &found {
        if let Some((topic, lite_topic)) = names::lite_topic_of_lmq(queue) {
            assert!(names::is_lite_lmq(queue));
            assert_eq!(names::lmq_of_lite_topic(topic, lite_topic), *queue);
        }
    }
    let queues: Vec<&str> = found.iter().map(|(queue, _)| *queue).collect();
    let offsets: Vec<String> = found.iter().map(|(_, offset)| offset.to_string()).collect();
    let (queues, offsets) = (queues.join(","), offsets.join(","));
    assert!(further_queues(Some(&queues), Some(&offsets)).eq(found));
    assert_eq!(further_queues(Some(&queues), None).count(), 0);
}

/// The id under which a client asks for a message.
pub fn message_id(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match parse_offset_msg_id(&text) {
        Ok((host, offset)) => assert!(offset_msg_id(host, offset).eq_ignore_ascii_case(&text)),
        Err(error) => assert_eq!(error.id, text),
    }
}

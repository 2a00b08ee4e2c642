//! Messages come in: one, many at once, back from a consumer, for later.

use common::message::properties::{self, name};
use common::names::{self, SCHEDULE_TOPIC, retry_topic};
use remoting::codes::{request_code, response_code};
use remoting::header::ConsumerSendMsgBackRequestHeader;
use remoting::request::OutgoingRequest;

use super::{GROUPS, TAGS, connection, note_answer, nothing, random_queue, repeats};
use crate::checks::{self, Expect, Sent};
use crate::model::filters::NUMBER;
use crate::model::repeats::Repeatable;
use crate::model::{Queue, Wanted};
use crate::world::{World, send_request};
use crate::{Violation, ensure};

/// What a message carries besides its body.
pub fn new_properties(world: &World) -> Vec<(&'static str, String)> {
    let mut pairs = vec![(name::UNIQ_KEY, world.new_key())];
    if world.below(3) == 0 {
        pairs.push((name::TAGS, TAGS[world.below(2) as usize].to_owned()));
    }
    if world.below(2) == 0 {
        pairs.push((NUMBER, world.below(10).to_string()));
    }
    if world.below(3) == 0 {
        pairs.push((name::KEYS, format!("k{} k{}", world.below(4), 4 + world.below(4))));
    }
    pairs
}

/// The text of properties.
pub fn text_of(pairs: &[(&'static str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        properties::push(&mut text, name, value);
    }
    text
}

/// A request that stores messages, and what must come of it.
pub struct NewSend {
    pub request: OutgoingRequest,
    pub wanted: Vec<Wanted>,
    /// The text of its message's properties; none of a batch.
    pub properties: String,
    /// Whether the sender waits for the disk.
    pub waits: bool,
    pub what: String,
}

impl NewSend {
    fn finish(self, world: &mut World) -> Result<(), Violation> {
        finish_send(world, self.request, self.wanted, self.waits, &self.what)
    }
}

pub fn send(world: &mut World) -> Result<(), Violation> {
    let Some(queue) = random_queue(world) else {
        return Ok(());
    };
    let send = new_send(world, &queue);
    let (wanted, waits, body) = (send.wanted[0].clone(), send.waits, send.request.body.to_vec());
    let (end, properties) = (world.model.log_end, send.properties.clone());
    send.finish(world)?;
    if let Some(record) = world.model.log.last().filter(|record| record.at >= end).cloned() {
        let message = Repeatable {
            queue,
            properties,
            body,
            is_delayed: record.queue.0 == SCHEDULE_TOPIC,
            waits,
            wanted,
            record,
        };
        repeats::remember(world, message);
    }
    Ok(())
}

pub fn send_batch(world: &mut World) -> Result<(), Violation> {
    match random_queue(world) {
        Some(queue) => new_batch(world, &queue).finish(world),
        None => Ok(()),
    }
}

/// One message in so many is in its queues only when it is delivered, at one of the first levels.
pub fn delay_one_in(world: &World, many: i32, pairs: &mut Vec<(&'static str, String)>, wanted: &mut Wanted) {
    if world.below(many) == 0 {
        let level = 1 + world.below(3);
        pairs.push((name::DELAY, level.to_string()));
        let queue = (SCHEDULE_TOPIC.to_owned(), level - 1);
        let (topic, _) = std::mem::replace(&mut wanted.queue, queue);
        wanted.properties.push((name::REAL_TOPIC, topic));
    }
}

pub fn new_send(world: &mut World, queue: &Queue) -> NewSend {
    let body = world.new_body();
    let mut pairs = new_properties(world);
    let waits = world.below(6) != 0;
    if !waits {
        pairs.push((name::WAIT, "false".to_owned()));
    }
    let level = if world.below(5) == 0 {
        1 + world.below(4)
    } else {
        0
    };
    let mut wanted = Wanted {
        queue: queue.clone(),
        body: body.clone(),
        properties: pairs.clone(),
    };
    if level > 0 {
        pairs.push((name::DELAY, level.to_string()));
        wanted.queue = (SCHEDULE_TOPIC.to_owned(), level - 1);
        wanted.properties.push((name::REAL_TOPIC, queue.0.clone()));
        wanted.properties.push((name::REAL_QUEUE_ID, queue.1.to_string()));
    }
    let now_ms = common::clock::Clock::wall_ms(&*world.clock);
    let properties = text_of(&pairs);
    NewSend {
        request: send_request((&queue.0, queue.1), &properties, body, false, now_ms),
        wanted: vec![wanted],
        properties,
        waits,
        what: format!("send to {queue:?} level {level}"),
    }
}

pub fn new_batch(world: &mut World, queue: &Queue) -> NewSend {
    let (mut bytes, mut wanted) = (Vec::new(), Vec::new());
    for _ in 0..1 + world.below(4) {
        let mut body = world.new_body();
        body.truncate(400);
        let pairs = new_properties(world);
        let text = text_of(&pairs);
        bytes.extend([0; 12]);
        bytes.extend(3_i32.to_be_bytes());
        bytes.extend((body.len() as i32).to_be_bytes());
        bytes.extend(&body);
        bytes.extend((text.len() as i16).to_be_bytes());
        bytes.extend(text.as_bytes());
        wanted.push(Wanted {
            queue: queue.clone(),
            body,
            properties: pairs,
        });
    }
    let now_ms = common::clock::Clock::wall_ms(&*world.clock);
    NewSend {
        request: send_request((&queue.0, queue.1), "", bytes, true, now_ms),
        what: format!("batch of {} to {queue:?}", wanted.len()),
        wanted,
        properties: String::new(),
        waits: true,
    }
}

pub fn finish_send(
    world: &mut World,
    request: OutgoingRequest,
    wanted: Vec<Wanted>,
    waits: bool,
    what: &str,
) -> Result<(), Violation> {
    let connection = connection(world);
    let (opaque, answer) = world.call(connection, request);
    note_answer(world, &format!("{what}, {opaque}"), answer.as_ref());
    let is_stored = answer
        .as_ref()
        .is_none_or(|answer| answer.code == response_code::SUCCESS);
    ensure!(
        is_stored || world.power_is_failing,
        "{what}: {:?}",
        answer.map(|answer| answer.remark)
    );
    let expect = if is_stored {
        Expect::Records(wanted)
    } else {
        nothing()
    };
    let sent = is_stored.then_some(Sent {
        connection,
        opaque,
        answer,
        waits,
        names_records: true,
    });
    checks::after_step(world, &expect, sent)
}

/// A consumer could not handle a message: any that is in the log.
pub fn send_back(world: &mut World) -> Result<(), Violation> {
    let candidates: Vec<(u64, Vec<u8>, String, u32)> = world
        .model
        .indexed()
        .filter(|record| record.is_queued && !names::is_system_topic(&record.queue.0))
        .map(|record| {
            let times = store::record::decode(&record.bytes).map_or(0, |record| record.reconsume_times);
            let key = record.property(name::UNIQ_KEY).to_owned();
            (record.at, record.body.clone(), key, times.unsigned_abs())
        })
        .collect();
    if candidates.is_empty() {
        return Ok(());
    }
    let index = world.below(candidates.len() as i32) as usize;
    let (at, body, key, times) = candidates[index].clone();
    let group = GROUPS[world.below(2) as usize];
    let asked = world.below(3);
    let level = if asked == 0 { times as i32 + 3 } else { asked };
    let header = ConsumerSendMsgBackRequestHeader {
        offset: at as i64,
        group: group.into(),
        delay_level: asked,
        origin_msg_id: None,
        origin_topic: None,
        unit_mode: false,
        max_reconsume_times: Some(16),
    };
    let request = OutgoingRequest::new(request_code::CONSUMER_SEND_MSG_BACK).header(&header);
    let connection = connection(world);
    let (_, answer) = world.call(connection, request);
    note_answer(world, &format!("send back {at} to {group}"), answer.as_ref());
    let is_stored = answer
        .as_ref()
        .is_some_and(|answer| answer.code == response_code::SUCCESS);
    ensure!(
        is_stored || world.power_is_failing,
        "send back of {at}: {answer:?}"
    );
    let wanted = Wanted {
        queue: (SCHEDULE_TOPIC.to_owned(), level - 1),
        body,
        properties: vec![
            (name::UNIQ_KEY, key),
            (name::REAL_TOPIC, retry_topic(group)),
            (name::DELAY, level.to_string()),
        ],
    };
    let expect = if is_stored {
        Expect::Records(vec![wanted])
    } else {
        nothing()
    };
    checks::after_step(world, &expect, None)
}

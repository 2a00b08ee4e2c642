//! Producers that got no answer in time send the same message again, with the same unique key.

use remoting::codes::response_code;
use remoting::request::OutgoingRequest;

use super::sends::finish_send;
use super::{connection, note_answer};
use crate::checks::{self, Sent};
use crate::model::repeats::Repeatable;
use crate::model::{Logged, Wanted};
use crate::world::{World, send_request};
use crate::{Violation, ensure};

/// So many messages may be sent again.
const MOST_REMEMBERED: usize = 12;

/// Remembers a message that was stored just now, for someone to send it again.
pub fn remember(world: &mut World, message: Repeatable) {
    let remembered = &mut world.model.repeatable;
    remembered.push(message);
    if remembered.len() > MOST_REMEMBERED {
        remembered.remove(0);
    }
}

/// A message is sent again, to any queue of its topic. Within the window it is answered as the first time, and not stored.
pub fn send_again(world: &mut World) -> Result<(), Violation> {
    let remembered = world.model.repeatable.len();
    if remembered == 0 {
        return Ok(());
    }
    let index = world.below(remembered as i32) as usize;
    let again = world.model.repeatable[index].clone();
    let topic = &again.queue.0;
    let Some(queues) = world.model.topics.get(topic).copied() else {
        return Ok(());
    };
    let queue_id = world.below(queues);
    let age_ms = world.now_ms() - again.record.store_ms;
    let is_known = age_ms <= world.repeat_window_ms && is_there(world, &again.record);
    let request = send_request(
        (topic, queue_id),
        &again.properties,
        again.body.clone(),
        false,
        world.now_ms(),
    );
    let what = format!(
        "send again to {topic} {queue_id} what is at {}, after {age_ms} ms",
        again.record.at
    );
    if is_known {
        return answered_as_before(world, request, &again, &what);
    }
    if again.is_delayed {
        // Two copies of it could not be told apart when they are delivered.
        return Ok(());
    }
    let end = world.model.log_end;
    let wanted = Wanted {
        queue: (topic.clone(), queue_id),
        ..again.wanted.clone()
    };
    finish_send(world, request, vec![wanted.clone()], again.waits, &what)?;
    if let Some(record) = world.model.log.last().filter(|record| record.at >= end).cloned() {
        world.model.repeatable[index] = Repeatable {
            queue: wanted.queue.clone(),
            wanted,
            record,
            ..again
        };
    }
    Ok(())
}

/// Whether consumers can have it.
fn is_there(world: &World, record: &Logged) -> bool {
    let model = &world.model;
    let same = model.at(record.at).filter(|found| found.bytes == record.bytes);
    record.at >= model.log_min && same.is_some_and(|found| !model.is_deleted(found))
}

fn answered_as_before(
    world: &mut World,
    request: OutgoingRequest,
    again: &Repeatable,
    what: &str,
) -> Result<(), Violation> {
    let connection = connection(world);
    let (opaque, answer) = world.call(connection, request);
    note_answer(world, &format!("{what}, {opaque}"), answer.as_ref());
    if let Some(answer) = &answer {
        ensure!(answer.code == response_code::SUCCESS, "{what}: {}", answer.remark);
        ensure!(
            answer.number("queueId")? == i64::from(again.queue.1),
            "{what}: the answer names another queue than {}",
            again.queue.1
        );
        let is_safe = world.model.flushed >= again.record.end();
        ensure!(
            is_safe || !world.is_sync || !again.waits,
            "{what}: answered before the first is on disk"
        );
    }
    let sent = Sent {
        connection,
        opaque,
        answer,
        waits: again.waits,
        names_records: true,
    };
    checks::after_repeated_send(world, sent, vec![again.record.at])
}

//! A group pops in order, acknowledges in order or not, asks for more time, dies; what it has acknowledged never comes again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use remoting::body::{BatchAck, BatchAckMessageRequestBody, fastjson};
use remoting::codes::{request_code, response_code};
use remoting::header::PopMessageRequestHeader;
use remoting::request::OutgoingRequest;

use super::consumers::{offsets_are_durable, reset_group};
use super::pops::{ack_request, change_request, random_held};
use super::{connection, note_answer, nothing, random_queue};
use crate::checks::pops::starts_of;
use crate::checks::{self, Sent, query_offset};
use crate::model::Queue;
use crate::model::orders::{Gives, InFlight, InOrder, ORDERED};
use crate::model::pops::{Held, Key};
use crate::world::{Answer, World};
use crate::{Violation, ensure};

/// Consumers hold so many messages at most.
const MOST_HELD: usize = 32;
/// Pops in a row that only correct an offset.
const MOST_VAIN_POPS: usize = 64;
const ATTEMPTS: [&str; 2] = ["attempt-1", "attempt-2"];

/// What a pop in order asks for.
struct Wish {
    topic: String,
    /// Negative: any.
    queue_id: i32,
    most: usize,
    invisible_ms: i64,
    attempt: Option<&'static str>,
}

/// A consumer takes the next messages.
pub fn pop(world: &mut World) -> Result<(), Violation> {
    let Some((topic, queue_id)) = random_queue(world) else {
        return Ok(());
    };
    let wish = Wish {
        topic,
        queue_id: if world.below(3) == 0 { -1 } else { queue_id },
        most: [1, 2, 5, 32][world.below(4) as usize],
        invisible_ms: [500, 2_000, 12_000, 40_000][world.below(4) as usize],
        attempt: ATTEMPTS.get(world.below(4) as usize).copied(),
    };
    pop_as(world, &wish).map(drop)
}

/// Gives how many messages came.
fn pop_as(world: &mut World, wish: &Wish) -> Result<usize, Violation> {
    let header = PopMessageRequestHeader {
        consumer_group: ORDERED.into(),
        topic: wish.topic.as_str().into(),
        queue_id: wish.queue_id,
        max_msg_nums: wish.most as i32,
        invisible_time: wish.invisible_ms,
        poll_time: 0,
        born_time: world.now_ms(),
        init_mode: 0,
        exp_type: Some("TAG".into()),
        exp: Some("*".into()),
        order: true,
        attempt_id: wish.attempt.map(Into::into),
    };
    let request = OutgoingRequest::new(request_code::POP_MESSAGE).header(&header);
    let connection = connection(world);
    let (_, answer) = world.call(connection, request);
    let what = format!(
        "pop in order of {} {}, {} ms, {:?}",
        wish.topic, wish.queue_id, wish.invisible_ms, wish.attempt
    );
    note_answer(world, &what, answer.as_ref());
    let answer = answer.ok_or_else(|| format!("{what}: waits"))?;
    checks::after_step(world, &nothing(), None)?;
    let batches = match answer.code {
        response_code::SUCCESS => batches_of(world, wish, &answer, &what)?,
        response_code::POLLING_TIMEOUT => BTreeMap::new(),
        code => return Err(format!("{what}: {code} {}", answer.remark)),
    };
    take_batches(world, wish, &answer, &batches, &what)
}

/// The queue offsets that came of each queue: the next ones of a queue that is free.
fn batches_of(
    world: &World,
    wish: &Wish,
    answer: &Answer,
    what: &str,
) -> Result<BTreeMap<Queue, Vec<i64>>, Violation> {
    let model = &world.model;
    let mut batches: BTreeMap<Queue, Vec<i64>> = BTreeMap::new();
    let mut rest = &answer.body[..];
    while !rest.is_empty() {
        let record = store::record::decode(rest).map_err(|error| format!("{what}: {error}"))?;
        let queue = (record.topic.to_owned(), record.queue_id);
        let offsets = batches.entry(queue.clone()).or_default();
        let half_dispatched = model.half_dispatched().filter(|record| record.queue == queue);
        let mut in_order = model.next_in_order(&queue).chain(half_dispatched);
        let wanted = in_order.nth(offsets.len());
        let wanted = wanted.ok_or_else(|| format!("{what}: more of {queue:?} than there is"))?;
        ensure!(
            rest.starts_with(&wanted.bytes),
            "{what}: offset {} of {queue:?} came, next is {}",
            record.queue_offset.0,
            wanted.queue_offset
        );
        offsets.push(wanted.queue_offset as i64);
        rest = &rest[wanted.bytes.len()..];
    }
    let count: usize = batches.values().map(Vec::len).sum();
    ensure!(
        (1..=wish.most).contains(&count),
        "{what}: {count} messages, {} were asked for",
        wish.most
    );
    Ok(batches)
}

fn take_batches(
    world: &mut World,
    wish: &Wish,
    answer: &Answer,
    batches: &BTreeMap<Queue, Vec<i64>>,
    what: &str,
) -> Result<usize, Violation> {
    let now_ms = world.now_ms();
    let count: usize = batches.values().map(Vec::len).sum();
    let queues = world.model.topics.get(&wish.topic).copied().unwrap_or(0);
    let asked = (0..queues).filter(|queue_id| wish.queue_id < 0 || wish.queue_id == *queue_id);
    for queue in asked.map(|queue_id| (wish.topic.clone(), queue_id)) {
        let has_room = count < wish.most;
        let known = world.model.orders.queues.entry(queue.clone()).or_default();
        let (gives, next) = (known.gives(wish.attempt, now_ms), known.next());
        let first = world.model.next_in_order(&queue).next();
        let first = first.map(|record| record.queue_offset as i64);
        let offsets = batches.get(&queue);
        // Where messages expired or were lost, a pop may only find where to go on.
        let is_near = first.is_some_and(|first| next.is_none_or(|next| first == next));
        let must_give = gives == Gives::Yes && has_room && is_near && world.model.lost.is_empty();
        ensure!(
            offsets.is_some() || !must_give || world.model.may_be_half_dispatched,
            "{what}: nothing of {queue:?}, its next message is {first:?}"
        );
        ensure!(
            offsets.is_none() || gives != Gives::No,
            "{what}: {offsets:?} of {queue:?}, and there is something in flight: {:?}",
            world.model.orders.queues.get(&queue)
        );
        let found = query_offset(world, ORDERED, &queue)?;
        let known = world.model.orders.queues.entry(queue.clone()).or_default();
        let Some(offsets) = offsets else {
            if let Some(found) = found {
                known.correct(found);
            }
            continue;
        };
        ensure!(
            found == Some(offsets[0]) || found.is_some_and(|found| found < offsets[0] && !is_near),
            "{what}: {offsets:?} of {queue:?}, and the group is at {found:?}"
        );
        let (pop_time_ms, revive_queue) = (answer.number("popTime")?, answer.number("reviveQid")?);
        known.hand_out(
            found.unwrap_or(offsets[0]),
            InFlight {
                attempt: wish.attempt.map(str::to_owned),
                pop_time_ms,
                visible_ms: offsets
                    .iter()
                    .map(|offset| (*offset, pop_time_ms + wish.invisible_ms))
                    .collect(),
                acked: BTreeSet::new(),
            },
        );
        let start_offset = starts_of(answer).get(&('0', queue.1)).copied();
        let start_offset =
            start_offset.ok_or_else(|| format!("{what}: the lists say nothing of {queue:?}"))?;
        for offset in offsets {
            world.model.orders.held.push(Held {
                key: Key {
                    group: ORDERED.to_owned(),
                    queue: queue.clone(),
                    start_offset,
                    pop_time_ms,
                },
                topic: queue.0.clone(),
                offset: *offset,
                invisible_ms: wish.invisible_ms,
                revive_queue,
                retry: '0',
            });
        }
    }
    let held = &mut world.model.orders.held;
    held.drain(..held.len().saturating_sub(MOST_HELD));
    Ok(count)
}

/// A message is done: the first of its batch or another one, in time or late, once or again.
pub fn ack(world: &mut World) -> Result<(), Violation> {
    let Some(held) = random_held(world, &world.model.orders.held) else {
        return Ok(());
    };
    let what = format!("ack in order of {:?} {}", held.key.queue, held.handle());
    let request = ack_request(&held, &held.handle(), held.offset);
    finish_ack(world, request, &[held], &what)
}

/// All that came with one pop of a queue is done.
pub fn ack_batch(world: &mut World) -> Result<(), Violation> {
    let Some(one) = random_held(world, &world.model.orders.held) else {
        return Ok(());
    };
    let held = world.model.orders.held.iter();
    let all: Vec<Held> = held.filter(|held| held.key == one.key).cloned().collect();
    ack_all(world, &one.key, &all)
}

/// They came with one pop of a queue.
fn ack_all(world: &mut World, key: &Key, all: &[Held]) -> Result<(), Violation> {
    let Some(one) = all.first() else {
        return Ok(());
    };
    let mut ack = BatchAck {
        consumer_group: key.group.clone(),
        topic: one.topic.clone(),
        retry: one.retry.to_string(),
        start_offset: key.start_offset,
        queue_id: key.queue.1,
        revive_queue_id: one.revive_queue as i32,
        pop_time_ms: key.pop_time_ms,
        invisible_time_ms: one.invisible_ms,
        ..BatchAck::default()
    };
    for held in all {
        let bit = usize::try_from(held.offset - key.start_offset).map_err(|error| error.to_string())?;
        ack.bit_set.set(bit);
    }
    let body = BatchAckMessageRequestBody {
        broker_name: "broker-a".to_owned(),
        acks: vec![ack],
    };
    let body = fastjson::to_vec(&body).map_err(|error| error.to_string())?;
    let request = OutgoingRequest::new(request_code::BATCH_ACK_MESSAGE).body(body);
    let what = format!("batch ack in order of {} of {:?}", all.len(), key.queue);
    finish_ack(world, request, all, &what)
}

/// The group goes on behind what is acknowledged without a gap, and says so at once.
fn finish_ack(
    world: &mut World,
    request: OutgoingRequest,
    done: &[Held],
    what: &str,
) -> Result<(), Violation> {
    let connection = connection(world);
    let (opaque, answer) = world.call(connection, request);
    note_answer(world, what, answer.as_ref());
    let code = answer
        .as_ref()
        .map_or(response_code::SUCCESS, |answer| answer.code);
    let remark = answer.as_ref().map_or("", |answer| &answer.remark).to_owned();
    let has_expired = remark.contains("offset is illegal") || code == response_code::NO_MESSAGE;
    ensure!(
        code == response_code::SUCCESS || has_expired,
        "{what}: {code} {remark}"
    );
    // That of a batch may come as if it had waited for the disk.
    let sent = Sent {
        connection,
        opaque,
        answer,
        waits: false,
        names_records: false,
    };
    checks::after_step(world, &nothing(), Some(sent))?;
    // Those that expired since are passed over.
    let queue = &done[0].key.queue;
    let min = world.store().min_offset(&queue.0, queue.1);
    let known = world.model.orders.queues.entry(queue.clone()).or_default();
    let mut left = done.iter().filter(|held| held.offset >= min);
    let are_legal = left.all(|held| known.acknowledge(held.offset, held.key.pop_time_ms));
    ensure!(
        are_legal || code != response_code::SUCCESS,
        "{what}: of another batch, and taken"
    );
    is_where_it_was_told(world, &done[0].key.queue, what)
}

fn is_where_it_was_told(world: &mut World, queue: &Queue, what: &str) -> Result<(), Violation> {
    let found = query_offset(world, ORDERED, queue)?;
    let next = world.model.orders.queues.get(queue).and_then(InOrder::next);
    ensure!(
        found == next,
        "{what}: the group is at {found:?}, acknowledged is up to {next:?}"
    );
    Ok(())
}

/// A consumer needs more time for a message, or gives it back.
pub fn change_invisible_time(world: &mut World) -> Result<(), Violation> {
    let Some(held) = random_held(world, &world.model.orders.held) else {
        return Ok(());
    };
    let invisible_ms = [0, 1_500, 30_000][world.below(3) as usize];
    let request = change_request(&held, &held.handle(), invisible_ms, false);
    let connection = connection(world);
    let (_, answer) = world.call(connection, request);
    let what = format!(
        "{invisible_ms} ms more in order for {:?} {}",
        held.key.queue,
        held.handle()
    );
    note_answer(world, &what, answer.as_ref());
    let code = answer.map(|answer| answer.code);
    let is_gone = code == Some(response_code::NO_MESSAGE);
    ensure!(
        is_gone || code == Some(response_code::SUCCESS),
        "{what}: {code:?}"
    );
    let visible_ms = world.now_ms() + invisible_ms;
    if !is_gone {
        let queue = world
            .model
            .orders
            .queues
            .entry(held.key.queue.clone())
            .or_default();
        queue.change_visible(held.offset, held.key.pop_time_ms, visible_ms);
    }
    checks::after_step(world, &nothing(), None)
}

/// An operator sends the group elsewhere.
pub fn reset(world: &mut World) -> Result<(), Violation> {
    let Some((queue, offset)) = reset_group(world, ORDERED)? else {
        return Ok(());
    };
    world.model.orders.reset(&queue, offset);
    offsets_are_durable(world);
    checks::after_step(world, &nothing(), None)
}

/// At the end: the group takes all that there is, in order, and nothing is left.
pub fn all_consumed(world: &mut World) -> Result<(), Violation> {
    if world.model.orders.queues.is_empty() {
        return Ok(());
    }
    world.clock.advance(Duration::from_secs(60));
    let topics: Vec<String> = world.model.topics.keys().cloned().collect();
    for topic in topics {
        let wish = Wish {
            topic,
            queue_id: -1,
            most: 32,
            invisible_ms: 40_000,
            attempt: None,
        };
        let mut vain = 0;
        while vain < MOST_VAIN_POPS {
            world.model.orders.held.clear();
            if pop_as(world, &wish)? == 0 {
                let queues = world.model.topics.get(&wish.topic).copied().unwrap_or(0);
                let mut queues = (0..queues).map(|queue_id| (wish.topic.clone(), queue_id));
                if queues.all(|queue| world.model.next_in_order(&queue).next().is_none()) {
                    break;
                }
                vain += 1;
            }
            let held = std::mem::take(&mut world.model.orders.held);
            let keys: BTreeMap<Queue, Key> = held
                .iter()
                .map(|held| (held.key.queue.clone(), held.key.clone()))
                .collect();
            for key in keys.values() {
                let all: Vec<Held> = held.iter().filter(|held| held.key == *key).cloned().collect();
                ack_all(world, key, &all)?;
            }
        }
        ensure!(
            vain < MOST_VAIN_POPS,
            "messages of {} are left for {ORDERED}",
            wish.topic
        );
    }
    Ok(())
}

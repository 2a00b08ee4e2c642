//! Consumers pop, acknowledge, ask for more time, die; what they have not acknowledged comes back.

use std::time::Duration;

use remoting::body::fastjson;
use remoting::body::{BatchAck, BatchAckMessageRequestBody};
use remoting::codes::{request_code, response_code};
use remoting::header::{
    AckMessageRequestHeader, NotificationRequestHeader, PeekMessageRequestHeader, PollingInfoRequestHeader,
    PopMessageRequestHeader,
};
use remoting::request::OutgoingRequest;

use super::services::{catch_up, run_tick};
use super::{connection, note_answer, nothing, random_queue, stops};
use crate::checks::{self, Expect, Sent};
use crate::model::pops::{Held, Key, POPPERS, Poll, PopRecord, Popper};
use crate::world::{Answer, Tick, World};
use crate::{Violation, ensure};

/// So much sooner than its time is up a poll is answered.
const EARLY_MS: i64 = 50;
/// Pops in a row that find nothing, though there is something further on.
const MOST_VAIN_POPS: usize = 64;

fn random_poll(world: &World, takes: bool) -> Option<Poll> {
    let (topic, queue_id) = random_queue(world)?;
    let wait_ms = [0, 0, 5_000, 15_000][world.below(4) as usize];
    Some(Poll {
        connection: connection(world),
        opaque: 0,
        takes,
        popper: POPPERS[world.below(2) as usize],
        topic,
        queue_id: if world.below(2) == 0 { -1 } else { queue_id },
        most: [1, 2, 5, 32][world.below(4) as usize],
        invisible_ms: [500, 2_000, 5_000, 12_000, 40_000][world.below(5) as usize],
        deadline_ms: world.now_ms() + wait_ms - EARLY_MS,
        may_be_forgotten: false,
    })
}

/// A consumer takes messages, or waits for some.
pub fn pop(world: &mut World) -> Result<(), Violation> {
    let Some(poll) = random_poll(world, true) else {
        return Ok(());
    };
    pop_as(world, poll)?;
    // The offsets are written before anybody else flushes the log.
    match world.below(6) {
        0 => run_tick(world, Tick::Persist, false),
        _ => Ok(()),
    }
}

fn pop_as(world: &mut World, poll: Poll) -> Result<(), Violation> {
    let now_ms = world.now_ms();
    let header = PopMessageRequestHeader {
        consumer_group: poll.popper.group.into(),
        topic: poll.topic.as_str().into(),
        queue_id: poll.queue_id,
        max_msg_nums: poll.most as i32,
        invisible_time: poll.invisible_ms,
        poll_time: poll.deadline_ms + EARLY_MS - now_ms,
        born_time: now_ms,
        init_mode: 0,
        exp_type: Some("TAG".into()),
        exp: Some(poll.popper.tag.unwrap_or("*").into()),
        order: false,
        attempt_id: None,
    };
    let request = OutgoingRequest::new(request_code::POP_MESSAGE).header(&header);
    ask(world, poll, request, "pop")
}

/// A consumer asks whether there is anything, or waits until there is.
pub fn notify(world: &mut World) -> Result<(), Violation> {
    let Some(poll) = random_poll(world, false) else {
        return Ok(());
    };
    let now_ms = world.now_ms();
    let header = NotificationRequestHeader {
        consumer_group: poll.popper.group.into(),
        topic: poll.topic.as_str().into(),
        queue_id: poll.queue_id,
        poll_time: poll.deadline_ms + EARLY_MS - now_ms,
        born_time: now_ms,
        order: false,
        attempt_id: None,
        exp_type: Some("TAG".into()),
        exp: Some(poll.popper.tag.unwrap_or("*").into()),
    };
    let request = OutgoingRequest::new(request_code::NOTIFICATION).header(&header);
    polling_info(world, &poll)?;
    ask(world, poll, request, "notification")
}

fn ask(world: &mut World, poll: Poll, request: OutgoingRequest, what: &str) -> Result<(), Violation> {
    let from = world.model.log_end;
    let (opaque, answer) = world.call(poll.connection, request);
    let poll = Poll { opaque, ..poll };
    let what = format!(
        "{what} {opaque} of {} {} by {}, {} ms",
        poll.topic, poll.queue_id, poll.popper.group, poll.invisible_ms
    );
    note_answer(world, &what, answer.as_ref());
    checks::pops::take_answer(world, poll, answer.as_ref(), from)?;
    checks::after_step(world, &nothing(), None)
}

/// How many pops wait is told.
fn polling_info(world: &mut World, poll: &Poll) -> Result<(), Violation> {
    let header = PollingInfoRequestHeader {
        consumer_group: poll.popper.group.to_owned(),
        topic: poll.topic.clone(),
        queue_id: poll.queue_id,
    };
    let request = OutgoingRequest::new(request_code::POLLING_INFO).header(&header);
    let (_, answer) = world.call(0, request);
    let told = answer
        .ok_or("POLLING_INFO was not answered")?
        .number("pollingNum")?;
    let is_same = |other: &&Poll| {
        other.takes
            && other.popper == poll.popper
            && (&other.topic, other.queue_id) == (&poll.topic, poll.queue_id)
    };
    let waiting = world.model.pops.parked.iter().filter(is_same).count();
    ensure!(
        usize::try_from(told) == Ok(waiting),
        "{waiting} pops wait, the broker says {told}"
    );
    Ok(())
}

/// A look at what the next pop would bring takes nothing.
pub fn peek(world: &mut World) -> Result<(), Violation> {
    let Some(poll) = random_poll(world, false) else {
        return Ok(());
    };
    let header = PeekMessageRequestHeader {
        topic: poll.topic.as_str().into(),
        queue_id: poll.queue_id,
        max_msg_nums: poll.most as i32,
        consumer_group: poll.popper.group.into(),
    };
    let request = OutgoingRequest::new(request_code::PEEK_MESSAGE).header(&header);
    let (_, answer) = world.call(poll.connection, request);
    note_answer(world, &format!("peek of {}", poll.topic), answer.as_ref());
    let answer = answer.ok_or("a peek was not answered")?;
    is_peek_right(world, &poll, &answer)?;
    checks::after_step(world, &nothing(), None)
}

/// A peek has no filter.
fn is_peek_right(world: &World, poll: &Poll, answer: &Answer) -> Result<(), Violation> {
    if world.model.may_be_half_dispatched {
        return Ok(());
    }
    let of_all_tags = Poll {
        popper: Popper {
            tag: None,
            ..poll.popper
        },
        ..poll.clone()
    };
    let there = world.model.may_poll(&of_all_tags, world.has_retry_v2);
    let wanted = world.model.to_poll(poll, world.has_retry_v2);
    let (mut rest, mut count) = (&answer.body[..], 0);
    while !rest.is_empty() {
        let record = there.iter().find(|record| rest.starts_with(&record.bytes));
        let record = record.ok_or("a peek shows a message that no pop would bring")?;
        rest = &rest[record.bytes.len()..];
        count += 1;
    }
    ensure!(
        count > 0 || wanted.is_empty() || world.power_is_failing,
        "a peek shows nothing, and there are {:?}; lost was {:?}",
        wanted
            .iter()
            .map(|record| (record.at, &record.queue, record.queue_offset))
            .collect::<Vec<_>>(),
        world.model.lost
    );
    Ok(())
}

/// One of the messages that a consumer holds, or held once; the newest more often than an old one.
pub fn random_held(world: &World, held: &[Held]) -> Option<Held> {
    let last = match world.below(3) {
        0 => held.len(),
        _ => held.len().min(4),
    };
    let back = world.below(last as i32) as usize + 1;
    held.get(held.len().checked_sub(back)?).cloned()
}

/// The request that a message is consumed, which was popped with this handle.
pub fn ack_request(held: &Held, handle: &str, offset: i64) -> OutgoingRequest {
    OutgoingRequest::new(request_code::ACK_MESSAGE).header(&header_of(held, handle, offset))
}

/// The request that a message is visible again in so long.
pub fn change_request(held: &Held, handle: &str, invisible_ms: i64, suspend: bool) -> OutgoingRequest {
    // Its header has the fields of an ack, and two more.
    OutgoingRequest::new(request_code::CHANGE_MESSAGE_INVISIBLETIME)
        .header(&header_of(held, handle, held.offset))
        .field("invisibleTime", invisible_ms)
        .field("suspend", suspend)
}

fn header_of<'a>(held: &'a Held, handle: &'a str, offset: i64) -> AckMessageRequestHeader<'a> {
    AckMessageRequestHeader {
        consumer_group: held.key.group.as_str().into(),
        topic: held.key.queue.0.as_str().into(),
        queue_id: held.key.queue.1,
        extra_info: handle.into(),
        offset,
        lite_topic: None,
    }
}

/// A consumer has done its work, in time or late, or says so again.
pub fn ack(world: &mut World) -> Result<(), Violation> {
    let Some(held) = random_held(world, &world.model.pops.held) else {
        return Ok(());
    };
    let handle = held.handle();
    let request = ack_request(&held, &handle, held.offset);
    let what = format!("ack by {} of {:?} {handle}", held.key.group, held.key.queue);
    if world.below(4) != 0 {
        let is_other = |other: &Held| (&other.key, other.offset) != (&held.key, held.offset);
        world.model.pops.held.retain(is_other);
    }
    finish_ack(world, request, &[held], &what)
}

/// One who does the work of several acknowledges all of it at once.
pub fn ack_batch(world: &mut World) -> Result<(), Violation> {
    let Some(first) = random_held(world, &world.model.pops.held) else {
        return Ok(());
    };
    let is_with_it = |held: &Held| held.key.group == first.key.group;
    let done: Vec<Held> = world
        .model
        .pops
        .held
        .iter()
        .filter(|held| is_with_it(held))
        .cloned()
        .collect();
    let from = world.below(done.len() as i32) as usize;
    let end = (from + 1 + world.below(6) as usize).min(done.len());
    ack_all(world, &done[from..end])
}

fn ack_all(world: &mut World, done: &[Held]) -> Result<(), Violation> {
    let mut acks: Vec<(Key, BatchAck)> = Vec::new();
    for held in done {
        let bit = usize::try_from(held.offset - held.key.start_offset).map_err(|error| error.to_string())?;
        if let Some((_, ack)) = acks.iter_mut().find(|(key, _)| *key == held.key) {
            ack.bit_set.set(bit);
            continue;
        }
        let mut ack = BatchAck {
            consumer_group: held.key.group.clone(),
            topic: held.topic.clone(),
            retry: held.retry.to_string(),
            start_offset: held.key.start_offset,
            queue_id: held.key.queue.1,
            revive_queue_id: held.revive_queue as i32,
            pop_time_ms: held.key.pop_time_ms,
            invisible_time_ms: held.invisible_ms,
            ..BatchAck::default()
        };
        ack.bit_set.set(bit);
        acks.push((held.key.clone(), ack));
    }
    let is_done = |held: &Held| {
        done.iter()
            .any(|done| (&done.key, done.offset) == (&held.key, held.offset))
    };
    world.model.pops.held.retain(|held| !is_done(held));
    let body = BatchAckMessageRequestBody {
        broker_name: "broker-a".to_owned(),
        acks: acks.into_iter().map(|(_, ack)| ack).collect(),
    };
    let body = fastjson::to_vec(&body).map_err(|error| error.to_string())?;
    let request = OutgoingRequest::new(request_code::BATCH_ACK_MESSAGE).body(body);
    finish_ack(world, request, done, &format!("batch ack of {}", done.len()))
}

/// An ack is in the log, once for each pop, before it is answered. That of a message which is not there any more need not be.
fn finish_ack(
    world: &mut World,
    request: OutgoingRequest,
    done: &[Held],
    what: &str,
) -> Result<(), Violation> {
    let is_there = |held: &&Held| world.model.in_queue(&held.key.queue, held.offset).is_some();
    let mut missing: Vec<Held> = done.iter().filter(is_there).cloned().collect();
    let connection = connection(world);
    let end = world.model.log_end;
    let (opaque, answer) = world.call(connection, request);
    note_answer(world, what, answer.as_ref());
    let is_stored = answer
        .as_ref()
        .is_none_or(|answer| answer.code == response_code::SUCCESS);
    let remark = answer.as_ref().map_or("", |answer| &answer.remark).to_owned();
    // The messages of a handle may be gone from their queue.
    let may_be_illegal = remark.contains("offset is illegal");
    ensure!(
        is_stored || may_be_illegal || world.power_is_failing,
        "{what}: {remark}"
    );
    let sent = is_stored.then_some(Sent {
        connection,
        opaque,
        answer,
        waits: true,
        names_records: false,
    });
    checks::after_step(world, &Expect::OfConsumers, sent)?;
    for record in world.model.log.iter().filter(|record| record.at >= end) {
        if let Some(PopRecord::Ack { key, offsets }) = PopRecord::of(record) {
            missing.retain(|held| held.key != key || !offsets.contains(&held.offset));
        }
    }
    ensure!(
        !is_stored || missing.is_empty(),
        "{what}: answered, and not stored: {missing:?}"
    );
    Ok(())
}

/// A consumer needs more time, or gives a message back.
pub fn change_invisible_time(world: &mut World) -> Result<(), Violation> {
    let Some(held) = random_held(world, &world.model.pops.held) else {
        return Ok(());
    };
    // Checkpoints are told apart by their millisecond, as in the reference: it asks later than anybody popped.
    world.clock.advance(Duration::from_millis(1));
    let handle = held.handle();
    let invisible_ms = [0, 1_500, 6_000, 30_000][world.below(4) as usize];
    let suspend = world.below(4) == 0;
    let request = change_request(&held, &handle, invisible_ms, suspend);
    let what = format!(
        "{invisible_ms} ms more for {} of {:?} {handle}",
        held.key.group, held.key.queue
    );
    let is_other = |other: &Held| (&other.key, other.offset) != (&held.key, held.offset);
    world.model.pops.held.retain(is_other);
    let end = world.model.log_end;
    finish_change(world, request, &what)?;
    let new = world
        .model
        .pops
        .handouts
        .iter()
        .find(|handout| handout.checkpoint_at >= end);
    if let Some(new) = new {
        let key = new.key.clone();
        world.model.pops.held.push(Held {
            key,
            invisible_ms,
            ..held
        });
    }
    // A client that asks again has waited for an answer.
    world.clock.advance(Duration::from_millis(1));
    Ok(())
}

fn finish_change(world: &mut World, request: OutgoingRequest, what: &str) -> Result<(), Violation> {
    let connection = connection(world);
    let (opaque, answer) = world.call(connection, request);
    note_answer(world, what, answer.as_ref());
    let code = answer.as_ref().map(|answer| answer.code);
    let is_stored = code.is_none_or(|code| code == response_code::SUCCESS);
    let is_gone = code == Some(response_code::NO_MESSAGE);
    ensure!(is_stored || is_gone || world.power_is_failing, "{what}: {code:?}");
    let sent = is_stored.then_some(Sent {
        connection,
        opaque,
        answer,
        waits: true,
        names_records: false,
    });
    checks::after_step(world, &Expect::OfConsumers, sent)
}

/// A consumer needs more time, and the power fails before that is on the disk, or soon after it was answered. Then time passes:
/// an answered change holds, and the message comes when its new time is up. Without an answer, the old time may hold.
pub fn change_and_lose_power(world: &mut World) -> Result<(), Violation> {
    if world.power_is_failing {
        return stops::crash(world);
    }
    catch_up(world)?;
    if let Some(poll) = random_poll(world, true) {
        let deadline_ms = world.now_ms() - EARLY_MS;
        pop_as(world, Poll { deadline_ms, ..poll })?;
    }
    if world.below(2) == 0 {
        // What was handed out is on the disk, and the change alone may be lost.
        run_tick(world, Tick::Flush, false)?;
    }
    change_invisible_time(world)?;
    match world.below(4) {
        0 => {}
        1 => stops::write_back(world)?,
        2 => run_tick(world, Tick::Flush, false)?,
        _ => catch_up(world)?,
    }
    stops::crash(world)?;
    revive(world)
}

/// Handles that are none, of queues that are none, of times far away.
pub fn ack_nonsense(world: &mut World) -> Result<(), Violation> {
    let Some(held) = random_held(world, &world.model.pops.held) else {
        return Ok(());
    };
    let far = i64::MAX / 2;
    let (handle, offset) = match world.below(5) {
        0 => ("a b c".to_owned(), held.offset),
        1 => (
            Held {
                revive_queue: 77,
                ..held.clone()
            }
            .handle(),
            held.offset,
        ),
        2 => (
            Held {
                invisible_ms: far,
                ..held.clone()
            }
            .handle(),
            held.offset,
        ),
        3 => (held.handle(), far),
        _ => (String::new(), held.offset),
    };
    let request = ack_request(&held, &handle, offset);
    let (_, answer) = world.call(0, request);
    let what = format!("ack of {handle:?}");
    note_answer(world, &what, answer.as_ref());
    let code = answer.map(|answer| answer.code);
    ensure!(
        code.is_some_and(|code| code != response_code::SUCCESS),
        "{what}: {code:?}"
    );
    checks::after_step(world, &nothing(), None)
}

/// Time passes, and what was not acknowledged comes back.
pub fn revive(world: &mut World) -> Result<(), Violation> {
    let ms = [300, 3_000, 9_000, 20_000][world.below(4) as usize];
    pass_and_revive(world, u64::from(world.below(ms).unsigned_abs()))
}

fn pass_and_revive(world: &mut World, ms: u64) -> Result<(), Violation> {
    world.note(format!("  {ms} ms pass"));
    world.clock.advance(Duration::from_millis(ms));
    // One round to finish what the horizon waited for, one that goes up to now, one for what follows from it.
    for _ in 0..3 {
        catch_up(world)?;
        run_tick(world, Tick::Revive, false)?;
    }
    catch_up(world)?;
    if world.power_is_failing || world.now_ms() < world.timer_waits_until_ms {
        return Ok(());
    }
    let until_ms = world.now_ms() - world.timer_precision_ms;
    world.model.everything_came_back(until_ms)
}

/// A topic is deleted, and with it the retry topics of its groups.
pub fn forget_topic(world: &mut World, topic: &str) {
    let retry_topics = POPPERS.map(|popper| popper.retry_topic(topic, world.has_retry_v2));
    let store = world.store();
    let model = &mut world.model;
    model.orders.forget_topic(topic);
    model.forget_handouts(topic);
    model.pops.held.retain(|held| held.topic != topic);
    for retry_topic in retry_topics {
        let is_gone = store.max_offset(&retry_topic, 0) == 0;
        let was_there = model.next_offsets.remove(&(retry_topic.clone(), 0));
        match was_there.filter(|_| !is_gone) {
            Some(next) => drop(model.next_offsets.insert((retry_topic, 0), next)),
            None => {
                model.forget_handouts(&retry_topic);
                model.deleted.insert(retry_topic, model.log_end);
            }
        }
    }
}

/// At the end: the groups that popped take everything there is, what they hold comes back, and all of it is done.
pub fn all_consumed(world: &mut World) -> Result<(), Violation> {
    if world.model.pops.handouts.is_empty() {
        return Ok(());
    }
    // The longest invisible time, and whatever waits for it.
    pass_and_revive(world, 60_000)?;
    for _ in 0..2 {
        for popper in POPPERS {
            let topics: Vec<String> = world.model.topics.keys().cloned().collect();
            for topic in topics {
                take_all(world, popper, &topic)?;
            }
        }
        // What was acknowledged just now must not be there in the second round.
        pass_and_revive(world, 60_000)?;
    }
    Ok(())
}

/// A group takes and acknowledges all that there is in a topic. Some pops find none of the messages that it wants.
fn take_all(world: &mut World, popper: Popper, topic: &str) -> Result<(), Violation> {
    let mut vain = 0;
    loop {
        let poll = Poll {
            connection: 0,
            opaque: 0,
            takes: true,
            popper,
            topic: topic.to_owned(),
            queue_id: -1,
            most: 32,
            invisible_ms: 40_000,
            deadline_ms: world.now_ms() - EARLY_MS,
            may_be_forgotten: false,
        };
        let left = world.model.to_poll(&poll, world.has_retry_v2).len();
        pop_as(world, poll)?;
        let held = std::mem::take(&mut world.model.pops.held);
        let held: Vec<Held> = held
            .into_iter()
            .filter(|held| held.key.group == popper.group)
            .collect();
        if held.is_empty() && left == 0 {
            return Ok(());
        }
        if held.is_empty() {
            vain += 1;
            ensure!(
                vain < MOST_VAIN_POPS,
                "{left} messages of {topic} are left for {}",
                popper.group
            );
            continue;
        }
        ack_all(world, &held)?;
    }
}

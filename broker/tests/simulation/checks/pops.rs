//! Answers to pops, and who waits for one.

use std::collections::{BTreeMap, BTreeSet};

use common::message::properties::{self, name};
use remoting::codes::response_code;
use remoting::request::Call;
use store::record;

use super::{Expect, take_records};
use crate::model::Model;
use crate::model::pops::{Held, Poll};
use crate::world::{Answer, World};
use crate::{Violation, ensure};

/// A request later than its own waiting time by more is not served.
const TOO_LATE_MS: i64 = 500;
/// So much sooner than its time is up a poll is answered.
const EARLY_MS: i64 = 50;
/// Consumers hold so many messages at most.
const MOST_HELD: usize = 64;

/// The poll that waits under this name, which waits no more.
pub fn take_parked(model: &mut Model, connection: usize, opaque: i32) -> Option<Poll> {
    let parked = &mut model.pops.parked;
    let index = parked
        .iter()
        .position(|poll| poll.connection == connection && poll.opaque == opaque)?;
    Some(parked.remove(index))
}

/// A poll is looked at again. It may wait on.
pub fn resume(world: &mut World, poll: Poll, call: &Call) -> Result<(), Violation> {
    let from = world.model.log_end;
    let answer = world.handle_resumed(call);
    let code = answer.as_ref().map(|answer| answer.code);
    world.note(format!("    poll {} resumed: {code:?}", poll.opaque));
    take_answer(world, poll, answer.as_ref(), from)
}

/// Takes the answer to a poll, or that there is none yet. `from` is where the log ended before.
pub fn take_answer(
    world: &mut World,
    poll: Poll,
    answer: Option<&Answer>,
    from: u64,
) -> Result<(), Violation> {
    take_records(world, &Expect::OfPops)?;
    let Some(answer) = answer else {
        ensure!(
            world.model.log_end == from,
            "poll {} waits and took something",
            poll.opaque
        );
        ensure!(
            poll.deadline_ms > world.now_ms(),
            "poll {} waits, its time is up",
            poll.opaque
        );
        world.model.pops.parked.push(poll);
        return Ok(());
    };
    if poll.takes {
        is_pop_right(world, &poll, answer, from)
    } else {
        is_notification_right(world, &poll, answer)
    }
}

fn is_pop_right(world: &mut World, poll: &Poll, answer: &Answer, from: u64) -> Result<(), Violation> {
    let handed_out: Vec<_> = world
        .model
        .pops
        .handouts
        .iter()
        .filter(|handout| handout.checkpoint_at >= from)
        .cloned()
        .collect();
    let what = format!(
        "pop {} of {} {} by {}: {} {}",
        poll.opaque, poll.topic, poll.queue_id, poll.popper.group, answer.code, answer.remark
    );
    match answer.code {
        response_code::SUCCESS => {}
        response_code::POLLING_TIMEOUT | response_code::POLLING_FULL => {
            ensure!(handed_out.is_empty(), "{what}: {handed_out:?}");
            return nothing_was_missed(world, poll, answer, &what);
        }
        _ => {
            let is_gone = !world.model.topics.contains_key(&poll.topic);
            ensure!(is_gone || world.power_is_failing, "{what}");
            return Ok(());
        }
    }
    let starts = starts_of(answer);
    let (popped_ms, revive_queue) = (answer.number("popTime")?, answer.number("reviveQid")?);
    let (mut rest, mut count) = (&answer.body[..], 0);
    while !rest.is_empty() {
        let record = record::decode(rest).map_err(|error| format!("{what}: {error}"))?;
        rest = &rest[record.size_bytes as usize..];
        count += 1;
        let at = record.physical_offset.0;
        let message = world.model.at(at);
        let message = message.ok_or_else(|| format!("{what}: no message at {at}"))?;
        ensure!(record.body == message.body, "{what}: not the message at {at}");
        let handout = handed_out.iter().find(|handout| handout.message_at == at);
        let handout = handout.ok_or_else(|| format!("{what}: no checkpoint of the message at {at}"))?;
        ensure!(
            handout.key.pop_time_ms == popped_ms && handout.due_ms == popped_ms + poll.invisible_ms,
            "{what}: popped at {popped_ms}, the checkpoint says {handout:?}"
        );
        let retry = match (message.queue.0 == poll.topic, world.has_retry_v2) {
            (true, _) => '0',
            (false, false) => '1',
            (false, true) => '2',
        };
        let held = Held {
            key: handout.key.clone(),
            topic: poll.topic.clone(),
            offset: handout.offset,
            invisible_ms: poll.invisible_ms,
            revive_queue,
            retry,
        };
        let start = starts.get(&(retry, handout.key.queue.1)).copied();
        ensure!(
            start == Some(handout.key.start_offset),
            "{what}: the lists say {start:?} for {handout:?}"
        );
        let in_record = properties::get(record.properties, name::POP_CK);
        ensure!(
            in_record == (retry != '0').then(|| held.handle()).as_deref(),
            "{what}: the handle is {in_record:?}, must be {}",
            held.handle()
        );
        let held_by_all = &mut world.model.pops.held;
        held_by_all.push(held);
        if held_by_all.len() > MOST_HELD {
            held_by_all.remove(0);
        }
    }
    ensure!(
        count == handed_out.len() && (1..=poll.most).contains(&count),
        "{what}: {count} messages, of {} there are checkpoints",
        handed_out.len()
    );
    Ok(())
}

/// `startOffsetInfo`: by digit of the topic and queue.
pub fn starts_of(answer: &Answer) -> BTreeMap<(char, i32), i64> {
    let list = answer.fields.get("startOffsetInfo").map_or("", String::as_str);
    let entries = list.split(';').filter_map(|entry| {
        let mut words = entry.split(' ');
        let retry = words.next()?.chars().next()?;
        Some(((retry, words.next()?.parse().ok()?), words.next()?.parse().ok()?))
    });
    entries.collect()
}

/// A pop that brought nothing: there was nothing, or the client is told that it must ask again.
fn nothing_was_missed(world: &World, poll: &Poll, answer: &Answer, what: &str) -> Result<(), Violation> {
    let is_late = world.now_ms() > poll.deadline_ms + EARLY_MS + TOO_LATE_MS;
    if is_late || world.power_is_failing || world.model.may_be_half_dispatched {
        return Ok(());
    }
    let missed = world.model.to_poll(poll, world.has_retry_v2);
    // It may have stopped among messages of other tags, or where messages were lost.
    let may_stop = poll.popper.tag.is_some() || !world.model.lost.is_empty();
    let is_told = may_stop && answer.number("restNum")? > 0;
    ensure!(
        missed.is_empty() || is_told,
        "{what}: there are {:?}; lost was {:?}",
        missed
            .iter()
            .map(|record| (record.at, &record.queue, record.queue_offset))
            .collect::<Vec<_>>(),
        world.model.lost
    );
    Ok(())
}

fn is_notification_right(world: &mut World, poll: &Poll, answer: &Answer) -> Result<(), Violation> {
    let what = format!(
        "notification {} of {} {} by {}: {}",
        poll.opaque, poll.topic, poll.queue_id, poll.popper.group, answer.code
    );
    if answer.code != response_code::SUCCESS {
        let is_gone = !world.model.topics.contains_key(&poll.topic);
        ensure!(is_gone, "{what} {}", answer.remark);
        return Ok(());
    }
    let has_message = answer.fields.get("hasMsg").map(String::as_str) == Some("true");
    let must = world.model.to_poll(poll, world.has_retry_v2).len();
    let may = world.model.may_poll(poll, world.has_retry_v2).len();
    ensure!(
        world.model.may_be_half_dispatched || if has_message { may > 0 } else { must == 0 },
        "{what}: says {has_message}, there are {must} to {may}"
    );
    if has_message {
        let noticed = (poll.popper.group, poll.topic.clone());
        world.model.pops.noticed.insert(noticed);
    }
    Ok(())
}

/// No pop waits for a message that is there. Of the notifications of a group one was answered.
pub fn nobody_is_forgotten(world: &mut World) -> Result<(), Violation> {
    let (failing, has_v2) = (world.power_is_failing, world.has_retry_v2);
    let model = &mut world.model;
    for poll in &mut model.pops.parked {
        poll.may_be_forgotten |= failing;
    }
    let noticed = std::mem::take(&mut model.pops.noticed);
    let mut still = BTreeSet::new();
    for poll in &model.pops.parked {
        let there = model.to_poll(poll, has_v2);
        if there.is_empty() {
            continue;
        }
        let group_and_topic = (poll.popper.group, poll.topic.clone());
        let is_forgotten = poll.takes || !noticed.contains(&group_and_topic);
        still.insert(group_and_topic);
        ensure!(
            poll.may_be_forgotten || !is_forgotten,
            "poll {} of {} {} by {} waits, the message at {} is there",
            poll.opaque,
            poll.topic,
            poll.queue_id,
            poll.popper.group,
            there[0].at
        );
    }
    model.pops.noticed = noticed.intersection(&still).cloned().collect();
    Ok(())
}

/// After the expiry of polls has run.
pub fn no_poll_is_overdue(world: &World) -> Result<(), Violation> {
    let now_ms = world.now_ms();
    match world
        .model
        .pops
        .parked
        .iter()
        .find(|poll| poll.deadline_ms <= now_ms)
    {
        Some(poll) => Err(format!("poll {} still waits, its time is up", poll.opaque)),
        None => Ok(()),
    }
}

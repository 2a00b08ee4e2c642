//! Consumers pull and commit; an operator sets them back.

use remoting::codes::{request_code, response_code};
use remoting::header::{
    PullMessageRequestHeader, ResetOffsetRequestHeader, UpdateConsumerOffsetRequestHeader,
};
use remoting::request::OutgoingRequest;

use super::{GROUPS, connection, must_succeed, note_answer, nothing, random_queue};
use crate::checks;
use crate::model::filters::{self, Filter};
use crate::model::{ParkedPull, Progress, Queue};
use crate::world::{Answer, World};
use crate::{Violation, ensure};

/// A pull, and what its answer is measured by.
pub struct NewPull {
    pub request: OutgoingRequest,
    pub group: &'static str,
    pub queue: Queue,
    pub offset: i64,
    pub filter: Filter,
    /// Whether it may wait for a message.
    pub suspends: bool,
}

pub fn pull(world: &mut World) -> Result<(), Violation> {
    match random_queue(world) {
        Some(queue) => pull_of(world, &queue, GROUPS),
        None => Ok(()),
    }
}

/// One of the groups pulls a queue.
pub fn pull_of(world: &mut World, queue: &Queue, groups: [&'static str; 2]) -> Result<(), Violation> {
    let pull = new_pull(world, queue, groups);
    let connection = connection(world);
    let (opaque, answer) = world.call(connection, pull.request.clone());
    take_pull(world, pull, connection, opaque, answer)?;
    checks::after_step(world, &nothing(), None)
}

pub fn new_pull(world: &World, queue: &Queue, groups: [&'static str; 2]) -> NewPull {
    let end = world.model.visible_end(queue) as i64;
    let offset = match world.below(4) {
        0 => i64::from(world.below(end as i32 + 2)),
        1 => (end - 3).max(0),
        _ => end,
    };
    let filter = match world.below(2) {
        0 => filters::FILTERS[world.below(filters::FILTERS.len() as i32) as usize],
        _ => filters::ALL,
    };
    let group = groups[world.below(2) as usize];
    let suspends = world.below(3) != 0;
    let header = PullMessageRequestHeader {
        consumer_group: group.into(),
        topic: queue.0.as_str().into(),
        queue_id: queue.1,
        queue_offset: offset,
        max_msg_nums: 1 + world.below(16),
        sys_flag: 4 | if suspends { 2 } else { 0 },
        suspend_timeout_millis: 15_000,
        subscription: Some(filter.expression.into()),
        expression_type: Some(if filter.is_sql { "SQL92" } else { "TAG" }.into()),
        ..Default::default()
    };
    NewPull {
        request: OutgoingRequest::new(request_code::PULL_MESSAGE).header(&header),
        group,
        queue: queue.clone(),
        offset,
        filter,
        suspends,
    }
}

/// Takes in what came of a pull: an answer, or nothing yet.
pub fn take_pull(
    world: &mut World,
    pull: NewPull,
    connection: usize,
    opaque: i32,
    answer: Option<Answer>,
) -> Result<(), Violation> {
    let NewPull {
        group,
        queue,
        offset,
        filter,
        suspends,
        ..
    } = pull;
    note_answer(
        world,
        &format!("pull {opaque} of {queue:?} from {offset} {filter:?}"),
        answer.as_ref(),
    );
    let now_ms = common::clock::Clock::wall_ms(&*world.clock);
    let pull = ParkedPull {
        connection,
        opaque,
        queue: queue.clone(),
        offset,
        filter,
        deadline_ms: now_ms + 15_000,
    };
    match answer {
        Some(answer) => {
            if answer.remark == "OFFSET_RESET" {
                let key = (group.to_owned(), queue);
                world.model.resets.remove(&key);
                world.model.told_resets.insert(key);
            }
            checks::is_pull_right(&world.model, &pull, &answer)
        }
        None => {
            ensure!(suspends, "pull {opaque} waits and must not");
            world.model.parked.push(pull);
            Ok(())
        }
    }
}

pub fn commit(world: &mut World) -> Result<(), Violation> {
    match random_queue(world) {
        Some(queue) => commit_in(world, queue, GROUPS),
        None => Ok(()),
    }
}

/// One of the groups goes on in a queue.
pub fn commit_in(world: &mut World, queue: Queue, groups: [&str; 2]) -> Result<(), Violation> {
    let group = groups[world.below(2) as usize].to_owned();
    let key = (group.clone(), queue.clone());
    let present = world
        .model
        .offsets
        .get(&key)
        .and_then(|progress| progress.values.last().copied());
    let offset = present.unwrap_or(0) + i64::from(1 + world.below(5));
    let header = UpdateConsumerOffsetRequestHeader {
        consumer_group: group.as_str().into(),
        topic: queue.0.as_str().into(),
        queue_id: queue.1,
        commit_offset: offset,
        logical: None,
    };
    let request = OutgoingRequest::new(request_code::UPDATE_CONSUMER_OFFSET).header(&header);
    let connection = connection(world);
    let (_, answer) = world.call(connection, request);
    note_answer(
        world,
        &format!("commit {offset} by {group} in {queue:?}"),
        answer.as_ref(),
    );
    let answer = answer.ok_or("a commit was not answered")?;
    ensure!(answer.code == response_code::SUCCESS, "commit: {}", answer.remark);
    let wanted = if answer.remark == "Offset has been previously reset" {
        ensure!(
            world.model.resets.contains(&key),
            "a commit was ignored for a reset that never was"
        );
        present
    } else {
        let progress = world.model.offsets.entry(key).or_insert_with(|| Progress {
            values: Vec::new(),
            may_be_missing: true,
        });
        progress.values.push(offset);
        Some(offset)
    };
    let found = checks::query_offset(world, &group, &queue)?;
    ensure!(found == wanted, "committed {wanted:?}, the broker says {found:?}");
    checks::after_step(world, &nothing(), None)
}

/// An operator sets a group back.
pub fn reset(world: &mut World) -> Result<(), Violation> {
    let group = GROUPS[world.below(2) as usize];
    let Some((queue, offset)) = reset_group(world, group)? else {
        return Ok(());
    };
    let key = (group.to_owned(), queue);
    let progress = world.model.offsets.entry(key.clone()).or_default();
    progress.values.push(offset);
    world.model.resets.insert(key);
    offsets_are_durable(world);
    checks::after_step(world, &nothing(), None)
}

/// An operator sends a group to some offset of some queue.
pub fn reset_group(world: &mut World, group: &str) -> Result<Option<(Queue, i64)>, Violation> {
    let Some(queue) = random_queue(world).filter(|_| !world.power_is_failing) else {
        return Ok(None);
    };
    let min = world.store().min_offset(&queue.0, queue.1).max(0);
    let end = world.model.visible_end(&queue) as i64;
    let offset = min + i64::from(world.below((end - min) as i32 + 1));
    let header = ResetOffsetRequestHeader {
        group: group.to_owned(),
        topic: queue.0.clone(),
        queue_id: queue.1,
        offset: Some(offset),
        timestamp: -1,
        is_force: true,
    };
    must_succeed(
        world,
        OutgoingRequest::new(request_code::INVOKE_BROKER_TO_RESET_OFFSET).header(&header),
    )?;
    world.note(format!("  reset {group} in {queue:?} to {offset}"));
    Ok(Some((queue, offset)))
}

/// What was committed so far survives.
pub fn offsets_are_durable(world: &mut World) {
    world.model.told_resets.clear();
    world.model.orders.are_durable();
    world.model.lites.are_durable();
    for progress in world.model.offsets.values_mut() {
        progress.may_be_missing = false;
        progress.values.drain(..progress.values.len() - 1);
    }
}

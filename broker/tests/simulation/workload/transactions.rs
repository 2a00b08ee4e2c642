//! Half messages come in, and their producers say how their transactions ended: once, again, late, from any connection.
//!
//! A producer never changes its mind: its decision follows from the message's key. So whatever is asked again, and
//! whatever a crash took, a message of the one kind is visible once at the end, and one of the other never.

use common::message::properties::{self, name};
use common::message::sys_flag;
use common::names::TRANS_HALF_TOPIC;
use remoting::codes::{request_code, response_code};
use remoting::header::EndTransactionRequestHeader;
use remoting::request::OutgoingRequest;

use super::sends::{finish_send, new_properties};
use super::services::run_tick;
use super::{connection, note_answer, nothing, random_queue};
use crate::checks::{self, Expect, Sent};
use crate::model::{HALF_QUEUE, Logged, Queue, Unanswered, Wanted};
use crate::world::{Answer, Tick, World, send_request};
use crate::{Violation, ensure};

const PRODUCERS: &str = "producers";

/// A producer sends a half message.
pub fn send_half(world: &mut World) -> Result<(), Violation> {
    let Some(queue) = random_queue(world) else {
        return Ok(());
    };
    let body = world.new_body();
    let mut pairs = new_properties(world);
    pairs.push((name::TRANSACTION_PREPARED, "true".to_owned()));
    pairs.push((name::PRODUCER_GROUP, PRODUCERS.to_owned()));
    let mut text = String::new();
    for (name, value) in &pairs {
        properties::push(&mut text, name, value);
    }
    let now_ms = common::clock::Clock::wall_ms(&*world.clock);
    let request = send_request((&queue.0, queue.1), &text, body.clone(), false, now_ms);
    pairs.push((name::REAL_TOPIC, queue.0.clone()));
    pairs.push((name::REAL_QUEUE_ID, queue.1.to_string()));
    let wanted = Wanted {
        queue: (TRANS_HALF_TOPIC.to_owned(), HALF_QUEUE),
        body,
        properties: pairs,
    };
    let what = format!("half message to {queue:?}");
    finish_send(world, request, vec![wanted], true, &what)
}

/// A producer says how a transaction ended: of any half message that is still in the log, ended or not.
pub fn end(world: &mut World) -> Result<(), Violation> {
    let halves: Vec<Logged> = world.model.halves().cloned().collect();
    if halves.is_empty() {
        return Ok(());
    }
    let half = &halves[world.below(halves.len() as i32) as usize];
    end_of(world, half)?;
    // The note of it is written before anybody else flushes the log.
    match world.below(4) {
        0 => run_tick(world, Tick::TransactionOps, false),
        _ => Ok(()),
    }
}

/// Every transaction whose half message is in the log ends.
pub fn end_all(world: &mut World) -> Result<(), Violation> {
    let halves: Vec<Logged> = world.model.halves().cloned().collect();
    for half in &halves {
        end_of(world, half)?;
    }
    for half in &halves {
        let visible = world.model.visible_copies(half.property(name::UNIQ_KEY)).count();
        let wanted = usize::from(is_commit(half));
        ensure!(
            visible == wanted || (visible < wanted && !world.model.lost.is_empty()),
            "the half message at {} is visible {visible} times, its producer wants {wanted}",
            half.at
        );
    }
    Ok(())
}

/// What the producer of a half message has decided.
fn is_commit(half: &Logged) -> bool {
    half.property(name::UNIQ_KEY)
        .ends_with(['0', '1', '2', '4', '6', '8'])
}

fn end_of(world: &mut World, half: &Logged) -> Result<(), Violation> {
    let header = EndTransactionRequestHeader {
        topic: Some(half.property(name::REAL_TOPIC).into()),
        producer_group: PRODUCERS.into(),
        tran_state_table_offset: half.queue_offset as i64,
        commit_log_offset: half.at as i64,
        commit_or_rollback: match is_commit(half) {
            true => sys_flag::TRANSACTION_COMMIT,
            false => sys_flag::TRANSACTION_ROLLBACK,
        },
        from_transaction_check: world.below(2) == 0,
        msg_id: None,
        transaction_id: None,
    };
    let request = OutgoingRequest::new(request_code::END_TRANSACTION).header(&header);
    let connection = connection(world);
    let (opaque, answer) = world.call(connection, request);
    let what = format!("end of {} at {}", half.property(name::UNIQ_KEY), half.at);
    note_answer(world, &what, answer.as_ref());
    let is_ended = answer
        .as_ref()
        .is_none_or(|answer| answer.code == response_code::SUCCESS);
    let remark = answer.as_ref().map_or("", |answer| &answer.remark);
    let key = half.property(name::UNIQ_KEY);
    let is_visible = world.model.visible_copies(key).next().is_some();
    // So long ago that nobody knows how.
    let may_be_over = remark.contains("is over") && (is_visible || !is_commit(half));
    ensure!(
        is_ended || may_be_over || world.power_is_failing,
        "{what}: {remark}"
    );
    let is_stored = world.store().state().commit_log_max.0 > world.model.log_end;
    let may_be_lost = !world.model.lost.is_empty();
    ensure!(
        !is_ended || !is_commit(half) || is_visible || is_stored || may_be_lost,
        "{what}: committed, and the message is not there"
    );
    ensure!(!is_visible || !is_stored, "{what}: the message is there twice");
    if !(is_ended && is_commit(half)) {
        ensure!(answer.is_some(), "{what}: nothing was stored, and it waits");
        return checks::after_step(world, &nothing(), None);
    }
    if !is_stored {
        return repeated(world, half, (connection, opaque), answer);
    }
    let sent = Sent {
        connection,
        opaque,
        answer,
        waits: true,
        names_records: false,
    };
    checks::after_step(world, &Expect::Records(vec![committed(half)?]), Some(sent))
}

/// A commit that was there before: what followed from the first is as safe as this answer says.
fn repeated(
    world: &mut World,
    half: &Logged,
    request: (usize, i32),
    answer: Option<Answer>,
) -> Result<(), Violation> {
    let copies = world.model.visible_copies(half.property(name::UNIQ_KEY));
    let places = copies.map(|record| record.at).collect();
    ensure!(
        world.is_sync == answer.is_none(),
        "a repeated commit waits for the disk when the first did, and else not"
    );
    if answer.is_none() {
        let waiting = Unanswered {
            places,
            names_records: false,
        };
        world.model.unanswered.insert(request, waiting);
    }
    checks::after_step(world, &nothing(), None)
}

/// The message that its consumers see.
fn committed(half: &Logged) -> Result<Wanted, Violation> {
    let queue_id = half.property(name::REAL_QUEUE_ID).parse();
    let queue: Queue = (
        half.property(name::REAL_TOPIC).to_owned(),
        queue_id.map_err(|_| "a half message without its queue")?,
    );
    Ok(Wanted {
        queue,
        body: half.body.clone(),
        properties: vec![
            (name::UNIQ_KEY, half.property(name::UNIQ_KEY).to_owned()),
            (name::TAGS, half.property(name::TAGS).to_owned()),
            (name::REAL_TOPIC, String::new()),
        ],
    })
}

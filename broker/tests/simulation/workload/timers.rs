//! Messages with a delivery time come in: soon, late, past it already. Some are taken back. Time passes and they leave.

use std::time::Duration;

use common::message::properties::name;
use common::names::TIMER_TOPIC;
use remoting::body::TimerMetricsSerializeWrapper;
use remoting::body::fastjson;
use remoting::codes::{request_code, response_code};
use remoting::header::RecallMessageRequestHeader;
use remoting::request::OutgoingRequest;

use super::sends::{finish_send, new_properties, text_of};
use super::{connection, note_answer, nothing, random_queue, services, stops};
use crate::checks::{self, Expect, Sent};
use crate::model::{Logged, Queue, Wanted};
use crate::world::{Tick, World, send_request};
use crate::{Violation, ensure};

/// Longest delay, ms.
const MAX_DELAY_MS: i64 = 259_200_000;
/// Delays reach so far, ms: into the slot of now, the next ones, beyond the roll window.
const REACHES_MS: [i32; 5] = [300, 3_000, 9_000, 25_000, 70_000];

/// A producer sends a message for later.
pub fn send(world: &mut World) -> Result<(), Violation> {
    let Some(queue) = random_queue(world) else {
        return Ok(());
    };
    let body = world.new_body();
    let mut pairs = new_properties(world);
    let now_ms = world.now_ms();
    let delay_ms = 1 + i64::from(world.below(REACHES_MS[world.below(5) as usize]));
    let (timer, deliver_ms) = match world.below(8) {
        0 => {
            let past_ms = now_ms - delay_ms;
            ((name::TIMER_DELIVER_MS, past_ms), past_ms)
        }
        1 => {
            let far_ms = MAX_DELAY_MS + delay_ms;
            ((name::TIMER_DELAY_MS, far_ms), now_ms + far_ms)
        }
        2 => {
            let seconds = delay_ms / 1_000;
            ((name::TIMER_DELAY_SEC, seconds), now_ms + seconds * 1_000)
        }
        3 | 4 => ((name::TIMER_DELAY_MS, delay_ms), now_ms + delay_ms),
        _ => {
            let deliver_ms = now_ms + delay_ms;
            ((name::TIMER_DELIVER_MS, deliver_ms), deliver_ms)
        }
    };
    let mut wanted = Wanted {
        queue: queue.clone(),
        body: body.clone(),
        properties: pairs.clone(),
    };
    pairs.push((timer.0, timer.1.to_string()));
    let request = send_request((&queue.0, queue.1), &text_of(&pairs), body, false, now_ms);
    let what = format!("send to {queue:?} for {deliver_ms}, now is {now_ms}");
    if deliver_ms - now_ms > MAX_DELAY_MS {
        let (_, answer) = world.call(0, request);
        note_answer(world, &what, answer.as_ref());
        let code = answer.map(|answer| answer.code);
        ensure!(code == Some(response_code::MESSAGE_ILLEGAL), "{what}: {code:?}");
        return checks::after_step(world, &nothing(), None);
    }
    if deliver_ms > now_ms {
        waits_for(&mut wanted, slot_before(deliver_ms, world.timer_precision_ms));
    }
    finish_send(world, request, vec![wanted], true, &what)
}

/// What is stored of a message for later.
fn waits_for(wanted: &mut Wanted, out_ms: i64) {
    let (topic, queue_id) = std::mem::replace(&mut wanted.queue, (TIMER_TOPIC.to_owned(), 0));
    wanted.properties.push((name::REAL_TOPIC, topic));
    wanted
        .properties
        .push((name::REAL_QUEUE_ID, queue_id.to_string()));
    wanted.properties.push((name::TIMER_OUT_MS, out_ms.to_string()));
}

/// The last slot that begins before a time.
fn slot_before(time_ms: i64, precision_ms: i64) -> i64 {
    (time_ms - 1) / precision_ms * precision_ms
}

/// A producer takes a message back: one that waits, one that left, one that nobody knows.
pub fn recall(world: &mut World) -> Result<(), Violation> {
    let sent: Vec<Logged> = world
        .model
        .waiting()
        .filter(|record| !record.recall_handle().is_empty())
        .cloned()
        .collect();
    if sent.is_empty() {
        return Ok(());
    }
    let message = &sent[world.below(sent.len() as i32) as usize];
    let topic = message.property(name::REAL_TOPIC).to_owned();
    let (key, handle) = match world.below(8) {
        0 => {
            let mut unknown = message.clone();
            unknown
                .properties
                .insert(name::UNIQ_KEY.to_owned(), "unknown".to_owned());
            ("unknown".to_owned(), unknown.recall_handle())
        }
        1 => (String::new(), "bm8gaGFuZGxl".to_owned()),
        _ => (
            message.property(name::UNIQ_KEY).to_owned(),
            message.recall_handle(),
        ),
    };
    let header = RecallMessageRequestHeader {
        producer_group: Some("producers".to_owned()),
        topic: topic.clone(),
        recall_handle: Some(handle),
    };
    let request = OutgoingRequest::new(request_code::RECALL_MESSAGE).header(&header);
    let connection = connection(world);
    let (opaque, answer) = world.call(connection, request);
    let now_ms = world.now_ms();
    let what = format!("recall of {key:?}, slot {}, now is {now_ms}", message.out_ms());
    note_answer(world, &what, answer.as_ref());
    let is_late = now_ms > message.out_ms();
    let code = answer.as_ref().map(|answer| answer.code);
    let is_stored = code.is_none_or(|code| code == response_code::SUCCESS);
    let refusal = match world.model.topics.contains_key(&topic) {
        false => Some(response_code::TOPIC_NOT_EXIST),
        true if key.is_empty() || is_late => Some(response_code::ILLEGAL_OPERATION),
        true => None,
    };
    if !is_stored {
        ensure!(
            code == refusal || world.power_is_failing,
            "{what}: {code:?}, must be {refusal:?}"
        );
        return checks::after_step(world, &nothing(), None);
    }
    ensure!(
        refusal.is_none(),
        "{what}: taken, and must be refused with {refusal:?}"
    );
    let wanted = Wanted {
        queue: (TIMER_TOPIC.to_owned(), 0),
        body: b"0".to_vec(),
        properties: vec![
            (name::TIMER_DEL_UNIQKEY, key),
            (name::TIMER_OUT_MS, message.out_ms().to_string()),
        ],
    };
    let sent = Sent {
        connection,
        opaque,
        answer,
        waits: true,
        names_records: false,
    };
    checks::after_step(world, &Expect::Records(vec![wanted]), Some(sent))
}

/// Time passes, and everything that became due leaves.
pub fn deliver(world: &mut World) -> Result<(), Violation> {
    let ms = match world.below(3) {
        0 => world.below(400),
        1 => world.below(3_000),
        _ => world.below(12_000),
    };
    world.note(format!("  {ms} ms pass"));
    world
        .clock
        .advance(Duration::from_millis(ms.unsigned_abs().into()));
    if world.below(3) == 0 {
        // Its progress is written before anybody else flushes the log.
        for tick in [Tick::Dispatch, Tick::Timer, Tick::TimerFlush] {
            services::run_tick(world, tick, false)?;
        }
        return Ok(());
    }
    services::catch_up(world)?;
    nothing_is_overdue(world)
}

/// Many messages wait in one slot, and the broker stops when some of them have left: the rest is filed anew, on more than a
/// page, and the power may fail meanwhile.
pub fn stop_in_slot(world: &mut World) -> Result<(), Violation> {
    if world.power_is_failing {
        return stops::crash(world);
    }
    let Some(queue) = random_queue(world) else {
        return Ok(());
    };
    let width_ms = world.timer_precision_ms as i32;
    let out_ms = slot_before(world.now_ms(), world.timer_precision_ms) + 2 * world.timer_precision_ms;
    for _ in 0..[5, 100][world.below(2) as usize] {
        let due_ms = out_ms + 1 + i64::from(world.below(width_ms));
        send_for(world, &queue, due_ms, out_ms)?;
    }
    for _ in 0..world.below(3) {
        recall(world)?;
    }
    services::catch_up(world)?;
    if world.below(2) == 0 {
        services::run_tick(world, Tick::TimerFlush, false)?;
    }
    let until_ms = out_ms + i64::from(world.below(width_ms));
    world.note(format!("  it is {until_ms}"));
    let ms = u64::try_from(until_ms - world.now_ms()).unwrap_or(0);
    world.clock.advance(Duration::from_millis(ms));
    for tick in [Tick::Dispatch, Tick::Timer] {
        services::run_tick(world, tick, false)?;
    }
    if world.below(4) != 0 {
        let operations = world.below(12).unsigned_abs().into();
        world.note(format!("  the power will fail after {operations} operations"));
        world.fail_power_after(operations);
    }
    stops::restart(world)
}

fn send_for(world: &mut World, queue: &Queue, due_ms: i64, out_ms: i64) -> Result<(), Violation> {
    let body = world.new_body();
    let mut pairs = new_properties(world);
    let mut wanted = Wanted {
        queue: queue.clone(),
        body: body.clone(),
        properties: pairs.clone(),
    };
    waits_for(&mut wanted, out_ms);
    pairs.push((name::TIMER_DELIVER_MS, due_ms.to_string()));
    let request = send_request((&queue.0, queue.1), &text_of(&pairs), body, false, world.now_ms());
    finish_send(world, request, vec![wanted], true, &format!("send for {due_ms}"))
}

fn nothing_is_overdue(world: &World) -> Result<(), Violation> {
    if world.power_is_failing || world.now_ms() < world.timer_waits_until_ms {
        return Ok(());
    }
    world
        .model
        .nothing_is_overdue(world.now_ms(), world.timer_precision_ms)
}

/// At the end, when every delay is over.
pub fn all_arrived(world: &mut World) -> Result<(), Violation> {
    services::catch_up(world)?;
    nothing_is_overdue(world)
}

/// Nothing waits, and the counts say so: a start makes their sum right.
pub fn counts_are_right(world: &mut World) -> Result<(), Violation> {
    let (_, answer) = world.call(0, OutgoingRequest::new(request_code::GET_TIMER_METRICS));
    let body = answer.ok_or("the timer's counts were not answered")?.body;
    let metrics: TimerMetricsSerializeWrapper =
        fastjson::from_slice(&body).map_err(|error| error.to_string())?;
    let sum: i64 = metrics.timing_count.values().map(|metric| metric.count).sum();
    ensure!(
        sum == 0,
        "nothing waits, and the counts are {:?}",
        metrics.timing_count
    );
    Ok(())
}

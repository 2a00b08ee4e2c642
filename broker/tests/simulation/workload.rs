//! What happens to the broker: the seed picks one step after another.

use std::collections::BTreeSet;
use std::time::Duration;

use common::message::properties::{self, name};
use common::names::{SCHEDULE_TOPIC, retry_topic};
use remoting::body::SubscriptionGroupConfig;
use remoting::body::fastjson;
use remoting::codes::{request_code, response_code};
use remoting::header::{
    ConsumerSendMsgBackRequestHeader, CreateTopicRequestHeader, DeleteTopicRequestHeader,
    PullMessageRequestHeader, ResetOffsetRequestHeader, UpdateConsumerOffsetRequestHeader,
};
use remoting::request::OutgoingRequest;
use store::sim_disk::{Fault, Faults, Operation};

use crate::checks::{self, Expect, Sent};
use crate::model::{ParkedPull, Progress, Queue, Wanted};
use crate::world::{Answer, CONNECTIONS, TICKS, Tick, World, send_request};
use crate::{Violation, ensure};

const GROUPS: [&str; 2] = ["GroupA", "GroupB"];
const TOPICS: [&str; 3] = ["TopicA", "TopicB", "TopicC"];
const TAGS: [&str; 2] = ["red", "blue"];

/// Runs the world for so many steps, then lets every delay pass and looks at everything.
pub fn run(world: &mut World, steps: u64) -> Result<(), Violation> {
    world.open()?;
    prepare(world)?;
    for step in 0..steps {
        world.note(format!("{step}"));
        one_step(world)?;
    }
    finish(world)
}

fn prepare(world: &mut World) -> Result<(), Violation> {
    for group in GROUPS {
        let body =
            fastjson::to_vec(&SubscriptionGroupConfig::new(group)).map_err(|error| error.to_string())?;
        let request = OutgoingRequest::new(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).body(body);
        must_succeed(world, request)?;
    }
    for topic in &TOPICS[..2] {
        create_topic(world, topic)?;
    }
    checks::after_step(world, &nothing(), None)
}

fn one_step(world: &mut World) -> Result<(), Violation> {
    match world.below(100) {
        0..=27 => send(world),
        28..=33 => send_batch(world),
        34..=39 => send_back(world),
        40..=52 => pull(world),
        53..=60 => commit(world),
        61 => reset(world),
        62..=79 => tick(world),
        80..=86 => advance(world),
        87..=88 => retention(world),
        89..=90 => change_topics(world),
        91..=92 => write_back(world),
        93 => full_disk(world),
        94..=95 => restart(world),
        96 => fail_power(world),
        _ => crash(world),
    }
}

fn nothing() -> Expect {
    Expect::Records(Vec::new())
}

fn random_queue(world: &World) -> Option<Queue> {
    let topics: Vec<_> = world.model.topics.iter().collect();
    let index = world.below(i32::try_from(topics.len()).unwrap_or(0)) as usize;
    let (topic, queues) = topics.get(index)?;
    Some(((*topic).clone(), world.below(**queues)))
}

fn connection(world: &World) -> usize {
    world.below(CONNECTIONS as i32) as usize
}

/// What a message carries besides its body.
fn new_properties(world: &World) -> Vec<(&'static str, String)> {
    let mut pairs = vec![(name::UNIQ_KEY, world.new_key())];
    if world.below(3) == 0 {
        pairs.push((name::TAGS, TAGS[world.below(2) as usize].to_owned()));
    }
    if world.below(3) == 0 {
        pairs.push((name::KEYS, format!("k{} k{}", world.below(4), 4 + world.below(4))));
    }
    pairs
}

fn text_of(pairs: &[(&'static str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        properties::push(&mut text, name, value);
    }
    text
}

fn send(world: &mut World) -> Result<(), Violation> {
    let Some(queue) = random_queue(world) else {
        return Ok(());
    };
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
    let request = send_request((&queue.0, queue.1), &text_of(&pairs), body, false, now_ms);
    finish_send(
        world,
        request,
        vec![wanted],
        waits,
        &format!("send to {queue:?} level {level}"),
    )
}

fn send_batch(world: &mut World) -> Result<(), Violation> {
    let Some(queue) = random_queue(world) else {
        return Ok(());
    };
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
    let request = send_request((&queue.0, queue.1), "", bytes, true, now_ms);
    let what = format!("batch of {} to {queue:?}", wanted.len());
    finish_send(world, request, wanted, true, &what)
}

fn finish_send(
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
    });
    checks::after_step(world, &expect, sent)
}

fn note_answer(world: &mut World, what: &str, answer: Option<&Answer>) {
    let end = world.model.log_end;
    let outcome = answer.map_or("waits".to_owned(), |answer| {
        format!("{} {}", answer.code, answer.remark)
    });
    world.note(format!("  {what} (log ends at {end}): {outcome}"));
}

/// A consumer could not handle a message: any that is in the log.
fn send_back(world: &mut World) -> Result<(), Violation> {
    let candidates: Vec<(u64, Vec<u8>, String, u32)> = world
        .model
        .indexed()
        .filter(|record| record.is_queued && record.queue.0 != SCHEDULE_TOPIC)
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

fn pull(world: &mut World) -> Result<(), Violation> {
    let Some(queue) = random_queue(world) else {
        return Ok(());
    };
    let end = world.model.visible_end(&queue) as i64;
    let offset = match world.below(4) {
        0 => i64::from(world.below(end as i32 + 2)),
        1 => (end - 3).max(0),
        _ => end,
    };
    let tag = (world.below(3) == 0).then(|| TAGS[world.below(2) as usize]);
    let group = GROUPS[world.below(2) as usize];
    let suspend = if world.below(3) == 0 { 0 } else { 2 };
    let header = PullMessageRequestHeader {
        consumer_group: group.into(),
        topic: queue.0.as_str().into(),
        queue_id: queue.1,
        queue_offset: offset,
        max_msg_nums: 1 + world.below(16),
        sys_flag: 4 | suspend,
        suspend_timeout_millis: 15_000,
        subscription: Some(tag.unwrap_or("*").into()),
        ..Default::default()
    };
    let request = OutgoingRequest::new(request_code::PULL_MESSAGE).header(&header);
    let connection = connection(world);
    let (opaque, answer) = world.call(connection, request);
    note_answer(
        world,
        &format!("pull {opaque} of {queue:?} from {offset} {tag:?}"),
        answer.as_ref(),
    );
    let now_ms = common::clock::Clock::wall_ms(&*world.clock);
    let pull = ParkedPull {
        connection,
        opaque,
        queue: queue.clone(),
        offset,
        tag,
        deadline_ms: now_ms + 15_000,
    };
    match answer {
        Some(answer) => {
            if answer.remark == "OFFSET_RESET" {
                let key = (group.to_owned(), queue);
                world.model.resets.remove(&key);
                world.model.told_resets.insert(key);
            }
            checks::is_pull_right(&world.model, &pull, &answer)?;
        }
        None => {
            ensure!(suspend != 0, "pull {opaque} waits and must not");
            world.model.parked.push(pull);
        }
    }
    checks::after_step(world, &nothing(), None)
}

fn commit(world: &mut World) -> Result<(), Violation> {
    let Some(queue) = random_queue(world) else {
        return Ok(());
    };
    let group = GROUPS[world.below(2) as usize].to_owned();
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
fn reset(world: &mut World) -> Result<(), Violation> {
    let Some(queue) = random_queue(world).filter(|_| !world.power_is_failing) else {
        return Ok(());
    };
    let min = world.store().min_offset(&queue.0, queue.1).max(0);
    let end = world.model.visible_end(&queue) as i64;
    let offset = min + i64::from(world.below((end - min) as i32 + 1));
    let group = GROUPS[world.below(2) as usize].to_owned();
    let header = ResetOffsetRequestHeader {
        group: group.clone(),
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
    let key = (group, queue);
    world
        .model
        .offsets
        .entry(key.clone())
        .or_default()
        .values
        .push(offset);
    world.model.resets.insert(key);
    offsets_are_durable(world);
    checks::after_step(world, &nothing(), None)
}

/// What was committed so far survives.
fn offsets_are_durable(world: &mut World) {
    world.model.told_resets.clear();
    for progress in world.model.offsets.values_mut() {
        progress.may_be_missing = false;
        progress.values.drain(..progress.values.len() - 1);
    }
}

fn tick(world: &mut World) -> Result<(), Violation> {
    let tick = match world.below(16) {
        number @ 0..=10 => TICKS[number as usize],
        11 | 12 => Tick::Flush,
        _ => Tick::Dispatch,
    };
    run_tick(world, tick, false)
}

fn run_tick(world: &mut World, tick: Tick, stopping: bool) -> Result<(), Violation> {
    world.note(format!("  tick {tick:?}"));
    world.tick(tick, stopping)?;
    let expect = if tick == Tick::Delay {
        Expect::Deliveries
    } else {
        nothing()
    };
    checks::after_step(world, &expect, None)?;
    if world.power_is_failing {
        return Ok(());
    }
    match tick {
        Tick::Flush if world.is_sync => {
            ensure!(
                world.model.unanswered.is_empty(),
                "flushed, and senders still wait"
            );
        }
        Tick::Dispatch => {
            let reached = if world.is_sync {
                world.model.flushed
            } else {
                world.model.log_end
            };
            ensure!(
                world.model.dispatched == reached,
                "dispatch stopped before {reached}"
            );
        }
        Tick::PullExpiry => checks::no_pull_is_overdue(world)?,
        Tick::Persist => {
            let now = world.monotonic();
            if stopping || now >= world.offsets_due {
                offsets_are_durable(world);
                world.offsets_due = now + Duration::from_secs(5);
            }
            if stopping || now >= world.delays_due {
                let model = &mut world.model;
                // A level that has not delivered since a crash may have gone back to what was durable before.
                let certain = model
                    .delivered
                    .iter()
                    .filter(|(level, _)| !model.may_repeat.contains(level));
                let certain: Vec<_> = certain.map(|(level, next)| (*level, *next)).collect();
                model.delivered_durable.extend(certain);
                world.delays_due = now + Duration::from_secs(10);
            }
        }
        _ => {}
    }
    Ok(())
}

fn advance(world: &mut World) -> Result<(), Violation> {
    let ms = match world.below(4) {
        0 => world.below(20_000),
        1 => world.below(5_000),
        _ => world.below(600),
    };
    world.note(format!("  {ms} ms pass"));
    world
        .clock
        .advance(Duration::from_millis(ms.unsigned_abs().into()));
    Ok(())
}

/// The disk is nearly full for a while: old files go.
fn retention(world: &mut World) -> Result<(), Violation> {
    world.disk.set_used_percent(88);
    let result = run_tick(world, Tick::Retention, false);
    world.disk.set_used_percent(10);
    let min = world.model.log_min;
    world.note(format!("  the log begins at {min}"));
    result?;
    run_tick(world, Tick::Retention, false)
}

fn create_topic(world: &mut World, topic: &str) -> Result<(), Violation> {
    let queues = 1 + world.below(2);
    // A topic keeps its queues: messages in those taken away would be nobody's.
    let queues = world
        .model
        .topics
        .get(topic)
        .map_or(queues, |present| queues.max(*present));
    let header = CreateTopicRequestHeader {
        topic: topic.to_owned(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".to_owned(),
        ..Default::default()
    };
    must_succeed(
        world,
        OutgoingRequest::new(request_code::UPDATE_AND_CREATE_TOPIC).header(&header),
    )?;
    world.note(format!("  topic {topic} has {queues} queues"));
    world.model.topics.insert(topic.to_owned(), queues);
    Ok(())
}

fn change_topics(world: &mut World) -> Result<(), Violation> {
    if world.power_is_failing {
        return Ok(());
    }
    let topic = TOPICS[world.below(3) as usize];
    if world.below(2) == 0 || !world.model.topics.contains_key(topic) {
        create_topic(world, topic)?;
        return checks::after_step(world, &nothing(), None);
    }
    let header = DeleteTopicRequestHeader {
        topic: topic.to_owned(),
    };
    must_succeed(
        world,
        OutgoingRequest::new(request_code::DELETE_TOPIC_IN_BROKER).header(&header),
    )?;
    world.note(format!("  topic {topic} is deleted"));
    let model = &mut world.model;
    model.topics.remove(topic);
    model.deleted.insert(topic.to_owned(), model.log_end);
    model.next_offsets.retain(|queue, _| queue.0 != topic);
    model.offsets.retain(|(_, queue), _| queue.0 != topic);
    model.resets.retain(|(_, queue)| queue.0 != topic);
    offsets_are_durable(world);
    checks::after_step(world, &nothing(), None)
}

fn must_succeed(world: &mut World, request: OutgoingRequest) -> Result<(), Violation> {
    let code = request.code;
    let (_, answer) = world.call(0, request);
    let answer = answer.ok_or_else(|| format!("request {code} was not answered"))?;
    ensure!(
        answer.code == response_code::SUCCESS,
        "request {code}: {} {}",
        answer.code,
        answer.remark
    );
    Ok(())
}

fn write_back(world: &mut World) -> Result<(), Violation> {
    world.note("  the kernel writes pages back");
    let seed = world.random.next_u64();
    world.disk.write_back(seed).map_err(|error| error.to_string())
}

/// No room for new files: a message is taken or refused, nothing between.
fn full_disk(world: &mut World) -> Result<(), Violation> {
    if world.power_is_failing {
        return Ok(());
    }
    world.note("  the disk is full for a while");
    let full = [Operation::Create, Operation::Reserve, Operation::Write];
    world.disk.set_faults(Faults {
        operations: full.map(|operation| (operation, Fault::NoSpace)).into(),
        power_fails_after: None,
    });
    // Not a failing power, but the same licence to refuse.
    world.power_is_failing = true;
    let result = send(world);
    world.power_is_failing = false;
    world.disk.set_faults(Faults::default());
    result
}

/// A clean stop, as an operator does it, and a start.
fn restart(world: &mut World) -> Result<(), Violation> {
    world.note("  clean stop");
    world.running().broker.resume_parked();
    checks::after_step(world, &nothing(), None)?;
    ensure!(
        world.model.parked.is_empty(),
        "a parked pull was not answered at the stop"
    );
    for tick in TICKS.iter().rev() {
        run_tick(world, *tick, true)?;
    }
    let closed = world.store().close();
    checks::settle_connections(world)?;
    if let Err(error) = closed {
        ensure!(world.power_is_failing, "the store does not close: {error:#}");
        return crash(world);
    }
    ensure!(
        world.model.unanswered.is_empty(),
        "a send was not answered at the stop"
    );
    if world.power_is_failing {
        return crash(world);
    }
    world.drop_broker();
    if world.below(3) == 0 {
        // The power fails while nothing runs: a clean stop leaves nothing to lose.
        world.note("  power failure after the stop");
        let seed = world.random.next_u64();
        world.disk.crash(seed).map_err(|error| error.to_string())?;
    }
    world.open()?;
    checks::after_clean_start(world)
}

/// From some operation on, nothing reaches the disk.
fn fail_power(world: &mut World) -> Result<(), Violation> {
    if world.power_is_failing {
        return crash(world);
    }
    let operations = world.below(30).unsigned_abs().into();
    world.note(format!("  the power will fail after {operations} operations"));
    world.fail_power_after(operations);
    for _ in 0..1 + world.below(4) {
        match world.below(4) {
            0 => send(world)?,
            1 => run_tick(world, Tick::Flush, false)?,
            2 => tick(world)?,
            _ => return restart(world),
        }
    }
    crash(world)
}

fn crash(world: &mut World) -> Result<(), Violation> {
    loop {
        world.note("  crash");
        world.drop_broker();
        let seed = world.random.next_u64();
        world.disk.crash(seed).map_err(|error| error.to_string())?;
        world.power_is_failing = false;
        // No machine is back in the millisecond in which it went.
        let ms = 5 + world.below(3_000);
        world
            .clock
            .advance(Duration::from_millis(ms.unsigned_abs().into()));
        if world.below(5) == 0 {
            // And again, somewhere in the recovery.
            let operations = world.below(60).unsigned_abs().into();
            world.note(format!("  the recovery crashes after {operations} operations"));
            world.fail_power_after(operations);
            if world.open().is_err() {
                continue;
            }
            continue;
        }
        world.open()?;
        return checks::after_crash(world);
    }
}

/// Lets every delay pass, with all services running, and looks at everything.
fn finish(world: &mut World) -> Result<(), Violation> {
    world.note("end");
    if world.power_is_failing {
        crash(world)?;
    }
    let levels: BTreeSet<i32> = world.model.next_offsets.keys().map(|queue| queue.1).collect();
    world.note(format!("  {} queue numbers", levels.len()));
    for _ in 0..2 {
        world.clock.advance(Duration::from_secs(7_300));
        for tick in TICKS {
            run_tick(world, tick, false)?;
        }
        run_tick(world, Tick::Flush, false)?;
        run_tick(world, Tick::Dispatch, false)?;
    }
    checks::delayed_messages_arrived(world)?;
    checks::everything(world)?;
    restart(world)
}

//! Light topics: clients subscribe, pop, acknowledge in order or not, ask for more time, fall silent; what is acknowledged never
//! comes again, and nothing is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::message::properties::name;
use remoting::body::{
    LiteSubscriptionAction, LiteSubscriptionCtlRequestBody, LiteSubscriptionDto, OffsetOption,
    OffsetOptionType, SubscriptionGroupConfig, fastjson,
};
use remoting::codes::{request_code, response_code};
use remoting::header::{AckMessageRequestHeader, CreateTopicRequestHeader, PopLiteMessageRequestHeader};
use remoting::request::OutgoingRequest;

use super::pops::random_held;
use super::sends::{delay_one_in, finish_send, new_properties, text_of};
use super::services::run_tick;
use super::{connection, must_succeed, note_answer, nothing, stops};
use crate::checks::{self, lite as check};
use crate::model::lite::{
    EXPIRY_PERIOD_MS, LITE_GROUPS, LITE_TOPICS, LiteGroup, LitePoll, PARENT, Sharing, queue_of,
};
use crate::model::pops::Held;
use crate::model::{Queue, Wanted};
use crate::world::{Tick, World, send_request};
use crate::{Violation, ensure};

/// Queues of the topic that holds the light topics.
const QUEUES: i32 = 2;
/// So much sooner than its time is up a pop is answered.
const EARLY_MS: i64 = 50;
/// Who takes none of its events for so long is given up at the next look, and that comes so often.
const GIVEN_UP: Duration = Duration::from_millis(10_500);
/// Pops in a row that find nothing, though there is something.
const MOST_VAIN_POPS: usize = 12;
const ATTEMPTS: [&str; 2] = ["attempt-1", "attempt-2"];

/// The topic and the groups.
pub fn prepare(world: &mut World) -> Result<(), Violation> {
    let minutes = world.model.lites.lifetime_ms.map_or(-1, |ms| ms / 60_000);
    put_parent(
        world,
        &format!("+message.type=LITE,+lite.topic.expiration={minutes}"),
    )?;
    for group in LITE_GROUPS {
        let attributes: &[(&str, &str)] = match group.sharing {
            Sharing::Shared => &[],
            Sharing::Exclusive => &[
                ("+lite.sub.model", "Exclusive"),
                ("+lite.sub.reset.offset.exclusive", "true"),
            ],
            Sharing::Wildcard => &[("+lite.sub.wildcard", "true")],
        };
        let mut config = SubscriptionGroupConfig::new(group.name);
        for (name, value) in attributes.iter().chain(&[("+lite.bind.topic", PARENT)]) {
            config.attributes.insert((*name).to_owned(), (*value).to_owned());
        }
        let body = fastjson::to_vec(&config).map_err(|error| error.to_string())?;
        must_succeed(
            world,
            OutgoingRequest::new(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).body(body),
        )?;
    }
    Ok(())
}

fn put_parent(world: &mut World, attributes: &str) -> Result<(), Violation> {
    let header = CreateTopicRequestHeader {
        topic: PARENT.to_owned(),
        read_queue_nums: QUEUES,
        write_queue_nums: QUEUES,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".to_owned(),
        attributes: Some(attributes.to_owned()),
        ..Default::default()
    };
    must_succeed(
        world,
        OutgoingRequest::new(request_code::UPDATE_AND_CREATE_TOPIC).header(&header),
    )
}

/// From now on light topics stay.
pub fn stop_expiry(world: &mut World) -> Result<(), Violation> {
    world.model.lites.lifetime_ms = None;
    put_parent(world, "+lite.topic.expiration=-1")
}

/// Nobody sends to most light topics for longer than they live, and the broker looks. It may be killed meanwhile, or the power fail.
pub fn expire(world: &mut World) -> Result<(), Violation> {
    let lifetime_ms = world.model.lites.lifetime_ms.unwrap_or(0);
    let ms = lifetime_ms + i64::from(world.below(60_000));
    world.note(format!("  {ms} ms pass"));
    world.clock.advance(Duration::from_millis(ms.unsigned_abs()));
    run_tick(world, Tick::Persist, false)?;
    run_tick(world, Tick::Lite, false)?;
    match world.below(4) {
        0 => send(world)?,
        1 => {
            send(world)?;
            run_tick(world, Tick::Flush, false)?;
            run_tick(world, Tick::Dispatch, false)?;
        }
        _ => {}
    }
    world
        .clock
        .advance(Duration::from_millis(EXPIRY_PERIOD_MS.unsigned_abs()));
    let power_fails = world.below(4) == 0;
    if power_fails {
        let operations = world.below(20).unsigned_abs().into();
        world.note(format!("  the power will fail after {operations} operations"));
        world.fail_power_after(operations);
    }
    run_tick(world, Tick::Lite, false)?;
    match (power_fails, world.below(4)) {
        (true, _) => stops::crash(world)?,
        (false, 0) => stops::kill(world)?,
        (false, _) => check::none_is_left_that_expired(world)?,
    }
    work(world)
}

/// Several things in a row: what clients do with a light topic hangs together.
pub fn work(world: &mut World) -> Result<(), Violation> {
    for _ in 0..2 + world.below(8) {
        match world.below(16) {
            0 | 1 => send(world)?,
            2 => {
                send(world)?;
                run_tick(world, Tick::Flush, false)?;
                run_tick(world, Tick::Dispatch, false)?;
            }
            3..=5 => control(world)?,
            6..=8 => pop(world)?,
            9..=11 => ack(world)?,
            12 => change_invisible_time(world)?,
            _ => look(world)?,
        }
    }
    Ok(())
}

/// Time passes, and the service of light topics runs; after a while so does that which writes offsets, every few seconds in truth.
fn look(world: &mut World) -> Result<(), Violation> {
    let ms = [100, 700, 3_000, 12_000, 40_000][world.below(5) as usize];
    let ms = world.below(ms).unsigned_abs();
    world.note(format!("  {ms} ms pass"));
    world.clock.advance(Duration::from_millis(ms.into()));
    if ms > 5_000 {
        run_tick(world, Tick::Persist, false)?;
    }
    run_tick(world, Tick::Lite, false)
}

/// A message for one of them.
pub fn send(world: &mut World) -> Result<(), Violation> {
    let lite_topic = LITE_TOPICS[world.below(LITE_TOPICS.len() as i32) as usize];
    let body = world.new_body();
    let mut pairs = new_properties(world);
    pairs.push((name::LITE_TOPIC, lite_topic.to_owned()));
    let queue_id = world.below(QUEUES);
    let mut wanted = Wanted {
        queue: (PARENT.to_owned(), queue_id),
        body: body.clone(),
        properties: pairs.clone(),
    };
    delay_one_in(world, 8, &mut pairs, &mut wanted);
    let request = send_request((PARENT, queue_id), &text_of(&pairs), body, false, world.now_ms());
    finish_send(
        world,
        request,
        vec![wanted],
        true,
        &format!("send to light topic {lite_topic}"),
    )
}

fn random_group(world: &World) -> LiteGroup {
    // Most can go wrong in the first.
    LITE_GROUPS[[0, 0, 1, 2][world.below(4) as usize]]
}

fn random_topics(world: &World) -> BTreeSet<&'static str> {
    let chosen = world.below(1 << LITE_TOPICS.len());
    let topics = LITE_TOPICS.into_iter().enumerate();
    topics
        .filter(|(bit, _)| chosen & (1 << bit) != 0)
        .map(|(_, topic)| topic)
        .collect()
}

/// What a client says about its subscription.
struct Wish {
    action: LiteSubscriptionAction,
    topics: BTreeSet<&'static str>,
    option: Option<OffsetOption>,
}

/// A client subscribes to some, also, only, or no longer; or leaves.
pub fn control(world: &mut World) -> Result<(), Violation> {
    let group = random_group(world);
    let client = group.clients[world.below(2) as usize];
    let action = match (world.below(8), group.sharing) {
        (0, _) => LiteSubscriptionAction::CompleteRemove,
        (1, _) => LiteSubscriptionAction::PartialRemove,
        (2..=4, Sharing::Shared | Sharing::Exclusive) => LiteSubscriptionAction::PartialAdd,
        _ => LiteSubscriptionAction::CompleteAdd,
    };
    let has_option = action == LiteSubscriptionAction::PartialAdd && world.below(6) == 0;
    let wish = Wish {
        action,
        topics: random_topics(world),
        option: has_option.then(|| random_option(world)),
    };
    subscribe(world, group, client, &wish)
}

fn random_option(world: &World) -> OffsetOption {
    let (kind, most) = match world.below(4) {
        0 => (OffsetOptionType::Policy, 3),
        1 => (OffsetOptionType::Offset, 3),
        2 => (OffsetOptionType::TailN, 3),
        _ => (OffsetOptionType::Timestamp, 1),
    };
    OffsetOption {
        kind,
        value: i64::from(world.below(most)),
    }
}

fn subscribe(
    world: &mut World,
    group: LiteGroup,
    client: &'static str,
    wish: &Wish,
) -> Result<(), Violation> {
    let entry = LiteSubscriptionDto {
        action: wish.action,
        client_id: client.to_owned(),
        group: group.name.to_owned(),
        lite_topic_set: wish.topics.iter().map(|topic| (*topic).to_owned()).collect(),
        offset_option: wish.option,
        topic: PARENT.to_owned(),
        version: 0,
    };
    let body = LiteSubscriptionCtlRequestBody {
        subscription_set: vec![entry],
    };
    let body = fastjson::to_vec(&body).map_err(|error| error.to_string())?;
    let request = OutgoingRequest::new(request_code::LITE_SUBSCRIPTION_CTL).body(body);
    let connection = connection(world);
    let (_, answer) = world.call(connection, request);
    let what = format!("{client}: {:?} {:?} {:?}", wish.action, wish.topics, wish.option);
    note_answer(world, &what, answer.as_ref());
    let code = answer.map(|answer| answer.code);
    ensure!(code == Some(response_code::SUCCESS), "{what}: {code:?}");
    take_wish(world, group, client, wish);
    for queue in LITE_TOPICS.map(queue_of) {
        check::is_where_it_was_told(world, group, &queue, &what)?;
    }
    check::subscriptions_are_known(world)?;
    checks::after_step(world, &nothing(), None)?;
    ensure!(
        world.model.lites.to_be_told.is_empty(),
        "{what}: {:?} are not told",
        world.model.lites.to_be_told
    );
    Ok(())
}

fn take_wish(world: &mut World, group: LiteGroup, client: &'static str, wish: &Wish) {
    let now_ms = world.now_ms();
    let every: BTreeSet<&'static str> = LITE_TOPICS.into();
    match wish.action {
        LiteSubscriptionAction::PartialAdd => {
            for topic in &wish.topics {
                if group.sharing == Sharing::Exclusive {
                    take_over(world, group, client, topic);
                }
                if let Some(offset) = wish.option.and_then(|option| target(world, group, topic, option)) {
                    world.model.lites.in_order(group, &queue_of(topic)).reset(offset);
                }
            }
            world.model.lites.add(client, &wish.topics, now_ms);
        }
        LiteSubscriptionAction::CompleteAdd => {
            let topics = match group.sharing {
                Sharing::Wildcard => &every,
                Sharing::Shared | Sharing::Exclusive => &wish.topics,
            };
            let lites = &mut world.model.lites;
            lites.add(client, topics, now_ms);
            if let Some(known) = lites.clients.get_mut(client) {
                known.topics.clone_from(topics);
            }
        }
        LiteSubscriptionAction::PartialRemove => {
            // A client of every light topic has none of its own.
            if let Some(known) = world.model.lites.clients.get_mut(client)
                && group.sharing != Sharing::Wildcard
            {
                known.topics.retain(|topic| !wish.topics.contains(topic));
            }
        }
        LiteSubscriptionAction::CompleteRemove => {
            world.model.lites.clients.remove(client);
        }
    }
}

/// The other client of the group has it no longer, and the group begins anew.
fn take_over(world: &mut World, group: LiteGroup, client: &str, topic: &'static str) {
    let lites = &mut world.model.lites;
    for other in group.clients.into_iter().filter(|other| *other != client) {
        let Some(loser) = lites.clients.get_mut(other) else {
            continue;
        };
        if loser.topics.remove(topic) {
            if loser.topics.is_empty() {
                lites.clients.remove(other);
            }
            lites.to_be_told.insert((other.to_owned(), topic.to_owned()));
            lites.in_order(group, &queue_of(topic)).reset(0);
        }
    }
}

/// Where an option sends the group.
fn target(world: &World, group: LiteGroup, topic: &str, option: OffsetOption) -> Option<i64> {
    let queue = queue_of(topic);
    let current = world.model.lites.next(group, &queue);
    match (option.kind, option.value) {
        (OffsetOptionType::Policy, 1) => Some(0),
        (OffsetOptionType::Policy, 2) => Some(world.store().max_offset(&queue.0, queue.1)),
        (OffsetOptionType::Offset, offset) => Some(offset),
        (OffsetOptionType::TailN, count) => current.map(|current| (current - count).max(0)),
        (OffsetOptionType::Policy | OffsetOptionType::Timestamp, _) => None,
    }
}

/// A client takes messages of its light topics, or waits for some.
pub fn pop(world: &mut World) -> Result<(), Violation> {
    let group = random_group(world);
    let wait_ms = [0, 0, 6_000, 20_000][world.below(4) as usize];
    let poll = LitePoll {
        connection: connection(world),
        opaque: 0,
        group,
        client: group.clients[world.below(2) as usize],
        most: [1, 2, 5, 32][world.below(4) as usize],
        invisible_ms: [500, 2_000, 12_000, 40_000][world.below(4) as usize],
        attempt: ATTEMPTS.get(world.below(6) as usize).copied(),
        deadline_ms: world.now_ms() + wait_ms - EARLY_MS,
    };
    pop_as(world, poll).map(drop)
}

/// Gives how many messages came.
fn pop_as(world: &mut World, poll: LitePoll) -> Result<usize, Violation> {
    let now_ms = world.now_ms();
    let header = PopLiteMessageRequestHeader {
        client_id: poll.client.into(),
        consumer_group: poll.group.name.into(),
        topic: PARENT.into(),
        max_msg_num: poll.most as i32,
        invisible_time: poll.invisible_ms,
        poll_time: poll.deadline_ms + EARLY_MS - now_ms,
        born_time: now_ms,
        attempt_id: poll.attempt.map(Into::into),
    };
    let request = OutgoingRequest::new(request_code::POP_LITE_MESSAGE).header(&header);
    let (opaque, answer) = world.call(poll.connection, request);
    let poll = LitePoll { opaque, ..poll };
    let what = format!(
        "lite pop {opaque} by {}, most {}, {} ms, {:?}",
        poll.client, poll.most, poll.invisible_ms, poll.attempt
    );
    note_answer(world, &what, answer.as_ref());
    let (group, client, most) = (poll.group, poll.client, poll.most);
    let count = check::take_answer(world, poll, answer.as_ref())?;
    let missed = world.model.missed_by(group, client);
    ensure!(
        missed.is_none() || answer.is_none() || count == most || world.power_is_failing,
        "{what}: {count} came, there is something in {missed:?}"
    );
    checks::after_step(world, &nothing(), None)?;
    Ok(count)
}

/// A message is done: the first of its batch or another one, in time or late, once or again.
pub fn ack(world: &mut World) -> Result<(), Violation> {
    match random_held_of(world) {
        Some((group, held)) => ack_one(world, group, &held),
        None => Ok(()),
    }
}

fn random_held_of(world: &mut World) -> Option<(LiteGroup, Held)> {
    let group = random_group(world);
    let held = random_held(world, &world.model.lites.groups.get(group.name)?.held)?;
    Some((group, held))
}

/// The group goes on behind what is acknowledged without a gap, and says so at once.
fn ack_one(world: &mut World, group: LiteGroup, held: &Held) -> Result<(), Violation> {
    let handle = held.handle();
    let request = OutgoingRequest::new(request_code::ACK_MESSAGE).header(&header_of(held, &handle));
    let connection = connection(world);
    let (_, answer) = world.call(connection, request);
    let what = format!("ack by {} of {:?} {handle}", group.name, held.key.queue);
    note_answer(world, &what, answer.as_ref());
    let code = answer.map(|answer| answer.code);
    let is_gone = is_gone(world, held);
    let known = world.model.lites.in_order(group, &held.key.queue);
    let wanted = if is_gone {
        response_code::NO_MESSAGE
    } else if known.acknowledge(held.offset, held.key.pop_time_ms) {
        response_code::SUCCESS
    } else {
        response_code::MESSAGE_ILLEGAL
    };
    ensure!(code == Some(wanted), "{what}: {code:?}");
    check::is_where_it_was_told(world, group, &held.key.queue, &what)?;
    checks::after_step(world, &nothing(), None)
}

/// Whether the light topic of a message has expired, and has not so many since.
fn is_gone(world: &World, held: &Held) -> bool {
    let queue = &held.key.queue;
    held.offset > world.store().max_offset(&queue.0, queue.1)
}

fn header_of<'a>(held: &'a Held, handle: &'a str) -> AckMessageRequestHeader<'a> {
    AckMessageRequestHeader {
        consumer_group: held.key.group.as_str().into(),
        topic: PARENT.into(),
        queue_id: held.key.queue.1,
        extra_info: handle.into(),
        offset: held.offset,
        lite_topic: lite_topic_of(&held.key.queue).map(Into::into),
    }
}

fn lite_topic_of(queue: &Queue) -> Option<&'static str> {
    LITE_TOPICS.into_iter().find(|topic| queue_of(topic) == *queue)
}

/// A client needs more time for a message, or gives it back; or its whole batch.
pub fn change_invisible_time(world: &mut World) -> Result<(), Violation> {
    let Some((group, held)) = random_held_of(world) else {
        return Ok(());
    };
    let (invisible_ms, suspend) = ([0, 1_500, 30_000][world.below(3) as usize], world.below(2) == 0);
    let handle = held.handle();
    let request = OutgoingRequest::new(request_code::CHANGE_MESSAGE_INVISIBLETIME)
        .header(&header_of(&held, &handle))
        .field("invisibleTime", invisible_ms)
        .field("suspend", suspend);
    let connection = connection(world);
    let (_, answer) = world.call(connection, request);
    let what = format!(
        "{invisible_ms} ms more for {} of {:?} {handle}, {suspend}",
        group.name, held.key.queue
    );
    note_answer(world, &what, answer.as_ref());
    let code = answer.map(|answer| answer.code);
    if is_gone(world, &held) {
        ensure!(code == Some(response_code::NO_MESSAGE), "{what}: {code:?}");
        return checks::after_step(world, &nothing(), None);
    }
    ensure!(code == Some(response_code::SUCCESS), "{what}: {code:?}");
    let visible_ms = world.now_ms() + invisible_ms;
    let known = world.model.lites.in_order(group, &held.key.queue);
    match suspend {
        true => known.suspend(held.offset, held.key.pop_time_ms, visible_ms),
        false => known.change_visible(held.offset, held.key.pop_time_ms, visible_ms),
    }
    checks::after_step(world, &nothing(), None)
}

/// At the end: each group gets all that there is, in order, and nothing is left. One client does the work; what the other one has
/// heard of comes to it.
pub fn all_consumed(world: &mut World) -> Result<(), Violation> {
    world.clock.advance(Duration::from_secs(60));
    run_tick(world, Tick::Lite, false)?;
    for group in LITE_GROUPS {
        let [worker, idler] = group.clients;
        let wish = Wish {
            action: match group.sharing {
                Sharing::Exclusive => LiteSubscriptionAction::PartialAdd,
                Sharing::Shared | Sharing::Wildcard => LiteSubscriptionAction::CompleteAdd,
            },
            topics: LITE_TOPICS.into(),
            option: None,
        };
        for client in [idler, worker] {
            subscribe(world, group, client, &wish)?;
        }
        let mut vain = 0;
        while vain < MOST_VAIN_POPS {
            world.model.lites.of(group).held.clear();
            let poll = LitePoll {
                connection: 0,
                opaque: 0,
                group,
                client: worker,
                most: 32,
                invisible_ms: 40_000,
                attempt: None,
                deadline_ms: world.now_ms() - EARLY_MS,
            };
            if pop_as(world, poll)? == 0 {
                if what_is_left(world, group).is_empty() {
                    break;
                }
                vain += 1;
                world.clock.advance(GIVEN_UP);
                run_tick(world, Tick::Lite, false)?;
            }
            let held = std::mem::take(&mut world.model.lites.of(group).held);
            for held in held {
                ack_one(world, group, &held)?;
            }
        }
        ensure!(
            vain < MOST_VAIN_POPS,
            "{:?} of light topics are left for {}",
            what_is_left(world, group),
            group.name
        );
    }
    Ok(())
}

/// Messages of each light topic that the group has not acknowledged.
fn what_is_left(world: &World, group: LiteGroup) -> BTreeMap<Queue, usize> {
    let queues = LITE_TOPICS.map(queue_of).into_iter();
    queues
        .map(|queue| {
            let count = world.model.next_of_lite(group, &queue).count();
            (queue, count)
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

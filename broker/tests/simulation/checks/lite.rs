//! Answers to pops of light topics, and who waits for one.

use std::collections::{BTreeMap, BTreeSet};

use remoting::body::{GetLiteClientInfoResponseBody, fastjson};
use remoting::codes::{request_code, response_code};
use remoting::frame::Frame;
use remoting::header::GetLiteClientInfoRequestHeader;
use remoting::request::{Call, OutgoingRequest};

use super::query_offset;
use crate::model::lite::{
    Expires, LITE_GROUPS, LITE_TOPICS, LiteGroup, LitePoll, PARENT, SILENT_MS, Sharing, queue_of,
};
use crate::model::orders::{Gives, InFlight, InOrder};
use crate::model::pops::{Held, Key};
use crate::model::{Model, Queue};
use crate::world::{Answer, ENTRIES_OF_A_FILE, World};
use crate::{Violation, ensure};

/// Consumers of a group hold so many messages at most.
const MOST_HELD: usize = 32;
/// Subscriptions of one client that an answer names.
const MOST_NAMED: i32 = 100;

/// Queue offsets that came of each light topic.
type Batches = BTreeMap<Queue, Vec<i64>>;

/// The pop that waits under this name, which waits no more.
pub fn take_parked(model: &mut Model, connection: usize, opaque: i32) -> Option<LitePoll> {
    let parked = &mut model.lites.parked;
    let index = parked
        .iter()
        .position(|poll| poll.connection == connection && poll.opaque == opaque)?;
    Some(parked.remove(index))
}

/// A pop is looked at again. It may wait on.
pub fn resume(world: &mut World, poll: LitePoll, call: &Call) -> Result<(), Violation> {
    let answer = world.handle_resumed(call);
    let code = answer.as_ref().map(|answer| answer.code);
    world.note(format!("    lite pop {} resumed: {code:?}", poll.opaque));
    take_answer(world, poll, answer.as_ref()).map(drop)
}

/// Takes the answer to a pop, or that there is none yet. Gives how many messages came.
pub fn take_answer(world: &mut World, poll: LitePoll, answer: Option<&Answer>) -> Result<usize, Violation> {
    let what = format!(
        "lite pop {} by {}, {} ms, {:?}",
        poll.opaque, poll.client, poll.invisible_ms, poll.attempt
    );
    let batches = match answer.map(|answer| answer.code) {
        Some(response_code::SUCCESS) => batches_of(&world.model, answer, &what)?,
        None | Some(response_code::POLLING_TIMEOUT | response_code::POLLING_FULL) => Batches::new(),
        Some(code) => return Err(format!("{what}: {code}")),
    };
    let count: usize = batches.values().map(Vec::len).sum();
    let is_answer = answer.is_some_and(|answer| answer.code == response_code::SUCCESS);
    ensure!(
        count <= poll.most && is_answer == (count > 0),
        "{what}: {count} messages, {} were asked for",
        poll.most
    );
    let pop_time_ms = match answer.filter(|_| is_answer) {
        Some(answer) => answer.number("popTime")?,
        None => world.now_ms(),
    };
    for queue in LITE_TOPICS.map(queue_of) {
        let offsets = batches.get(&queue).map_or(&[][..], Vec::as_slice);
        let goes_on_at = where_it_goes_on(world, poll.group, &queue, &what)?;
        if offsets.is_empty() {
            continue;
        }
        let next = world.model.in_order_from(goes_on_at, &queue);
        let next: Vec<i64> = next
            .map(|record| record.offset_in(&queue).unwrap_or(0) as i64)
            .collect();
        // It may have stopped where messages were lost, and stops where a file of the queue ends.
        let is_at_end_of_file = |last: &i64| (last + 1) % ENTRIES_OF_A_FILE == 0;
        let may_stop = !world.model.lost.is_empty() || offsets.last().is_some_and(is_at_end_of_file);
        let may_have_more = next.len() > offsets.len() && count < poll.most && !may_stop;
        ensure!(
            next.starts_with(offsets) && !may_have_more || world.model.may_be_half_dispatched,
            "{what}: {offsets:?} of {queue:?}, next are {next:?}"
        );
        hand_out(world, &poll, &queue, offsets, pop_time_ms, &what)?;
    }
    if answer.is_none() {
        ensure!(poll.deadline_ms > world.now_ms(), "{what}: waits, its time is up");
        world.model.lites.parked.push(poll);
    }
    Ok(count)
}

/// The queue offsets of each light topic, as they came, of messages that are those in the log.
fn batches_of(model: &Model, answer: Option<&Answer>, what: &str) -> Result<Batches, Violation> {
    let mut batches = Batches::new();
    let mut rest = answer.map_or(&[][..], |answer| &answer.body[..]);
    while !rest.is_empty() {
        let record = store::record::decode(rest).map_err(|error| format!("{what}: {error}"))?;
        let at = record.physical_offset.0;
        let message = model.at(at).filter(|message| rest.starts_with(&message.bytes));
        let message = message.ok_or_else(|| format!("{what}: no message at {at}"))?;
        let [(queue, offset)] = &message.light[..] else {
            return Err(format!("{what}: the message at {at} is of no light topic"));
        };
        batches.entry(queue.clone()).or_default().push(*offset as i64);
        rest = &rest[message.bytes.len()..];
    }
    Ok(batches)
}

/// Where the group is in a light topic. It stays where it was, unless its next message is gone.
fn where_it_goes_on(
    world: &mut World,
    group: LiteGroup,
    queue: &Queue,
    what: &str,
) -> Result<Option<i64>, Violation> {
    let found = query_offset(world, group.name, queue)?;
    let known = world.model.lites.next(group, queue);
    let first = world.model.next_of_lite(group, queue).next();
    let is_there =
        known.is_some() && first.map(|record| record.offset_in(queue).unwrap_or(0) as i64) == known;
    ensure!(
        !is_there || found == known,
        "{what}: {} is at {found:?} in {queue:?}, was at {known:?}",
        group.name
    );
    if let Some(found) = found {
        world.model.lites.in_order(group, queue).correct(found);
    }
    Ok(found)
}

fn hand_out(
    world: &mut World,
    poll: &LitePoll,
    queue: &Queue,
    offsets: &[i64],
    pop_time_ms: i64,
    what: &str,
) -> Result<(), Violation> {
    let (now_ms, may_be_unwritten) = (world.now_ms(), world.power_is_failing);
    let lites = &mut world.model.lites;
    let is_subscribed = LITE_TOPICS
        .iter()
        .any(|topic| queue_of(topic) == *queue && lites.had.contains(&(poll.client, topic)));
    ensure!(is_subscribed, "{what}: {queue:?}, to which it did not subscribe");
    let known = lites.in_order(poll.group, queue);
    ensure!(
        known.gives(poll.attempt, now_ms) != Gives::No,
        "{what}: {offsets:?} of {queue:?}, and there is something in flight: {known:?}"
    );
    let batch = InFlight {
        attempt: poll.attempt.map(str::to_owned),
        pop_time_ms,
        visible_ms: offsets
            .iter()
            .map(|offset| (*offset, pop_time_ms + poll.invisible_ms))
            .collect(),
        acked: BTreeSet::new(),
    };
    let first = known.next().unwrap_or(offsets[0]);
    match may_be_unwritten {
        false => known.hand_out(first, batch),
        true => known.hand_out_unwritten(first, batch),
    }
    let held = &mut lites.of(poll.group).held;
    held.extend(offsets.iter().map(|offset| Held {
        key: Key {
            group: poll.group.name.to_owned(),
            queue: queue.clone(),
            start_offset: first,
            pop_time_ms,
        },
        topic: PARENT.to_owned(),
        offset: *offset,
        invisible_ms: poll.invisible_ms,
        revive_queue: 999,
        retry: '0',
    }));
    held.drain(..held.len().saturating_sub(MOST_HELD));
    Ok(())
}

/// No pop waits for a message that is there for it.
pub fn nobody_is_forgotten(world: &World) -> Result<(), Violation> {
    if world.power_is_failing {
        return Ok(());
    }
    let model = &world.model;
    let missed = model.lites.parked.iter().find_map(|poll| {
        let topic = model.missed_by(poll.group, poll.client)?;
        Some((poll, topic))
    });
    match missed {
        Some((poll, topic)) => Err(format!(
            "lite pop {} by {} waits, there is something in {topic}: {:?}",
            poll.opaque,
            poll.client,
            model
                .lites
                .groups
                .get(poll.group.name)
                .and_then(|orders| orders.queues.get(&queue_of(topic)))
        )),
        None => Ok(()),
    }
}

/// After the expiry of lite pops has run.
pub fn no_poll_is_overdue(world: &World) -> Result<(), Violation> {
    let now_ms = world.now_ms();
    let mut parked = world.model.lites.parked.iter();
    match parked.find(|poll| poll.deadline_ms <= now_ms) {
        Some(poll) => Err(format!("lite pop {} still waits, its time is up", poll.opaque)),
        None => Ok(()),
    }
}

/// The broker may have looked for light topics that have expired: those that are gone had to go.
pub fn take_expired(world: &mut World) -> Result<(), Violation> {
    let (store, now_ms) = (world.store(), world.now_ms());
    for topic in LITE_TOPICS {
        let queue = queue_of(topic);
        let was_there = world.model.visible_end(&queue) > 0;
        if !was_there || store.max_offset(&queue.0, queue.1) > 0 {
            continue;
        }
        world.note(format!("    light topic {topic} has expired"));
        let expires = world.model.expires(&queue, now_ms);
        ensure!(
            expires != Expires::No,
            "light topic {topic} has gone before its time"
        );
        world.model.delete_light_queue(&queue);
        world.model.lites.forget(topic);
        for group in LITE_GROUPS {
            is_where_it_was_told(world, group, &queue, "after the expiry")?;
        }
    }
    Ok(())
}

/// After the broker has looked for light topics that have expired: none is left.
pub fn none_is_left_that_expired(world: &World) -> Result<(), Violation> {
    let now_ms = world.now_ms();
    let is_left = |topic: &&str| {
        let queue = queue_of(topic);
        let is_there = world.model.visible_end(&queue) > 0;
        is_there && world.model.expires(&queue, now_ms) == Expires::Yes
    };
    match LITE_TOPICS.into_iter().find(is_left) {
        Some(topic) => Err(format!("light topic {topic} is still there, its time is up")),
        None => Ok(()),
    }
}

/// A client is told that another one has its light topic.
pub fn take_notice(world: &mut World, frame: &Frame) -> Result<(), Violation> {
    let field = |name: &str| frame.fields().get(name).unwrap_or_default().into_owned();
    let told = (field("clientId"), field("liteTopic"));
    world.note(format!("    {} has lost {}", told.0, told.1));
    ensure!(
        frame.code == request_code::NOTIFY_UNSUBSCRIBE_LITE && world.model.lites.to_be_told.remove(&told),
        "a client is told {} {told:?}",
        frame.code
    );
    Ok(())
}

/// The broker knows of clients what they said last; those that said nothing for long may be forgotten.
pub fn subscriptions_are_known(world: &mut World) -> Result<(), Violation> {
    for group in LITE_GROUPS {
        for client in group.clients {
            let found = subscribed(world, group, client)?;
            let oldest_ms = world.now_ms() - SILENT_MS;
            let known = world.model.lites.clients.get(client);
            let may_be_forgotten = known.is_some_and(|known| known.updated_ms < oldest_ms);
            if found.is_none() && may_be_forgotten {
                world.model.lites.clients.remove(client);
                continue;
            }
            let wanted = known.map(|known| match group.sharing {
                Sharing::Wildcard if !known.topics.is_empty() => {
                    BTreeSet::from([format!("{PARENT}@{}", group.name)])
                }
                _ => known.topics.iter().map(|topic| queue_of(topic).0).collect(),
            });
            ensure!(
                found == wanted,
                "{client} is subscribed to {found:?}, must be to {wanted:?}"
            );
        }
    }
    Ok(())
}

/// What the broker says that a client is subscribed to.
fn subscribed(
    world: &mut World,
    group: LiteGroup,
    client: &str,
) -> Result<Option<BTreeSet<String>>, Violation> {
    let header = GetLiteClientInfoRequestHeader {
        parent_topic: Some(PARENT.to_owned()),
        group: Some(group.name.to_owned()),
        client_id: Some(client.to_owned()),
        max_count: Some(MOST_NAMED),
    };
    let request = OutgoingRequest::new(request_code::GET_LITE_CLIENT_INFO).header(&header);
    let (_, answer) = world.call(0, request);
    let answer = answer.ok_or("GET_LITE_CLIENT_INFO was not answered")?;
    ensure!(
        answer.code == response_code::SUCCESS,
        "GET_LITE_CLIENT_INFO: {}",
        answer.remark
    );
    let body: GetLiteClientInfoResponseBody =
        fastjson::from_slice(&answer.body).map_err(|error| error.to_string())?;
    Ok(body.lite_topic_set)
}

/// After a start: each group goes on where it was, as far as that survives.
pub fn are_kept(world: &mut World) -> Result<(), Violation> {
    for group in LITE_GROUPS {
        for queue in LITE_TOPICS.map(queue_of) {
            let found = query_offset(world, group.name, &queue)?;
            let model = &mut world.model;
            let is_empty = model.next_offsets.get(&queue).is_none_or(|next| *next == 0);
            let is_gone = is_empty && model.deleted.contains_key(&queue.0);
            if found.is_none() && is_gone {
                // A start forgets what somebody said of a light topic that has expired.
                model.lites.of(group).queues.remove(&queue);
            }
            model.lites.in_order(group, &queue).take_start(&queue, found)?;
        }
    }
    Ok(())
}

/// The group is in a light topic where its acks have brought it.
pub fn is_where_it_was_told(
    world: &mut World,
    group: LiteGroup,
    queue: &Queue,
    what: &str,
) -> Result<(), Violation> {
    let found = query_offset(world, group.name, queue)?;
    let next = world.model.lites.groups.get(group.name);
    let next = next
        .and_then(|orders| orders.queues.get(queue))
        .and_then(InOrder::next);
    ensure!(
        found == next,
        "{what}: {} is at {found:?} in {queue:?}, must be at {next:?}",
        group.name
    );
    Ok(())
}

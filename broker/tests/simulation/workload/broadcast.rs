//! Broadcasting groups: members pull by themselves and through a proxy, change between the two, fall silent and come back.

use std::collections::BTreeSet;
use std::time::Duration;

use remoting::body::{ConsumeType, ConsumerData, HeartbeatData, MessageModel, SubscriptionData, fastjson};
use remoting::codes::request_code;
use remoting::header::{PullMessageRequestHeader, UnregisterClientRequestHeader};
use remoting::request::OutgoingRequest;

use super::sends::{finish_send, new_send};
use super::services::run_tick;
use super::{connection, note_answer, nothing, topics};
use crate::checks::{self, broadcast as check};
use crate::model::broadcast::{BROADCASTERS, CLIENTS, Member, MemberPull, NEWS, QUEUES};
use crate::model::filters::{self, Filter};
use crate::model::{ParkedPull, Queue};
use crate::world::{CONNECTIONS, Tick, World};
use crate::{Violation, ensure};

/// How long a pull waits for a message.
const SUSPEND_MS: i64 = 15_000;
/// Pulls of a member in a row until it has everything.
const MOST_PULLS: usize = 200;

/// The topic, to which nothing else happens: it is not among those of the model. The last client begins through a proxy.
pub fn prepare(world: &mut World) -> Result<(), Violation> {
    for group in BROADCASTERS {
        world.model.broadcasts.by_proxy.insert((group, CLIENTS.len() - 1));
    }
    topics::put_topic(world, NEWS, QUEUES)
}

/// Several things in a row: what becomes of a member hangs together.
pub fn work(world: &mut World) -> Result<(), Violation> {
    for _ in 0..3 + world.below(10) {
        match world.below(18) {
            0 => send(world)?,
            1 | 2 => {
                send(world)?;
                run_tick(world, Tick::Flush, false)?;
                run_tick(world, Tick::Dispatch, false)?;
            }
            3..=9 => pull(world)?,
            10 => heartbeat(world, random_member(world))?,
            11 | 12 => change_way(world),
            13 => restart_proxy(world),
            14 => leave(world)?,
            _ => look(world)?,
        }
    }
    Ok(())
}

/// A message for all members.
pub fn send(world: &mut World) -> Result<(), Violation> {
    let queue = random_queue(world);
    let send = new_send(world, &queue);
    finish_send(world, send.request, send.wanted, send.waits, &send.what)
}

fn random_queue(world: &World) -> Queue {
    // Most happens in the first: a member's way there is longer.
    let queue_id = [0, 0, 0, 1][world.below(4) as usize];
    (NEWS.to_owned(), queue_id)
}

fn random_member(world: &World) -> Member {
    let group = BROADCASTERS[world.below(BROADCASTERS.len() as i32) as usize];
    (group, world.below(CLIENTS.len() as i32) as usize)
}

/// The connection of a client itself. It serves nobody else: the broker closes it when the client falls silent.
fn own_connection(member: Member) -> usize {
    CONNECTIONS + member.1
}

fn waits(world: &World, member: Member) -> bool {
    let mut parked = world.model.broadcasts.parked.iter();
    parked.any(|pull| pull.member == member)
}

/// A member pulls, or waits for a message.
pub fn pull(world: &mut World) -> Result<(), Violation> {
    let (member, queue) = (random_member(world), random_queue(world));
    let by_proxy = world.model.broadcasts.by_proxy.contains(&member);
    if !by_proxy && !world.model.broadcasts.online.contains_key(&member) && world.below(4) != 0 {
        heartbeat(world, member)?;
    }
    let filter = match world.below(4) {
        0 => filters::FILTERS[world.below(filters::FILTERS.len() as i32) as usize],
        _ => filters::ALL,
    };
    let is_lost = world.below(6) == 0;
    let most = 1 + world.below(5);
    let suspends = world.below(3) == 0;
    pull_of(world, member, queue, filter, most, suspends, is_lost)
}

/// One pull of a member, unless it waits for another one of that queue.
fn pull_of(
    world: &mut World,
    member: Member,
    queue: Queue,
    filter: Filter,
    most: i32,
    suspends: bool,
    is_lost: bool,
) -> Result<(), Violation> {
    let broadcasts = &world.model.broadcasts;
    let is_mine = |pull: &MemberPull| pull.member == member && pull.pull.queue == queue;
    if broadcasts.parked.iter().any(is_mine) {
        return Ok(());
    }
    let by_proxy = broadcasts.by_proxy.contains(&member);
    let place = broadcasts.places.get(&(member, queue.clone()));
    let place = place.cloned().unwrap_or_default();
    let offset = match by_proxy {
        true => place.of_proxy.unwrap_or(-1),
        false => place.own,
    };
    let connection = match by_proxy {
        true => connection(world),
        false => own_connection(member),
    };
    let header = PullMessageRequestHeader {
        consumer_group: member.0.into(),
        topic: queue.0.as_str().into(),
        queue_id: queue.1,
        queue_offset: offset,
        max_msg_nums: most,
        sys_flag: 4 | if suspends { 2 } else { 0 },
        suspend_timeout_millis: SUSPEND_MS,
        subscription: Some(filter.expression.into()),
        expression_type: Some(if filter.is_sql { "SQL92" } else { "TAG" }.into()),
        request_source: by_proxy.then_some(1),
        proxy_froward_client_id: by_proxy.then_some(CLIENTS[member.1].into()),
        ..Default::default()
    };
    let request = OutgoingRequest::new(request_code::PULL_MESSAGE).header(&header);
    let (opaque, answer) = world.call(connection, request);
    let way = if by_proxy { "by proxy" } else { "itself" };
    let what = format!("pull {opaque} by {member:?} {way} of {queue:?} from {offset} {filter:?}");
    note_answer(world, &what, answer.as_ref());
    let pull = MemberPull {
        member,
        by_proxy,
        pull: ParkedPull {
            connection,
            opaque,
            queue,
            offset,
            filter,
            deadline_ms: world.now_ms() + SUSPEND_MS,
        },
        suspends,
        is_lost,
    };
    check::take_answer(world, pull, answer.as_ref())?;
    checks::after_step(world, &nothing(), None)
}

/// A client says that it is there, in one of its groups.
fn heartbeat(world: &mut World, member: Member) -> Result<(), Violation> {
    world.note(format!("  heartbeat of {member:?}"));
    let heartbeat = HeartbeatData {
        client_id: CLIENTS[member.1].to_owned(),
        consumer_data_set: vec![ConsumerData {
            consume_type: ConsumeType::Passively,
            group_name: member.0.to_owned(),
            message_model: MessageModel::Broadcasting,
            subscription_data_set: vec![SubscriptionData {
                topic: NEWS.to_owned(),
                sub_string: "*".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let body = fastjson::to_vec(&heartbeat).map_err(|error| error.to_string())?;
    let request = OutgoingRequest::new(request_code::HEART_BEAT).body(body);
    let (_, answer) = world.call(own_connection(member), request);
    ensure!(
        answer.as_ref().is_some_and(|answer| answer.code == 0),
        "heartbeat of {member:?}: {answer:?}"
    );
    let now_ms = world.now_ms();
    world.model.broadcasts.online.insert(member, now_ms);
    checks::after_step(world, &nothing(), None)
}

/// A member changes between broker and proxy, where the proxy begins anew.
fn change_way(world: &mut World) {
    let member = random_member(world);
    if waits(world, member) {
        return;
    }
    world.note(format!("  {member:?} changes its way"));
    if !world.model.broadcasts.by_proxy.remove(&member) {
        world.model.broadcasts.by_proxy.insert(member);
        forget_at_proxy(world, member);
    }
}

/// The proxy of a member has forgotten where it was.
fn restart_proxy(world: &mut World) {
    let member = random_member(world);
    if !waits(world, member) {
        world.note(format!("  the proxy of {member:?} begins anew"));
        forget_at_proxy(world, member);
    }
}

fn forget_at_proxy(world: &mut World, member: Member) {
    let places = world.model.broadcasts.places.iter_mut();
    for (_, place) in places.filter(|((of, _), _)| *of == member) {
        place.of_proxy = None;
    }
}

/// A client stops consuming for one of its groups.
fn leave(world: &mut World) -> Result<(), Violation> {
    let member = random_member(world);
    world.note(format!("  {member:?} leaves"));
    let header = UnregisterClientRequestHeader {
        client_id: CLIENTS[member.1].into(),
        consumer_group: Some(member.0.into()),
        producer_group: None,
    };
    let request = OutgoingRequest::new(request_code::UNREGISTER_CLIENT).header(&header);
    let (_, answer) = world.call(own_connection(member), request);
    ensure!(answer.is_some(), "{member:?} left and was not answered");
    world.model.broadcasts.online.remove(&member);
    checks::after_step(world, &nothing(), None)
}

/// Time passes, and the broker looks at who is there; offsets are written every few seconds in truth.
fn look(world: &mut World) -> Result<(), Violation> {
    let ms = [500, 5_000, 15_000, 30_000][world.below(4) as usize];
    let ms = world.below(ms).unsigned_abs();
    world.note(format!("  {ms} ms pass"));
    world.clock.advance(Duration::from_millis(ms.into()));
    run_tick(world, Tick::ClientExpiry, false)?;
    if ms > 5_000 {
        run_tick(world, Tick::Persist, false)?;
    }
    Ok(())
}

/// The broker has looked at its clients.
pub fn take_look(world: &mut World) -> Result<(), Violation> {
    let now_ms = world.now_ms();
    for client in world.model.expire_members(now_ms) {
        world.note(format!("  client {client} is gone, and connects again"));
        world.reconnect(CONNECTIONS + client);
    }
    check::slowest_are_committed(world)
}

/// At the end: each member gets everything that is left for it.
pub fn all_read(world: &mut World) -> Result<(), Violation> {
    let members: BTreeSet<Member> = BROADCASTERS
        .into_iter()
        .flat_map(|group| (0..CLIENTS.len()).map(move |client| (group, client)))
        .collect();
    // What waits still is answered first: its time is up long since.
    run_tick(world, Tick::PullExpiry, false)?;
    for member in members {
        for queue_id in 0..QUEUES {
            let queue = (NEWS.to_owned(), queue_id);
            let end = world.model.visible_end(&queue) as i64;
            let mut pulls = 0;
            while reached(world, member, &queue) != Some(end) {
                pulls += 1;
                ensure!(
                    pulls <= MOST_PULLS,
                    "{member:?} does not get to the end of {queue:?}"
                );
                pull_of(world, member, queue.clone(), filters::ALL, 32, false, false)?;
            }
        }
    }
    Ok(())
}

/// Where a member goes on, if it has begun.
fn reached(world: &World, member: Member, queue: &Queue) -> Option<i64> {
    let broadcasts = &world.model.broadcasts;
    let place = broadcasts.places.get(&(member, queue.clone()))?;
    match broadcasts.by_proxy.contains(&member) {
        true => place.of_proxy,
        false => Some(place.own),
    }
}

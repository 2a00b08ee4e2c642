//! What is looked at after each step, after each restart, and at the end.

pub mod broadcast;
pub mod lite;
pub mod orders;
pub mod pops;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use common::message::id::parse_offset_msg_id;
use common::message::properties::name;
use common::names::{SCHEDULE_TOPIC, TRANS_HALF_TOPIC, TRANS_OP_HALF_TOPIC};
use remoting::codes::{request_code, response_code};
use remoting::header::QueryConsumerOffsetRequestHeader;
use remoting::request::OutgoingRequest;
use store::{QueueEntry, QueueOffset};

use crate::model::broadcast::NEWS;
use crate::model::light::is_light;
use crate::model::{Logged, Model, ParkedPull, Queue, Unanswered, Wanted};
use crate::world::{ALL_CONNECTIONS, Answer, ROOT, World};
use crate::{Violation, ensure, replay};

/// Magic number of the end of a file. Reference: CommitLog.BLANK_MAGIC_CODE
const BLANK: u32 = 0xcbd4_3194;

/// Bytes of a record between the checksum of its body and the body's length: fields that no checksum covers.
const HEADER: std::ops::Range<usize> = 12..84;

/// What a step must have appended.
pub enum Expect {
    /// These records, in this order.
    Records(Vec<Wanted>),
    /// Copies of delayed messages whose time has come.
    Deliveries,
    /// Half messages put back to be asked about again, and notes of those that have ended.
    OfTransactions,
    /// Copies of what waited for its time.
    OfTimer,
    /// Checkpoints of pops.
    OfPops,
    /// Acks of pops, and checkpoints that take over from others.
    OfConsumers,
    /// What was popped and not acknowledged.
    OfRevive,
}

/// A send of this step.
pub struct Sent {
    pub connection: usize,
    pub opaque: i32,
    /// What came back at once.
    pub answer: Option<Answer>,
    /// Whether the sender waits for the disk.
    pub waits: bool,
    /// Whether the answer says where the records are.
    pub names_records: bool,
}

/// After every step.
pub fn after_step(world: &mut World, expect: &Expect, sent: Option<Sent>) -> Result<(), Violation> {
    let places = take_records(world, expect)?;
    if let Some(sent) = sent {
        take_answer_of_send(world, sent, places)?;
    }
    settle_connections(world)?;
    nobody_is_forgotten(world)?;
    lite::nobody_is_forgotten(world)?;
    pops::nobody_is_forgotten(world)
}

/// After a send of what was stored before, at these places: nothing is stored, and the answer names the first.
pub fn after_repeated_send(world: &mut World, sent: Sent, places: Vec<u64>) -> Result<(), Violation> {
    take_records(world, &Expect::Records(Vec::new()))?;
    take_answer_of_send(world, sent, places)?;
    after_step(world, &Expect::Records(Vec::new()), None)
}

/// After a step of several sends: everything that they stored lies in the log in the order in which they came. With each
/// stands how many records it stored; of one that nobody answers there is nothing else to say.
pub fn after_sends(
    world: &mut World,
    wanted: Vec<Wanted>,
    sends: Vec<(Option<Sent>, usize)>,
) -> Result<(), Violation> {
    let mut places = take_records(world, &Expect::Records(wanted))?.into_iter();
    for (sent, count) in sends {
        let places = places.by_ref().take(count).collect();
        if let Some(sent) = sent {
            take_answer_of_send(world, sent, places)?;
        }
    }
    settle_connections(world)?;
    nobody_is_forgotten(world)?;
    lite::nobody_is_forgotten(world)?;
    pops::nobody_is_forgotten(world)
}

/// Takes what the log got since into the model, if it is what is expected. Gives the places of the records.
pub fn take_records(world: &mut World, expect: &Expect) -> Result<Vec<u64>, Violation> {
    let state = world.store().state();
    let new = read_log(world, world.model.log_end, state.commit_log_max.0)?;
    match expect {
        Expect::Records(wanted) => {
            ensure!(
                new.len() == wanted.len(),
                "{} records were stored, {} were sent",
                new.len(),
                wanted.len()
            );
            for (record, wanted) in new.iter().zip(wanted) {
                is_wanted(record, wanted)?;
            }
        }
        Expect::Deliveries => {
            let now_ms = common::clock::Clock::wall_ms(&*world.clock);
            for record in &new {
                take_delivery(&mut world.model, record, now_ms)?;
            }
        }
        Expect::OfTransactions => {
            for record in &new {
                is_of_transactions(&world.model, record)?;
            }
        }
        // One may be a copy of the one before, which was due at once: each is looked at when the model has that.
        Expect::OfTimer | Expect::OfPops | Expect::OfConsumers | Expect::OfRevive => {}
    }
    let places: Vec<u64> = new.iter().map(|record| record.at).collect();
    for record in new {
        let model = &mut world.model;
        match expect {
            Expect::OfTimer => model.take_timer_copy(&record, world.timer_precision_ms)?,
            Expect::OfPops => model.take_pop_record(&record, false)?,
            Expect::OfConsumers => model.take_pop_record(&record, true)?,
            Expect::OfRevive => model.take_revived(&record, world.has_retry_v2)?,
            Expect::Records(_) | Expect::Deliveries | Expect::OfTransactions => {}
        }
        world.model.append(record)?;
    }
    let model = &mut world.model;
    ensure!(
        state.commit_log_max.0 == model.log_end,
        "the log ends behind its records"
    );
    ensure!(
        state.flushed.0 >= model.flushed && state.flushed.0 <= model.log_end,
        "flushed went from {} to {}",
        model.flushed,
        state.flushed.0
    );
    ensure!(
        state.dispatched.0 >= model.dispatched && state.dispatched.0 <= model.log_end,
        "dispatched went from {} to {}",
        model.dispatched,
        state.dispatched.0
    );
    ensure!(
        !world.is_sync || state.dispatched <= state.flushed,
        "a message is visible that is not on disk"
    );
    ensure!(
        state.commit_log_min.0 >= model.log_min,
        "expired files came back in a running broker"
    );
    ensure!(
        state.commit_log_min.0 <= state.dispatched.0.min(state.flushed.0),
        "files are gone that were still needed"
    );
    model.log_min = state.commit_log_min.0;
    model.flushed = state.flushed.0;
    model.dispatched = state.dispatched.0;
    model.may_be_half_dispatched |= world.power_is_failing;
    Ok(places)
}

fn take_answer_of_send(world: &mut World, sent: Sent, places: Vec<u64>) -> Result<(), Violation> {
    match sent.answer {
        None => {
            ensure!(
                !places.is_empty() || !sent.names_records,
                "a send waits for an answer and stored nothing"
            );
            world.model.unanswered.insert(
                (sent.connection, sent.opaque),
                Unanswered {
                    places,
                    names_records: sent.names_records,
                },
            );
        }
        Some(answer) if answer.code == response_code::SUCCESS => {
            if sent.names_records {
                names_its_records(&world.model, &answer, &places)?;
            }
            if world.is_sync && sent.waits {
                world.model.promised.extend(places);
            }
        }
        Some(_) => {}
    }
    Ok(())
}

fn names_its_records(model: &Model, answer: &Answer, places: &[u64]) -> Result<(), Violation> {
    let ids = answer.fields.get("msgId").map_or("", String::as_str);
    let named: Vec<u64> = ids
        .split(',')
        .filter_map(|id| parse_offset_msg_id(id).ok().map(|(_, offset)| offset))
        .collect();
    ensure!(
        named == places,
        "the answer names {named:?}, stored was {places:?}"
    );
    let offset = answer.number("queueOffset")?;
    let first = model.at(places[0]).ok_or("the first record is gone")?;
    let handle = answer.fields.get("recallHandle").map_or("", String::as_str);
    ensure!(
        handle == first.recall_handle(),
        "the answer's handle is {handle:?}, not that of the message"
    );
    ensure!(
        u64::try_from(offset) == Ok(first.queue_offset),
        "the answer says queue offset {offset}, stored was {}",
        first.queue_offset
    );
    Ok(())
}

/// Takes what was answered late, and lets resumed requests run, which may resume others.
pub fn settle_connections(world: &mut World) -> Result<(), Violation> {
    while settle_once(world)? {}
    Ok(())
}

/// Whether there was anything to do.
fn settle_once(world: &mut World) -> Result<bool, Violation> {
    let mut has_settled = false;
    for connection in 0..ALL_CONNECTIONS {
        let handle = std::sync::Arc::clone(&world.running().connections[connection]);
        for frame in handle.take_sent() {
            match frame.is_response() {
                true => take_late_answer(world, connection, Answer::of_frame(&frame))?,
                false => lite::take_notice(world, &frame)?,
            }
        }
        for call in handle.take_resumed() {
            let opaque = call.frame.opaque;
            has_settled = true;
            if let Some(poll) = pops::take_parked(&mut world.model, connection, opaque) {
                pops::resume(world, poll, &call)?;
                continue;
            }
            if let Some(poll) = lite::take_parked(&mut world.model, connection, opaque) {
                lite::resume(world, poll, &call)?;
                continue;
            }
            if let Some(pull) = broadcast::take_parked(&mut world.model, connection, opaque) {
                broadcast::resume(world, pull, &call)?;
                continue;
            }
            let mine = |pull: &ParkedPull| pull.connection == connection && pull.opaque == opaque;
            let Some(index) = world.model.parked.iter().position(mine) else {
                return Err(format!("pull {opaque} was resumed and did not wait"));
            };
            let pull = world.model.parked.remove(index);
            let Some(answer) = world.handle_resumed(&call) else {
                return Err(format!("pull {opaque} was parked twice"));
            };
            world.note(format!("    pull {opaque} resumed: {}", answer.code));
            is_pull_right(&world.model, &pull, &answer)?;
        }
    }
    Ok(has_settled)
}

/// Takes an answer to a request that has waited: a send for the disk, or a pull that was resumed.
pub fn take_late_answer(world: &mut World, connection: usize, answer: Answer) -> Result<(), Violation> {
    world.note(format!("    answer to {}: {}", answer.opaque, answer.code));
    let mine = |pull: &ParkedPull| pull.connection == connection && pull.opaque == answer.opaque;
    if let Some(index) = world.model.parked.iter().position(mine) {
        let pull = world.model.parked.remove(index);
        return is_pull_right(&world.model, &pull, &answer);
    }
    if let Some(pull) = broadcast::take_parked(&mut world.model, connection, answer.opaque) {
        return broadcast::take_answer(world, pull, Some(&answer));
    }
    let Some(waited) = world.model.unanswered.remove(&(connection, answer.opaque)) else {
        return Err(format!("answer {} {} to nobody", answer.code, answer.remark));
    };
    if answer.code == response_code::SUCCESS {
        if waited.names_records {
            names_its_records(&world.model, &answer, &waited.places)?;
        }
        world.model.promised.extend(waited.places);
    }
    Ok(())
}

fn nobody_is_forgotten(world: &World) -> Result<(), Violation> {
    let model = &world.model;
    for pull in model.waiting_pulls() {
        if let Some(record) = matching(model, pull).next() {
            return Err(format!(
                "pull {} waits for {:?} at {} and was not told of offset {:?}",
                pull.opaque,
                pull.queue,
                pull.offset,
                record.offset_in(&pull.queue)
            ));
        }
    }
    Ok(())
}

/// After the expiry of pulls has run.
pub fn no_pull_is_overdue(world: &World) -> Result<(), Violation> {
    let now_ms = common::clock::Clock::wall_ms(&*world.clock);
    match world
        .model
        .waiting_pulls()
        .find(|pull| pull.deadline_ms <= now_ms)
    {
        Some(pull) => Err(format!("pull {} still waits, its time is up", pull.opaque)),
        None => Ok(()),
    }
}

/// The records a pull may get.
fn matching<'a>(model: &'a Model, pull: &'a ParkedPull) -> impl Iterator<Item = &'a Logged> + 'a {
    let from = u64::try_from(pull.offset).unwrap_or(0);
    model
        .visible(&pull.queue)
        .filter(move |record| record.offset_in(&pull.queue) >= Some(from) && (pull.filter.wants)(record))
}

/// The record behind those that a pull may get, if it may be in the queue already.
fn half_dispatched<'a>(model: &'a Model, pull: &ParkedPull) -> Option<&'a Logged> {
    let from = u64::try_from(pull.offset).unwrap_or(0);
    model
        .half_dispatched()
        .filter(|record| record.offset_in(&pull.queue) >= Some(from) && (pull.filter.wants)(record))
}

/// Whether a pull got what it must get.
pub fn is_pull_right(model: &Model, pull: &ParkedPull, answer: &Answer) -> Result<(), Violation> {
    let offset = u64::try_from(pull.offset).unwrap_or(0);
    let wanted: Vec<&Logged> = matching(model, pull).collect();
    let offset_of = |record: &Logged| record.offset_in(&pull.queue).unwrap_or(0);
    let what = format!(
        "pull {} of {:?} from {offset}: {}",
        pull.opaque, pull.queue, answer.code
    );
    let next = || {
        answer
            .number("nextBeginOffset")
            .map(|next| u64::try_from(next).unwrap_or(0))
    };
    match answer.code {
        response_code::SUCCESS => {
            let mut rest = &answer.body[..];
            let mut last = offset;
            let mut count = 0;
            while !rest.is_empty() {
                let half_dispatched = (count == wanted.len())
                    .then(|| half_dispatched(model, pull))
                    .flatten();
                let Some(record) = wanted.get(count).copied().or(half_dispatched) else {
                    return Err(format!("{what}: more than there is"));
                };
                ensure!(
                    rest.starts_with(&record.bytes),
                    "{what}: not the record at {}, offset {}",
                    record.at,
                    offset_of(record)
                );
                rest = &rest[record.bytes.len()..];
                last = offset_of(record) + 1;
                count += 1;
            }
            ensure!(count > 0, "{what}: no message");
            let next = next()?;
            ensure!(next >= last, "{what}: goes on at {next}, before {last}");
            let skipped = wanted.get(count).is_some_and(|record| offset_of(record) < next);
            ensure!(!skipped, "{what}: goes on at {next} and skips a message");
            let end = model.next_offsets.get(&pull.queue).copied().unwrap_or(0);
            ensure!(next <= end, "{what}: goes on at {next}, the queue ends at {end}");
        }
        response_code::PULL_NOT_FOUND => {
            ensure!(wanted.is_empty(), "{what}: there are {}", wanted.len());
        }
        response_code::PULL_RETRY_IMMEDIATELY => {
            let next = next()?;
            ensure!(next > offset, "{what}: goes on at {next}, where it was");
            ensure!(
                wanted.iter().all(|record| offset_of(record) >= next),
                "{what}: goes on at {next} and skips a message"
            );
        }
        response_code::PULL_OFFSET_MOVED => {
            let is_reset = answer.remark == "OFFSET_RESET";
            let is_there = model
                .visible(&pull.queue)
                .any(|record| offset_of(record) == offset);
            ensure!(is_reset || !is_there, "{what}: the message is there");
        }
        // Refused, not sent back to where it was: it would ask without end.
        response_code::SYSTEM_ERROR if model.opens_fail => {}
        _ => {
            let exists = model
                .topics
                .get(&pull.queue.0)
                .is_some_and(|queues| pull.queue.1 < *queues);
            let exists = exists || is_light(&pull.queue) || pull.queue.0 == NEWS;
            ensure!(!exists, "{what}: {}", answer.remark);
        }
    }
    Ok(())
}

fn is_wanted(record: &Logged, wanted: &Wanted) -> Result<(), Violation> {
    ensure!(
        record.queue == wanted.queue,
        "stored in {:?}, sent to {:?}",
        record.queue,
        wanted.queue
    );
    ensure!(
        record.body == wanted.body,
        "the body at {} is not the one sent",
        record.at
    );
    for (name, value) in &wanted.properties {
        ensure!(
            record.property(name) == value,
            "property {name} at {} is {:?}, not {value:?}",
            record.at,
            record.property(name)
        );
    }
    Ok(())
}

/// What a round of the check may store.
fn is_of_transactions(model: &Model, record: &Logged) -> Result<(), Violation> {
    let key = record.property(name::UNIQ_KEY);
    match record.queue.0.as_str() {
        TRANS_OP_HALF_TOPIC => Ok(()),
        TRANS_HALF_TOPIC => {
            let is_copy = model.log.iter().any(|old| {
                old.queue == record.queue && old.property(name::UNIQ_KEY) == key && old.body == record.body
            });
            ensure!(is_copy, "the half message at {} is a copy of none", record.at);
            let is_visible = model.visible_copies(key).next().is_some();
            ensure!(!is_visible, "the half message {key} was put back and is visible");
            Ok(())
        }
        topic => Err(format!("a check stored a message of {topic}")),
    }
}

/// A copy of a delayed message: of the next of its level, and not too early.
fn take_delivery(model: &mut Model, copy: &Logged, now_ms: i64) -> Result<(), Violation> {
    let level: i32 = copy.property(name::DELAY).parse().unwrap_or(0);
    let candidates = next_to_deliver(model, level);
    let is_origin = |record: &&Logged| record.identity() == copy.identity();
    let origins: Vec<&Logged> = candidates.iter().copied().filter(is_origin).collect();
    let Some(origin) = origins.first() else {
        return Err(format!(
            "the record at {} in {:?} is no copy of the next delayed message of level {level}: {} of {:?}",
            copy.at,
            copy.queue,
            copy.property(name::UNIQ_KEY),
            candidates
                .iter()
                .map(|record| (record.queue_offset, record.property(name::UNIQ_KEY)))
                .collect::<Vec<_>>()
        ));
    };
    ensure!(
        copy.queue.0 == origin.property(name::REAL_TOPIC)
            && copy.queue.1.to_string() == origin.property(name::REAL_QUEUE_ID),
        "the delayed message at {} was delivered to {:?}",
        origin.at,
        copy.queue
    );
    ensure!(
        origin.tags_code() <= now_ms,
        "the delayed message at {} came too early",
        origin.at
    );
    let due = origins.iter().filter(|origin| origin.tags_code() <= now_ms);
    let mut next: BTreeSet<u64> = due.map(|origin| origin.queue_offset + 1).collect();
    let furthest = next.pop_last().ok_or("one is due")?;
    model.delivered.insert(level, furthest);
    model.may_be_at.insert(level, next);
    model.may_repeat.remove(&level);
    Ok(())
}

/// The messages one of which a delay level delivers next: after a crash any from where it may be back on.
fn next_to_deliver(model: &Model, level: i32) -> Vec<&Logged> {
    let queue: Queue = (SCHEDULE_TOPIC.to_owned(), level - 1);
    let seen = model.indexed().chain(model.half_dispatched());
    let in_queue: Vec<&Logged> = seen.filter(|record| record.queue == queue).collect();
    let upto = model.delivered.get(&level).copied().unwrap_or(0);
    let first_from = |from: u64| in_queue.partition_point(|record| record.queue_offset < from);
    let places: BTreeSet<usize> = if model.may_repeat.contains(&level) {
        let from = model.delivered_durable.get(&level).copied().unwrap_or(0);
        (first_from(from)..=first_from(upto)).collect()
    } else {
        let others = model.may_be_at.get(&level).into_iter().flatten();
        others.chain([&upto]).map(|from| first_from(*from)).collect()
    };
    places
        .iter()
        .filter_map(|place| in_queue.get(*place).copied())
        .collect()
}

/// Records from one place to another, as the disk shows them.
fn read_log(world: &World, from: u64, to: u64) -> Result<Vec<Logged>, Violation> {
    let mut records = Vec::new();
    let mut at = from;
    while at < to {
        let start = at - at % world.file_size;
        let path = PathBuf::from(format!("{ROOT}/commitlog/{start:020}"));
        let place = (at - start) as usize;
        let bytes = world.disk.bytes(&path, place..world.file_size as usize);
        let Some(bytes) = bytes else {
            return Err(format!("the log has no file for {at}"));
        };
        if bytes.len() >= 8 && bytes[4..8] == BLANK.to_be_bytes() {
            at = start + world.file_size;
            continue;
        }
        let record = Logged::decode(at, &bytes)?;
        at = record.end();
        records.push(record);
    }
    ensure!(at == to, "the log ends in the middle of the record at {at}");
    Ok(records)
}

/// After a clean stop and a start: nothing has changed.
pub fn after_clean_start(world: &mut World) -> Result<(), Violation> {
    let state = world.store().state();
    let damage = world.store().damage().to_vec();
    ensure!(damage.is_empty(), "damage after a clean stop: {damage:?}");
    let model = &world.model;
    ensure!(
        state.commit_log_max.0 == model.log_end && state.commit_log_min.0 == model.log_min,
        "the log was {}..{}, is {}..{}",
        model.log_min,
        model.log_end,
        state.commit_log_min.0,
        state.commit_log_max.0
    );
    let log = read_log(world, state.commit_log_min.0, state.commit_log_max.0)?;
    for record in &log {
        let is_same = world
            .model
            .at(record.at)
            .is_some_and(|old| old.bytes == record.bytes);
        ensure!(is_same, "the record at {} has changed", record.at);
    }
    let count = world
        .model
        .log
        .iter()
        .filter(|record| record.at >= world.model.log_min)
        .count();
    ensure!(
        count == log.len(),
        "{count} records before the stop, {} after",
        log.len()
    );
    adopt_state(world);
    queues_equal_a_replay(world, true)?;
    everything(world)
}

/// After a crash and a start: what was flushed is there, and nothing that never was.
pub fn after_crash(world: &mut World) -> Result<(), Violation> {
    let state = world.store().state();
    let (begin, end) = (state.commit_log_min.0, state.commit_log_max.0);
    let log = read_log(world, begin, end)?;
    let model = &mut world.model;
    ensure!(
        begin <= model.log_min,
        "the crash took the files from {} to {begin}",
        model.log_min
    );
    ensure!(
        end >= model.flushed,
        "the log ends at {end}, {} was flushed",
        model.flushed
    );
    let here: BTreeMap<u64, &Logged> = log.iter().map(|record| (record.at, record)).collect();
    for old in model
        .log
        .iter()
        .filter(|old| old.at >= begin && old.end() <= model.flushed)
    {
        let is_same = here.get(&old.at).is_some_and(|record| record.bytes == old.bytes);
        ensure!(
            is_same,
            "the record at {} was flushed and is not there any more",
            old.at
        );
    }
    let is_repair = |at: &u64| here.get(at).is_none_or(|record| record.is_repair());
    if let Some(at) = model.promised.iter().find(|at| **at >= begin && is_repair(at)) {
        return Err(format!(
            "the record at {at} is lost, its sender was told that it is on disk"
        ));
    }
    for record in &log {
        let old = model.at(record.at);
        let is_known = old.is_some_and(|old| old.bytes == record.bytes);
        let may_differ = record.is_repair() || old.is_some_and(|old| lost_of_header(old, record));
        ensure!(
            is_known || (may_differ && record.at >= model.flushed),
            "the record at {} is none that was stored: {:?} {}",
            record.at,
            record.queue,
            record.queue_offset
        );
    }
    let last = log.last().map_or(0, |record| record.at);
    let lost: Vec<u64> = model
        .log
        .iter()
        .filter(|old| old.at >= begin && old.at < last && is_repair(&old.at))
        .map(|old| old.at)
        .collect();
    let flushed = model.flushed;
    // A blank at the end of a file may be lost too: then nobody can say that no record stood there.
    let lost_blank = model
        .log
        .windows(2)
        .map(|pair| (pair[0].end(), pair[1].at))
        .find(|(blank, next)| (flushed..*next).contains(blank) && *next <= last)
        .map(|(blank, _)| blank);
    let is_whole = model
        .log
        .iter()
        .filter(|old| old.at >= begin)
        .all(|old| here.get(&old.at).is_some_and(|record| record.bytes == old.bytes));
    let lost_from = lost.first().copied().into_iter().chain(lost_blank).min();
    model.lost.extend(lost);
    let durable_ends = ends_of(model, |record| record.end() <= flushed);
    model.log.retain(|old| old.at < begin);
    model.log.extend(log);
    model.log_min = begin;
    model.log_end = end;
    model.promised.retain(|at| *at < end);
    model
        .deleted
        .values_mut()
        .for_each(|deleted| *deleted = (*deleted).min(end));
    model.drop_deleted_places();
    let store = world.store();
    let ends = ends_of(&world.model, |record| record.at >= begin);
    for (queue, next) in std::mem::take(&mut world.model.next_offsets) {
        let found = u64::try_from(store.max_offset(&queue.0, queue.1)).unwrap_or(0);
        match ends.get(&queue) {
            Some(end) => ensure!(found == *end, "{queue:?} ends at {found}, its messages at {end}"),
            None => {
                let least = durable_ends.get(&queue).copied().unwrap_or(0);
                ensure!(
                    (least..=next).contains(&found),
                    "{queue:?} ends at {found} after all its messages expired at {least}"
                );
            }
        }
        world.model.next_offsets.insert(queue, found);
    }
    for (level, upto) in &mut world.model.delivered {
        let queue = (SCHEDULE_TOPIC.to_owned(), level - 1);
        *upto = (*upto).min(world.model.next_offsets.get(&queue).copied().unwrap_or(0));
        // What was delivered is in the log, and found there.
        if !is_whole {
            world.model.may_repeat.insert(*level);
            world.model.may_be_at.remove(level);
        }
    }
    world.model.forget_lost_timer_copies();
    world.model.forget_lost_pop_records(lost_from);
    adopt_state(world);
    everything(world)
}

/// Whether a record is the old one but for fields of its header that have no checksum: a page ended among them, and of that
/// page the end never reached the disk. The format of the reference leaves no way to see that.
fn lost_of_header(old: &Logged, record: &Logged) -> bool {
    const PAGE_BYTES: u64 = 4_096;
    let Some(first) = (0..old.bytes.len()).find(|at| record.bytes.get(*at) != Some(&old.bytes[*at])) else {
        return false;
    };
    let page_end = ((record.at + first as u64) / PAGE_BYTES + 1) * PAGE_BYTES;
    let end = (page_end - record.at) as usize;
    HEADER.contains(&first)
        && HEADER.contains(&end)
        && record.bytes[first..end].iter().all(|byte| *byte == 0)
        && record.bytes[end..] == old.bytes[end..]
}

/// Ends of the queues whose records pass.
fn ends_of(model: &Model, passes: impl Fn(&Logged) -> bool) -> BTreeMap<Queue, u64> {
    let mut ends = BTreeMap::new();
    for record in model.log.iter().filter(|record| passes(record)) {
        if model.is_deleted(record) {
            continue;
        }
        for (queue, offset) in record.places() {
            ends.insert(queue.clone(), offset + 1);
        }
    }
    ends
}

fn adopt_state(world: &mut World) {
    let state = world.store().state();
    let now_ms = world.now_ms();
    let model = &mut world.model;
    model.pops.started_ms = now_ms;
    model.flushed = state.flushed.0;
    model.dispatched = state.dispatched.0;
    model.resets.extend(std::mem::take(&mut model.told_resets));
    model.may_be_half_dispatched = false;
    model.unanswered.clear();
    model.parked.clear();
    model.pops.parked.clear();
    model.lites.begin();
    model.broadcasts.begin(&model.next_offsets);
}

/// Compares everything derived with a replay of the log.
pub fn everything(world: &mut World) -> Result<(), Violation> {
    queues_equal_a_replay(world, false)?;
    every_key_is_found(world)?;
    replay::builds_the_same(world)?;
    offsets_are_kept(world)?;
    orders::are_kept(world)?;
    lite::are_kept(world)
}

/// A ConsumeQueue entry as bytes.
pub fn encoded(entry: &QueueEntry) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&entry.physical_offset.0.to_be_bytes());
    bytes[8..12].copy_from_slice(&entry.size_bytes.to_be_bytes());
    bytes[12..].copy_from_slice(&entry.tags_code.to_be_bytes());
    bytes
}

fn queues_equal_a_replay(world: &World, stopped_cleanly: bool) -> Result<(), Violation> {
    let (model, store) = (&world.model, world.store());
    let mut ends: BTreeMap<Queue, (u64, u64)> = BTreeMap::new();
    for record in model.indexed() {
        for (queue, queue_offset) in record.places() {
            let (topic, queue_id) = queue;
            if let Some((end, at)) = ends.insert(queue.clone(), (queue_offset + 1, record.at)) {
                let is_gap_known = model.lost.range(at..record.at).next().is_some();
                ensure!(
                    queue_offset == end || (queue_offset > end && is_gap_known),
                    "after offset {end} of {queue:?} comes {queue_offset}"
                );
            }
            let position = queue_offset * 20;
            let start = position - position % 160;
            let path = PathBuf::from(format!("{ROOT}/consumequeue/{topic}/{queue_id}/{start:020}"));
            let place = (position - start) as usize;
            let wanted = record.queue_entry();
            let entry = store
                .queue_entries(topic, *queue_id, QueueOffset(queue_offset), 1)
                .first()
                .map(encoded);
            ensure!(
                entry == Some(wanted),
                "the entry {queue_offset} of {queue:?} is {entry:?}, the record lies at {}",
                record.at
            );
            // Until the next flush the last entries may be in memory only; after a clean stop none is.
            let in_file = world.disk.bytes(&path, place..place + 20);
            let is_in_memory =
                !stopped_cleanly && in_file.as_ref().is_none_or(|bytes| is_part_of(bytes, &wanted));
            ensure!(
                is_in_memory || in_file.as_deref() == Some(&wanted),
                "the file has {in_file:?} for the entry {queue_offset} of {queue:?}, the record lies at {}",
                record.at
            );
        }
    }
    for queue in model.next_offsets.keys() {
        let end = u64::try_from(store.max_offset(&queue.0, queue.1)).unwrap_or(0);
        let wanted = model.visible_end(queue);
        ensure!(end == wanted, "{queue:?} ends at {end}, must end at {wanted}");
    }
    Ok(())
}

/// Whether a file holds nothing of an entry yet, or what a crash has left of it: it is written again from memory.
pub fn is_part_of(bytes: &[u8], entry: &[u8]) -> bool {
    bytes
        .iter()
        .zip(entry)
        .all(|(found, wanted)| *found == 0 || found == wanted)
}

fn every_key_is_found(world: &World) -> Result<(), Violation> {
    let model = &world.model;
    let mut wanted: BTreeMap<(String, String), BTreeSet<u64>> = BTreeMap::new();
    for record in model.indexed().filter(|record| !record.is_repair()) {
        for key in record.keys() {
            let places = wanted.entry((record.queue.0.clone(), key)).or_default();
            places.insert(record.at);
        }
    }
    let store = world.store();
    for ((topic, key), places) in wanted.iter().filter(|(_, places)| places.len() < 60) {
        let mut found = Vec::new();
        store.query_by_key(topic, key, None, 64, 0, i64::MAX, &mut found);
        let mut rest = &found[..];
        let mut seen = BTreeSet::new();
        while !rest.is_empty() {
            let at = store::record::decode(rest)
                .map_err(|error| error.to_string())?
                .physical_offset
                .0;
            let record = model.at(at).filter(|record| rest.starts_with(&record.bytes));
            let Some(record) = record else {
                return Err(format!("key {key} of {topic} finds {at}, which is no record"));
            };
            ensure!(seen.insert(at), "key {key} of {topic} finds {at} twice");
            rest = &rest[record.bytes.len()..];
        }
        ensure!(
            places.is_subset(&seen),
            "key {key} of {topic} finds {seen:?}, not all of {places:?}"
        );
    }
    Ok(())
}

fn offsets_are_kept(world: &mut World) -> Result<(), Violation> {
    let keys: Vec<_> = world.model.offsets.keys().cloned().collect();
    for (group, queue) in keys {
        let found = query_offset(world, &group, &queue)?;
        let progress = world.model.offsets.get_mut(&(group.clone(), queue.clone()));
        let progress = progress.ok_or("the key was there")?;
        ensure!(
            found.map_or(progress.may_be_missing, |found| progress.values.contains(&found)),
            "{group} is at {found:?} in {queue:?}, committed was {progress:?}"
        );
        match found {
            Some(found) => progress.values = vec![found],
            None => drop(world.model.offsets.remove(&(group, queue))),
        }
    }
    Ok(())
}

/// What the broker says of a group's progress.
pub fn query_offset(world: &mut World, group: &str, queue: &Queue) -> Result<Option<i64>, Violation> {
    let header = QueryConsumerOffsetRequestHeader {
        consumer_group: group.into(),
        topic: queue.0.as_str().into(),
        queue_id: queue.1,
        set_zero_if_not_found: Some(false),
        ..Default::default()
    };
    let request = OutgoingRequest::new(request_code::QUERY_CONSUMER_OFFSET).header(&header);
    let (_, answer) = world.call(0, request);
    let answer = answer.ok_or("a query of an offset was not answered")?;
    match answer.code {
        response_code::SUCCESS => answer.number("offset").map(Some),
        response_code::QUERY_NOT_FOUND => Ok(None),
        code => Err(format!("query of an offset: {code} {}", answer.remark)),
    }
}

/// At the end, when every delay is over: each delayed message was delivered, and its copy is there.
pub fn delayed_messages_arrived(world: &World) -> Result<(), Violation> {
    let model = &world.model;
    let copies: BTreeSet<_> = model
        .log
        .iter()
        .filter(|record| record.queue.0 != SCHEDULE_TOPIC)
        .map(Logged::identity)
        .collect();
    let is_waiting = |record: &&Logged| record.queue.0 == SCHEDULE_TOPIC;
    for record in model.indexed().filter(is_waiting) {
        ensure!(
            copies.contains(&record.identity()),
            "the delayed message at {}, level {}, offset {}, never came",
            record.at,
            record.queue.1 + 1,
            record.queue_offset
        );
    }
    Ok(())
}

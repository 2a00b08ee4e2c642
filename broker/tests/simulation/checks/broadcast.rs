//! Whether members of broadcasting groups go on where they must.

use remoting::codes::response_code;
use remoting::request::Call;

use crate::model::Model;
use crate::model::broadcast::{BROADCASTERS, Begin, MemberPull, NEWS, QUEUES, committed_key};
use crate::world::{Answer, World};
use crate::{Violation, checks, ensure};

/// The pull that waits under this name, which waits no more.
pub fn take_parked(model: &mut Model, connection: usize, opaque: i32) -> Option<MemberPull> {
    let parked = &mut model.broadcasts.parked;
    let mine = |pull: &MemberPull| pull.pull.connection == connection && pull.pull.opaque == opaque;
    let index = parked.iter().position(mine)?;
    Some(parked.remove(index))
}

/// A pull is looked at again, for the last time.
pub fn resume(world: &mut World, pull: MemberPull, call: &Call) -> Result<(), Violation> {
    let opaque = pull.pull.opaque;
    let answer = world
        .handle_resumed(call)
        .ok_or_else(|| format!("pull {opaque} of a member was parked twice"))?;
    world.note(format!("    pull {opaque} of a member resumed: {}", answer.code));
    take_answer(world, pull, Some(&answer))
}

/// Takes the answer to a pull, or that there is none yet.
pub fn take_answer(world: &mut World, pull: MemberPull, answer: Option<&Answer>) -> Result<(), Violation> {
    let now_ms = world.now_ms();
    let model = &mut world.model;
    let asked = pull.pull.offset;
    let is_known = model.broadcasts.is_known_member(&pull);
    let begin = match is_known {
        true => model.broadcasts.begin_of(&pull),
        false => Begin::AsAsked,
    };
    let Some(answer) = answer else {
        ensure!(
            pull.suspends && begin == Begin::AsAsked,
            "{pull:?} waits, it must begin {begin:?}"
        );
        if is_known {
            model.broadcasts.remember(&pull, asked, now_ms);
        }
        model.broadcasts.parked.push(pull);
        return Ok(());
    };
    let is_sent = answer.code == response_code::PULL_OFFSET_MOVED && answer.remark == "OFFSET_RESET";
    ensure!(
        is_sent == (begin != Begin::AsAsked),
        "{pull:?}: {} {}, it must begin {begin:?}",
        answer.code,
        answer.remark
    );
    let next = match is_sent {
        true => answer.number("nextBeginOffset")?,
        false => next_of(model, &pull, answer)?,
    };
    if is_sent {
        begins_right(model, &pull, &begin, next)?;
    }
    if is_known {
        let has_moved = answer.code == response_code::PULL_OFFSET_MOVED;
        let offset = if has_moved { next } else { asked };
        model.broadcasts.remember(&pull, offset, now_ms);
    }
    let key = (pull.member, pull.pull.queue.clone());
    let place = model.broadcasts.places.entry(key).or_default();
    place.has = place.has.max(asked);
    // Where the broker sends it, it stays, though the answer is lost.
    if is_sent || !pull.is_lost {
        place.has = place.has.max(next);
    }
    if !pull.is_lost {
        match pull.by_proxy {
            true => place.of_proxy = Some(next),
            false => place.own = next,
        }
    }
    Ok(())
}

/// Where a member goes on that was not sent elsewhere: behind what it got, if that is right.
fn next_of(model: &Model, pull: &MemberPull, answer: &Answer) -> Result<i64, Violation> {
    checks::is_pull_right(model, &pull.pull, answer)?;
    let next = answer.number("nextBeginOffset")?;
    if answer.code == response_code::PULL_NOT_FOUND {
        return Ok(pull.pull.offset);
    }
    if answer.code == response_code::PULL_OFFSET_MOVED {
        let queue = &pull.pull.queue;
        let passed = model.visible(queue).find(|record| {
            let offset = record.offset_in(queue).map_or(-1, |offset| offset as i64);
            (pull.pull.offset..next).contains(&offset)
        });
        ensure!(passed.is_none(), "{pull:?} goes on at {next} and skips a message");
    }
    Ok(next)
}

/// Whether a member was sent where it must be: never behind what it was given while the broker remembers it.
fn begins_right(model: &Model, pull: &MemberPull, begin: &Begin, found: i64) -> Result<(), Violation> {
    let queue = &pull.pull.queue;
    let key = (pull.member, queue.clone());
    let has = model.broadcasts.places.get(&key).map_or(0, |place| place.has);
    let end = model.next_offsets.get(queue).copied().unwrap_or(0) as i64;
    ensure!(
        found <= end,
        "{pull:?} was sent to {found}, the queue ends at {end}"
    );
    if let Begin::At(offset) = begin {
        ensure!(
            found <= has,
            "{pull:?} was sent to {found}, it was given what is before {has}: it misses messages"
        );
        ensure!(
            found == *offset,
            "{pull:?} was sent to {found}, it had pulled up to {offset}"
        );
        return Ok(());
    }
    let committed = model.offsets.get(&committed_key(pull.member.0, queue));
    if let Some(offset) = committed.and_then(|progress| progress.values.last()) {
        ensure!(
            found == *offset,
            "{pull:?} was sent to {found}, the slowest is at {offset}"
        );
        return Ok(());
    }
    let has_first = model
        .visible(queue)
        .any(|record| record.offset_in(queue) == Some(0));
    // The entry of the first message may outlive it, and the queue be longer by one that is half in it.
    let visible_end = model.visible_end(queue) as i64;
    let is_end = !has_first && (visible_end..=visible_end + 1).contains(&found);
    ensure!(
        found == 0 || is_end,
        "{pull:?} was sent to {found}: neither the beginning nor the end"
    );
    Ok(())
}

/// After the broker has looked at its members: what it has committed for those it does not know.
pub fn slowest_are_committed(world: &mut World) -> Result<(), Violation> {
    for group in BROADCASTERS {
        for queue_id in 0..QUEUES {
            let key = committed_key(group, &(NEWS.to_owned(), queue_id));
            let progress = world.model.offsets.get(&key);
            let wanted = progress.and_then(|progress| progress.values.last().copied());
            let found = checks::query_offset(world, &key.0, &key.1)?;
            ensure!(
                found == wanted,
                "the slowest of {group} is at {wanted:?} in queue {queue_id}, committed is {found:?}"
            );
        }
    }
    Ok(())
}

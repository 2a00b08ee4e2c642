//! Requests that do not wait for one another: many in one read, the reads of several connections in turns.
//!
//! ```text
//!   connection 0   | send | send | pull | batch | sen     d | refused | send |
//!   connection 1          | send | send | send |      | pull | send |
//!                  └── one read ──┘ └ ticks may come between ┘
//! ```
//!
//! The bytes go through the task that serves a socket (`remoting::detached`): it cuts them into frames and routes these, a few
//! in a turn. What the sends store lies in the log as the bytes came: of each connection in its order, and so in each queue.
//! Each request is answered once, at once or when the disk has it, with the place where its message was stored.

use std::collections::{BTreeMap, VecDeque};

use broker::Broker;
use remoting::codes::{request_code, response_code};
use remoting::detached::DetachedPeer;
use remoting::request::OutgoingRequest;

use super::consumers::{NewPull, new_pull, take_pull};
use super::sends::{NewSend, new_batch, new_send};
use super::services::run_tick;
use super::{GROUPS, note_answer, random_queue};
use crate::checks::{self, Sent};
use crate::model::Queue;
use crate::world::{Answer, CONNECTIONS, Tick, World, send_request};
use crate::{Violation, ensure};

/// What one connection writes.
struct Stream {
    connection: usize,
    peer: DetachedPeer<Broker>,
    bytes: Vec<u8>,
    /// So many bytes of them are written.
    written: usize,
    /// Those that are not written yet, or not whole.
    requests: VecDeque<Written>,
}

struct Written {
    opaque: i32,
    /// Where its frame ends in the bytes.
    end: usize,
    kind: Kind,
}

enum Kind {
    Send(NewSend),
    /// A send that nobody answers.
    OnewaySend(NewSend),
    Pull(NewPull),
    /// One that the broker turns down, and that stores nothing.
    Wrong,
}

/// Several connections write many requests each.
pub fn pipeline(world: &mut World) -> Result<(), Violation> {
    let (Some(one), Some(other)) = (random_queue(world), random_queue(world)) else {
        return Ok(());
    };
    let frames_per_turn = 1 + world.below(8) as usize;
    let mut streams: Vec<Stream> = (0..CONNECTIONS)
        .map(|connection| Stream::new(world, connection, frames_per_turn, [&one, &other]))
        .collect();
    while !streams.is_empty() {
        let index = world.below(streams.len() as i32) as usize;
        streams[index].write_some(world)?;
        streams.retain(|stream| stream.written < stream.bytes.len());
        match world.below(10) {
            0 => run_tick(world, Tick::Flush, false)?,
            1 => run_tick(world, Tick::Dispatch, false)?,
            _ => {}
        }
    }
    Ok(())
}

impl Stream {
    fn new(world: &mut World, connection: usize, frames_per_turn: usize, queues: [&Queue; 2]) -> Self {
        let mut stream = Stream {
            connection,
            peer: world.peer(connection, frames_per_turn),
            bytes: Vec::new(),
            written: 0,
            requests: VecDeque::new(),
        };
        for _ in 0..1 + world.below(9) {
            let queue = queues[world.below(2) as usize];
            // Of one that nobody answers nobody knows whether a disk that fails has taken it.
            let (request, kind) = match world.below(12) {
                0 | 1 => {
                    let pull = new_pull(world, queue, GROUPS);
                    (pull.request.clone(), Kind::Pull(pull))
                }
                2 => (wrong_request(world, queue), Kind::Wrong),
                3 if !world.power_is_failing => {
                    let send = new_send(world, queue);
                    (send.request.clone(), Kind::OnewaySend(send))
                }
                4 | 5 => {
                    let send = new_batch(world, queue);
                    (send.request.clone(), Kind::Send(send))
                }
                _ => {
                    let send = new_send(world, queue);
                    (send.request.clone(), Kind::Send(send))
                }
            };
            let is_oneway = matches!(kind, Kind::OnewaySend(_));
            let (opaque, frame) = world.encode(&request, is_oneway);
            stream.bytes.extend(frame);
            let end = stream.bytes.len();
            stream.requests.push_back(Written { opaque, end, kind });
        }
        stream
    }

    /// Writes the next bytes: all that are left, or up to anywhere in the middle of a frame.
    fn write_some(&mut self, world: &mut World) -> Result<(), Violation> {
        let left = self.bytes.len() - self.written;
        let count = match world.below(3) {
            0 => left,
            _ => 1 + world.below(left as i32) as usize,
        };
        let piece = self.written..self.written + count;
        self.written = piece.end;
        let is_whole = |request: &Written| request.end <= piece.end;
        let handled = self
            .requests
            .iter()
            .take_while(|request| is_whole(request))
            .count();
        let handled: Vec<Written> = self.requests.drain(..handled).collect();
        let connection = self.connection;
        world.note(format!(
            "  connection {connection} writes {count} bytes, {} requests",
            handled.len()
        ));
        let frames = self
            .peer
            .write(&self.bytes[piece])
            .map_err(|error| format!("connection {connection}: {error}"))?;
        let mut answers = BTreeMap::new();
        for answer in frames.iter().map(Answer::of_frame) {
            ensure!(!answer.remark.contains("panicked"), "{}", answer.remark);
            let opaque = answer.opaque;
            let before = answers.insert(opaque, answer);
            ensure!(before.is_none(), "request {opaque} was answered twice");
        }
        take_answers(world, connection, handled, answers)
    }
}

/// A request that has to be turned down.
fn wrong_request(world: &World, (topic, queue_id): &Queue) -> OutgoingRequest {
    let send_to = |topic, queue_id| send_request((topic, queue_id), "", b"to nobody".to_vec(), false, 0);
    match world.below(4) {
        0 => OutgoingRequest::new(request_code::SEND_MESSAGE_V2).body(b"without a header".to_vec()),
        1 => OutgoingRequest::new(9_999),
        2 => send_to("no topic!", *queue_id),
        _ => send_to(topic, 1_000),
    }
}

/// Takes in what came of requests that were handled one after another.
fn take_answers(
    world: &mut World,
    connection: usize,
    handled: Vec<Written>,
    mut answers: BTreeMap<i32, Answer>,
) -> Result<(), Violation> {
    let (mut wanted, mut sends) = (Vec::new(), Vec::new());
    for Written { opaque, kind, .. } in handled {
        let answer = answers.remove(&opaque);
        match kind {
            Kind::Send(send) => {
                note_answer(world, &format!("{}, {opaque}", send.what), answer.as_ref());
                let is_stored = answer
                    .as_ref()
                    .is_none_or(|answer| answer.code == response_code::SUCCESS);
                ensure!(
                    is_stored || world.power_is_failing,
                    "{}: {:?}",
                    send.what,
                    answer.map(|answer| answer.remark)
                );
                if !is_stored {
                    continue;
                }
                let sent = Sent {
                    connection,
                    opaque,
                    answer,
                    waits: send.waits,
                    names_records: true,
                };
                sends.push((Some(sent), send.wanted.len()));
                wanted.extend(send.wanted);
            }
            Kind::OnewaySend(send) => {
                world.note(format!("  {}, {opaque}, one way", send.what));
                ensure!(answer.is_none(), "a request that nobody answers was answered");
                sends.push((None, send.wanted.len()));
                wanted.extend(send.wanted);
            }
            Kind::Pull(pull) => take_pull(world, pull, connection, opaque, answer)?,
            Kind::Wrong => {
                note_answer(world, &format!("wrong request {opaque}"), answer.as_ref());
                let is_refused = answer.is_some_and(|answer| answer.code != response_code::SUCCESS);
                ensure!(is_refused, "the wrong request {opaque} was not turned down");
            }
        }
    }
    // A pull that waited longer may be looked at again when another one parks.
    for answer in answers.into_values() {
        checks::take_late_answer(world, connection, answer)?;
    }
    checks::after_sends(world, wanted, sends)
}

//! SocketTask: the one task that reads and writes a socket.
//!
//! ```text
//!            ┌───────────────────────────── a turn ──────────────────────────────┐
//!   mailbox ─┼─> resumed requests ─┐                                             │
//!            │                     ├─> route ─> answers ─> WriteQueue ─> one write ──> socket
//!   socket ──┼─> buffer ─> frames ─┘              others' answers ──┘            │
//!            └───────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A turn handles a bounded number of frames, so one busy peer does not starve the others of its thread. Above the high
//! water mark of unwritten bytes nothing is routed and nothing is read until the peer has taken some: back pressure
//! reaches the peer through TCP.
//!
//! An idle task owns no buffers. They belong to the thread and are lent to whichever of its tasks is reading; what
//! remains of a partial frame moves into memory of its own size.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use common::planted_bug::{PlantedBug, is_planted};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::connection::{Connection, Phase, write_answer};
use crate::frame::{Frame, FrameError, LENGTH_BYTES, frame_bytes};
use crate::hub::{Hub, LogBudget};
use crate::lanes::guarded;
use crate::latency;
use crate::notices::UnwrittenNotices;
use crate::request::{Call, Handled, Outcome};
use crate::routes::{Handler, Routes, unsupported};
use crate::write_queue::WriteQueue;

/// The size of a lent read buffer, and so of one read.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// The rest of a partial frame up to this size is copied out of the lent buffer before the task sleeps.
const SMALL_REST_BYTES: usize = 4 * 1024;

/// The first byte of a TLS handshake. A frame that began with it would exceed every limit.
const TLS_HANDSHAKE: u8 = 0x16;

thread_local! {
    static SPARE: Cell<BytesMut> = Cell::default();
}

/// What the task reads from and writes to.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Ready when a read would find something: no memory need be lent before.
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Socket for TcpStream {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        TcpStream::poll_read_ready(self, context)
    }
}

/// See the module. Completes when the connection has ended.
#[derive(Debug)]
pub(crate) struct SocketTask<R, S = TcpStream> {
    hub: Arc<Hub<R>>,
    socket: S,
    connection: Arc<Connection>,
    greeted: bool,
    inbound: BytesMut,
    resumed: VecDeque<Call>,
    outgoing: WriteQueue,
    notices: UnwrittenNotices,
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The peer closed it.
    ByPeer,
    /// We closed it.
    ByUs,
    /// The system reported an error.
    Failed(io::Error),
    /// The peer sent something that is no frame.
    Malformed(FrameError),
    /// The peer wants to speak TLS.
    Tls,
}

impl Ending {
    /// Says what an operator has to know; ordinary endings are not worth a line.
    pub(crate) fn log(&self, connection: &Connection, budget: &LogBudget) {
        let peer = connection.peer_addr();
        match self {
            Ending::ByPeer | Ending::ByUs => tracing::debug!(%peer, "connection ended"),
            Ending::Failed(error) => tracing::debug!(%peer, %error, "connection failed"),
            Ending::Malformed(error) if budget.take() => {
                tracing::warn!(%peer, reason = %error, "close connection: malformed frame");
            }
            Ending::Tls if budget.take() => {
                tracing::warn!(%peer, "close connection: the peer starts TLS, which is not enabled");
            }
            Ending::Malformed(_) | Ending::Tls => {}
        }
    }
}

impl<R: Routes, S: Socket> Future for SocketTask<R, S> {
    type Output = Ending;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ending> {
        let task = self.get_mut();
        loop {
            let phase = task.take_mail();
            if phase == Phase::Closed {
                return Poll::Ready(Ending::ByUs);
            }
            let routed = task.route_some(phase);
            if let Err(error) = task.write(context) {
                return Poll::Ready(Ending::Failed(error));
            }
            match routed {
                Err(ending) => return Poll::Ready(ending),
                Ok(More::Yes) if !task.is_over_high_water() => {
                    task.hub
                        .report_backlog(&task.connection, task.outgoing.memory_bytes());
                    // Others on this thread go first.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(_) => {}
            }
            if phase == Phase::Open && !task.is_over_high_water() {
                match task.poll_read(context) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ending::ByPeer),
                    Poll::Ready(Ok(_)) => continue,
                    Poll::Ready(Err(error)) => return Poll::Ready(Ending::Failed(error)),
                    Poll::Pending => {}
                }
            }
            match task.sleep(context, phase) {
                Sleep::Asleep => return Poll::Pending,
                Sleep::MailCame => {}
                Sleep::NothingOwed => return Poll::Ready(Ending::ByUs),
            }
        }
    }
}

/// Whether there is something left to route.
#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    Yes,
    No,
}

impl<R: Routes, S: Socket> SocketTask<R, S> {
    pub(crate) fn new(hub: Arc<Hub<R>>, socket: S, connection: Arc<Connection>) -> Self {
        SocketTask {
            hub,
            socket,
            connection,
            greeted: false,
            inbound: BytesMut::new(),
            resumed: VecDeque::new(),
            outgoing: WriteQueue::default(),
            notices: UnwrittenNotices::default(),
        }
    }

    pub(crate) fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    fn take_mail(&mut self) -> Phase {
        let mut mailbox = self.connection.mailbox();
        self.notices.take(&mut mailbox.notices, self.outgoing.len());
        self.outgoing.append(&mut mailbox.outgoing);
        if !mailbox.resumed.is_empty() {
            self.resumed.append(&mut mailbox.resumed);
        }
        mailbox.phase
    }

    /// Routes a turn's worth, and counts how long it took if that is wanted.
    fn route_some(&mut self, phase: Phase) -> Result<More, Ending> {
        latency::begin_turn(self.hub.latencies.as_deref());
        let routed = self.route_frames(phase);
        latency::end_turn(self.hub.latencies.as_deref());
        routed
    }

    /// Routes resumed requests and frames, a turn's worth at most. An answer the peer does not fetch stops the turn.
    fn route_frames(&mut self, phase: Phase) -> Result<More, Ending> {
        for _ in 0..self.hub.limits.frames_per_turn {
            if self.is_over_high_water() {
                return Ok(More::Yes);
            }
            if let Some(call) = self.resumed.pop_front() {
                self.route(call);
            } else if phase != Phase::Open {
                return Ok(More::No);
            } else if let Some(bytes) = self.next_frame()? {
                if is_planted(PlantedBug::Overtake)
                    && let Some(second) = self.next_frame()?
                {
                    self.accept(second).map_err(Ending::Malformed)?;
                }
                self.accept(bytes).map_err(Ending::Malformed)?;
            } else {
                return Ok(More::No);
            }
        }
        Ok(More::Yes)
    }

    /// Cuts the next whole frame, without its length word, off the buffer.
    fn next_frame(&mut self) -> Result<Option<Bytes>, Ending> {
        self.greet()?;
        let length =
            frame_bytes(&self.inbound, self.hub.limits.max_frame_bytes).map_err(Ending::Malformed)?;
        Ok(match length {
            Some(length) if length <= self.inbound.len() => {
                Some(self.inbound.split_to(length).freeze().slice(LENGTH_BYTES..))
            }
            _ => None,
        })
    }

    /// Looks at the first bytes of the connection: they tell what protocol the peer speaks.
    fn greet(&mut self) -> Result<(), Ending> {
        match self.inbound.first() {
            Some(_) if self.greeted => Ok(()),
            Some(&TLS_HANDSHAKE) => Err(Ending::Tls),
            Some(_) => {
                self.greeted = true;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn accept(&mut self, bytes: Bytes) -> Result<(), FrameError> {
        let frame = Frame::decode(bytes)?;
        if !frame.is_response() {
            self.route(Call::new(frame, self.connection.clone()));
        } else if !self.connection.complete(frame.detached()) {
            tracing::debug!(peer = %self.connection.peer_addr(), opaque = frame.opaque, "nobody waits for this answer");
        }
        Ok(())
    }

    fn route(&mut self, call: Call) {
        let code = call.frame.code;
        let refused_here = self.hub.fast_port && R::FAST_PORT_REFUSES.contains(&code);
        let hub = &self.hub;
        let moved = match R::handler(code).filter(|_| !refused_here) {
            None => return self.finish(&call, Err(unsupported(code))),
            Some(Handler::Inline(handler)) => match guarded(code, || handler(&hub.routes, &call)) {
                Ok(Outcome::MoveToBlocking) => hub.lanes.run_blocking(&hub.routes, &call, handler),
                handled => return self.finish(&call, handled),
            },
            Some(Handler::Blocking(handler)) => hub.lanes.run_blocking(&hub.routes, &call, handler),
            Some(Handler::Task(handler)) => hub.lanes.run_task(&hub.routes, &call, handler),
        };
        if let Err(refusal) = moved {
            self.finish(&call, Err(refusal));
        }
    }

    fn finish(&mut self, call: &Call, handled: Handled) {
        latency::note(call, &handled);
        let response = match handled {
            Ok(Outcome::Reply(response)) => response,
            Ok(Outcome::Parked | Outcome::Silent | Outcome::MoveToBlocking) => return,
            Err(refusal) => refusal.into(),
        };
        if !call.frame.is_oneway() {
            write_answer(
                &mut self.outgoing,
                call.frame.opaque,
                call.frame.serialize,
                &response,
            );
        }
    }

    fn is_over_high_water(&self) -> bool {
        self.outgoing.len() >= self.hub.limits.outbound_high_water_bytes
    }

    /// Writes what the socket takes and leaves marks for the sweep.
    fn write(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        let before = self.outgoing.len();
        let result = if self.notices.is_empty() {
            self.outgoing.poll_write_to(&mut self.socket, context)
        } else {
            self.notices.begin_write(&mut self.connection.mailbox().notices);
            let result = self.outgoing.poll_write_to(&mut self.socket, context);
            let written = before - self.outgoing.len();
            self.notices
                .end_write(&mut self.connection.mailbox().notices, written);
            result
        };
        let activity = &self.connection.activity;
        activity.unwritten.store(self.outgoing.len(), Ordering::Relaxed);
        if self.outgoing.len() < before {
            activity.any.store(true, Ordering::Relaxed);
            activity.wrote.store(true, Ordering::Relaxed);
        }
        match result {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Memory is taken only when there is something to read.
        ready!(self.socket.poll_read_ready(context))?;
        self.make_room();
        let read = ready!(pin!(self.socket.read_buf(&mut self.inbound)).poll(context))?;
        self.connection.activity.any.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(read))
    }

    /// Makes room to read into. A length word is believed only as far as bytes have come: the buffer of a large frame
    /// grows with what was received.
    fn make_room(&mut self) {
        if self.inbound.is_empty() {
            self.take_spare();
            return;
        }
        let received = self.inbound.len();
        let wanted = match frame_bytes(&self.inbound, self.hub.limits.max_frame_bytes) {
            Ok(Some(length)) => length.saturating_sub(received),
            // The length word itself is cut; a bad one was refused before.
            _ => 0,
        };
        let wanted = wanted.clamp(READ_BUFFER_BYTES / 2, received.max(READ_BUFFER_BYTES));
        if self.inbound.capacity() - received < wanted.min(SMALL_REST_BYTES) {
            self.inbound.reserve(wanted);
        }
    }

    fn take_spare(&mut self) {
        if !self.inbound.try_reclaim(READ_BUFFER_BYTES) {
            self.inbound = SPARE.take();
            self.inbound.clear();
            self.inbound.reserve(READ_BUFFER_BYTES);
        }
    }

    /// Before sleeping: the buffer goes back to the thread.
    fn release_buffer(&mut self) {
        let rest = self.inbound.len();
        if rest > SMALL_REST_BYTES || (rest == 0 && self.inbound.capacity() == 0) {
            return;
        }
        if rest > 0 && self.inbound.capacity() <= 2 * SMALL_REST_BYTES {
            return;
        }
        let small = if rest == 0 {
            BytesMut::new()
        } else {
            BytesMut::from(&self.inbound[..])
        };
        let mut lent = std::mem::replace(&mut self.inbound, small);
        lent.clear();
        // Not reclaimable: a frame of it is still in use somewhere. Too large: it has held a large frame.
        if lent.try_reclaim(READ_BUFFER_BYTES) && lent.capacity() <= 4 * READ_BUFFER_BYTES {
            SPARE.set(lent);
        }
    }

    /// Asks to be woken by mail, unless there is some already or nothing is left to wait for.
    fn sleep(&mut self, context: &mut Context<'_>, phase: Phase) -> Sleep {
        self.release_buffer();
        let kept_bytes = self.outgoing.memory_bytes() + self.inbound.capacity();
        self.hub.report_backlog(&self.connection, kept_bytes);
        let mut mailbox = self.connection.mailbox();
        if !mailbox.is_empty() || mailbox.phase != phase {
            return Sleep::MailCame;
        }
        let is_written = self.outgoing.is_empty() && self.resumed.is_empty();
        if phase == Phase::Draining && is_written && !self.connection.owes_answers() {
            return Sleep::NothingOwed;
        }
        if !mailbox
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()))
        {
            mailbox.waker = Some(context.waker().clone());
        }
        Sleep::Asleep
    }
}

impl<R, S> Drop for SocketTask<R, S> {
    fn drop(&mut self) {
        self.hub.report_backlog(&self.connection, 0);
    }
}

enum Sleep {
    Asleep,
    MailCame,
    /// The connection is draining, and all that was owed is written.
    NothingOwed,
}

//! Connection: what anyone may hold of a peer, whoever opened the socket.
//!
//! The socket itself belongs to one task (`socket.rs`). Everybody else reaches it through the mailbox:
//!
//! ```text
//!   flush waiter, blocking lane ── answer ─────┐
//!   hold ── parked request, to be resumed ─────┼──> Mailbox ──(wakes)──> task of the socket
//!   notifier ── request to the peer ───────────┘
//! ```
//!
//! What waits in the mailbox is bounded in bytes: a peer that does not read loses its connection. Frames are encoded by
//! the thread that sends them, straight into the queue that will be written.
//!
//! Locks: `mailbox` and `pending` are leaves and never held together. The lock of the mailbox covers encoding one frame.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;

use crate::codes::response_code;
use crate::fields::FieldBuffer;
use crate::frame::{Frame, Head, SerializeType};
use crate::latency::RpcLatencies;
use crate::notices::WaitingNotices;
use crate::request::{Call, OutgoingRequest, Response};
use crate::write_queue::WriteQueue;

/// Requests to one peer that may wait for their answers at the same time.
/// Reference: NettySystemConfig, clientAsyncSemaphoreValue
pub const MAX_PENDING_INVOKES: usize = 65_535;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Process-wide, as in the reference, so that logs of several connections can be told apart.
static NEXT_OPAQUE: AtomicI32 = AtomicI32::new(0);

/// One connection with a peer.
#[derive(Debug)]
pub struct Connection {
    id: u64,
    peer_addr: SocketAddr,
    local_addr: SocketAddr,
    outbound_limit_bytes: usize,
    mailbox: Mutex<Mailbox>,
    /// Requests we sent that wait for an answer, by opaque.
    pending: Mutex<HashMap<i32, oneshot::Sender<Frame>>>,
    /// Requests that somebody will answer or resume later.
    owed_answers: AtomicUsize,
    /// Calls that run in the lanes blocking and task.
    pub(crate) lane_calls: AtomicUsize,
    /// What the sweep for idle connections looks at.
    pub(crate) activity: Activity,
    latencies: Option<Arc<RpcLatencies>>,
}

/// Traces the task leaves for the sweep, so that no connection needs a clock or a timer.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Something was read or written since the last sweep.
    pub(crate) any: AtomicBool,
    /// Something was written since the last sweep.
    pub(crate) wrote: AtomicBool,
    /// Bytes the task could not write yet.
    pub(crate) unwritten: AtomicUsize,
    /// What is counted of the connection in the `Backlog`; changed under its lock.
    pub(crate) backlog: AtomicUsize,
    /// Sweeps in a row without activity. Only the sweep touches these two.
    pub(crate) quiet_sweeps: AtomicU32,
    /// Sweeps in a row with unwritten bytes and no progress.
    pub(crate) stalled_sweeps: AtomicU32,
}

/// What others left for the task.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    pub(crate) phase: Phase,
    pub(crate) outgoing: WriteQueue,
    pub(crate) notices: WaitingNotices,
    pub(crate) resumed: VecDeque<Call>,
    /// Set while the task sleeps.
    pub(crate) waker: Option<Waker>,
}

/// How far a connection has come towards its end. It only moves forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Reads, writes.
    #[default]
    Open,
    /// Reads no more; ends when every answer owed is written.
    Draining,
    /// Gone, or to be dropped at once.
    Closed,
}

/// Why a request could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The connection is gone.
    #[error("connection is closed")]
    Closed,
    /// The peer does not take what is sent to it, or too many requests wait for its answers.
    #[error("connection is overloaded")]
    Overloaded,
    /// The request does not fit into a frame.
    #[error("request is too large for a frame")]
    TooLarge,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum InvokeError {
    /// No connection could be made.
    #[error("connect to {addr} failed")]
    Connect {
        /// Where to.
        addr: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The request could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The connection ended before the answer came.
    #[error("connection was closed before the answer")]
    Closed,
    /// The answer did not come in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

impl Connection {
    pub(crate) fn new(
        peer_addr: SocketAddr,
        local_addr: SocketAddr,
        outbound_limit_bytes: usize,
        latencies: Option<Arc<RpcLatencies>>,
    ) -> Arc<Self> {
        Arc::new(Connection {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            peer_addr,
            local_addr,
            outbound_limit_bytes,
            mailbox: Mutex::default(),
            pending: Mutex::default(),
            owed_answers: AtomicUsize::new(0),
            lane_calls: AtomicUsize::new(0),
            activity: Activity::default(),
            latencies,
        })
    }

    /// A connection without a socket, for tests and the simulator: what is sent stays in it until [`Self::take_sent`].
    pub fn detached(peer_addr: SocketAddr) -> Arc<Self> {
        Self::new(peer_addr, peer_addr, usize::MAX, None)
    }

    /// Unique within this process.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The address of the peer.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer_addr
    }

    /// Our address on this connection.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where the latencies of its requests are counted, if they are.
    pub(crate) fn latencies(&self) -> Option<&RpcLatencies> {
        self.latencies.as_deref()
    }

    /// Whether requests can be sent to the peer.
    pub fn is_open(&self) -> bool {
        self.mailbox().phase == Phase::Open
    }

    /// Ends the connection at once; what was not written is lost.
    pub fn close(&self) {
        self.advance_phase(Phase::Closed);
        // Dropping the senders tells those who wait for answers.
        self.pending().clear();
    }

    /// Stops reading; ends the connection when all answers owed are written.
    pub(crate) fn drain(&self) {
        self.advance_phase(Phase::Draining);
    }

    /// Sends a request that gets no answer.
    pub fn oneway(&self, request: OutgoingRequest) -> Result<(), SendError> {
        self.send(&request, NEXT_OPAQUE.fetch_add(1, Ordering::Relaxed), true)
    }

    /// Sends a one-way request that only says that something about `subject` has changed. Nothing is queued while one of the
    /// same code and subject waits to be written: the peer has yet to read that one.
    pub fn notify(&self, subject: &Arc<str>, notice: &OutgoingRequest) -> Result<(), SendError> {
        let subject = (notice.code, Arc::clone(subject));
        let mut mailbox = self.mailbox();
        if mailbox.phase == Phase::Open && mailbox.notices.has(&subject) {
            return Ok(());
        }
        let opaque = NEXT_OPAQUE.fetch_add(1, Ordering::Relaxed);
        self.push_request(&mut mailbox, notice, opaque, true)?;
        let end = mailbox.outgoing.len();
        mailbox.notices.add(subject, end);
        wake_task(mailbox);
        Ok(())
    }

    /// Sends a request and waits for its answer.
    pub async fn invoke(&self, request: OutgoingRequest, timeout: Duration) -> Result<Frame, InvokeError> {
        let opaque = NEXT_OPAQUE.fetch_add(1, Ordering::Relaxed);
        let answer = self.expect_answer(opaque)?;
        let _forget = ForgetPending {
            connection: self,
            opaque,
        };
        self.send(&request, opaque, false)?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(_sender_dropped)) => Err(InvokeError::Closed),
            Err(_elapsed) => Err(InvokeError::Timeout(timeout)),
        }
    }

    /// Takes the frames sent over a detached connection so far: answers and requests, oldest first.
    pub fn take_sent(&self) -> Vec<Frame> {
        let mut mailbox = self.mailbox();
        mailbox.notices = WaitingNotices::default();
        mailbox.outgoing.take_frames()
    }

    /// Takes the requests resumed on a detached connection so far, oldest first.
    pub fn take_resumed(&self) -> Vec<Call> {
        self.mailbox().resumed.drain(..).collect()
    }

    /// Gives an answer from the peer to whoever asked. False if nobody waits for it.
    pub(crate) fn complete(&self, answer: Frame) -> bool {
        let waiter = self.pending().remove(&answer.opaque);
        // Whoever asked may have given up just now.
        waiter.is_some_and(|waiter| waiter.send(answer).is_ok())
    }

    /// Leaves an answer for the task; it was announced by `owe_answer`.
    pub(crate) fn push_owed_answer(&self, opaque: i32, serialize: SerializeType, response: &Response) {
        let mut mailbox = self.mailbox();
        self.owed_answers.fetch_sub(1, Ordering::Relaxed);
        if mailbox.phase == Phase::Closed {
            return;
        }
        write_answer(&mut mailbox.outgoing, opaque, serialize, response);
        self.close_if_over_limit(&mut mailbox);
        wake_task(mailbox);
    }

    pub(crate) fn push_resumed(&self, call: Call) {
        let mut mailbox = self.mailbox();
        if mailbox.phase != Phase::Closed {
            mailbox.resumed.push_back(call);
            wake_task(mailbox);
        }
    }

    pub(crate) fn owe_answer(&self) {
        self.owed_answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn forget_owed_answer(&self) {
        let mailbox = self.mailbox();
        self.owed_answers.fetch_sub(1, Ordering::Relaxed);
        if mailbox.phase == Phase::Draining {
            wake_task(mailbox);
        }
    }

    /// Whether somebody will still answer or resume. Exact only under the lock of the mailbox, where it falls.
    pub(crate) fn owes_answers(&self) -> bool {
        self.owed_answers.load(Ordering::Relaxed) > 0
    }

    /// A thread that panics in here leaves whole frames or a cut one at the end of the queue; both are better sent, or
    /// refused by the peer, than taking every other user of the connection down.
    pub(crate) fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<i32, oneshot::Sender<Frame>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect_answer(&self, opaque: i32) -> Result<oneshot::Receiver<Frame>, SendError> {
        let mut pending = self.pending();
        if pending.len() >= MAX_PENDING_INVOKES {
            return Err(SendError::Overloaded);
        }
        let (waiter, answer) = oneshot::channel();
        pending.insert(opaque, waiter);
        Ok(answer)
    }

    fn send(&self, request: &OutgoingRequest, opaque: i32, oneway: bool) -> Result<(), SendError> {
        let mut mailbox = self.mailbox();
        self.push_request(&mut mailbox, request, opaque, oneway)?;
        wake_task(mailbox);
        Ok(())
    }

    fn push_request(
        &self,
        mailbox: &mut Mailbox,
        request: &OutgoingRequest,
        opaque: i32,
        oneway: bool,
    ) -> Result<(), SendError> {
        if mailbox.phase != Phase::Open {
            return Err(SendError::Closed);
        }
        if self.unsent_bytes(mailbox) + request.body.len() > self.outbound_limit_bytes {
            return Err(SendError::Overloaded);
        }
        let head = Head::request(request.code, opaque, oneway);
        mailbox
            .outgoing
            .push_frame(&head, SerializeType::Json, None, &request.fields, &request.body)
            .map_err(|_| SendError::TooLarge)
    }

    fn unsent_bytes(&self, mailbox: &Mailbox) -> usize {
        mailbox
            .outgoing
            .len()
            .saturating_add(self.activity.unwritten.load(Ordering::Relaxed))
    }

    fn close_if_over_limit(&self, mailbox: &mut Mailbox) {
        let unsent_bytes = self.unsent_bytes(mailbox);
        if unsent_bytes > self.outbound_limit_bytes {
            tracing::warn!(
                peer = %self.peer_addr, unsent_bytes, limit_bytes = self.outbound_limit_bytes,
                "close connection: the peer does not read its answers"
            );
            mailbox.advance_phase(Phase::Closed);
        }
    }

    fn advance_phase(&self, phase: Phase) {
        let mut mailbox = self.mailbox();
        mailbox.advance_phase(phase);
        wake_task(mailbox);
    }
}

impl Mailbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.outgoing.is_empty() && self.resumed.is_empty()
    }

    fn advance_phase(&mut self, phase: Phase) {
        self.phase = self.phase.max(phase);
        if self.phase == Phase::Closed {
            self.outgoing = WriteQueue::default();
            self.notices = WaitingNotices::default();
            self.resumed = VecDeque::new();
        }
    }
}

/// Wakes the task for what was left in its mailbox. The lock is released before: the task takes it at once.
fn wake_task(mut mailbox: MutexGuard<'_, Mailbox>) {
    let waker = mailbox.waker.take();
    drop(mailbox);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Removes the entry of an invoke that ended in any way, also by being cancelled.
struct ForgetPending<'a> {
    connection: &'a Connection,
    opaque: i32,
}

impl Drop for ForgetPending<'_> {
    fn drop(&mut self) {
        self.connection.pending().remove(&self.opaque);
    }
}

/// Appends an answer. One whose header does not fit into a frame becomes an error answer.
pub(crate) fn write_answer(
    queue: &mut WriteQueue,
    opaque: i32,
    serialize: SerializeType,
    response: &Response,
) {
    let head = Head::answer(response.code, opaque);
    let remark = response.remark.as_deref();
    if let Err(error) = queue.push_frame(&head, serialize, remark, &response.fields, &response.body) {
        let head = Head::answer(response_code::SYSTEM_ERROR, opaque);
        let remark = format!("answer does not fit into a frame: {error}");
        queue
            .push_frame(
                &head,
                serialize,
                Some(&remark),
                &FieldBuffer::new(),
                &bytes::Bytes::new(),
            )
            .expect("a short remark fits into a frame");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Refusal;

    fn call(connection: &Arc<Connection>, opaque: i32, flag: i32) -> Call {
        let mut frame = Frame::of_request(&OutgoingRequest::new(10).field("topic", "T").body("body"));
        (frame.opaque, frame.flag) = (opaque, flag);
        Call::new(frame, connection.clone())
    }

    fn detached() -> Arc<Connection> {
        Connection::detached("127.0.0.1:5".parse().unwrap())
    }

    #[test]
    fn a_detached_connection_keeps_what_is_sent() {
        let connection = detached();
        call(&connection, 7, 0)
            .responder()
            .respond(Response::success().field("k", "v").body(vec![1; 10_000]));
        connection
            .oneway(OutgoingRequest::new(40).body("changed"))
            .unwrap();
        let sent = connection.take_sent();
        assert_eq!(sent.len(), 2);
        assert_eq!(
            (sent[0].opaque, sent[0].is_response(), sent[0].body.len()),
            (7, true, 10_000)
        );
        assert_eq!(sent[0].fields().get("k").as_deref(), Some("v"));
        assert_eq!(
            (sent[1].code, sent[1].is_oneway(), &sent[1].body[..]),
            (40, true, &b"changed"[..])
        );
        assert!(connection.take_sent().is_empty());
    }

    #[test]
    fn a_resumed_request_is_the_same_but_for_its_mark() {
        let connection = detached();
        let parked = call(&connection, 8, 0).park();
        assert!(connection.owes_answers());
        parked.resume();
        assert!(!connection.owes_answers());
        let resumed = connection.take_resumed();
        assert_eq!(resumed.len(), 1);
        assert!(resumed[0].resumed);
        assert_eq!(
            (resumed[0].frame.opaque, &resumed[0].frame.body[..]),
            (8, &b"body"[..])
        );
        assert_eq!(resumed[0].frame.fields().get("topic").as_deref(), Some("T"));
        assert!(connection.take_sent().is_empty(), "the answer is still to come");
    }

    #[test]
    fn every_way_out_of_a_duty_ends_it() {
        let connection = detached();
        call(&connection, 1, 0).responder().respond(Response::success());
        drop(call(&connection, 2, 0).responder());
        call(&connection, 3, 0)
            .responder()
            .finish(Err(Refusal::new(16, "no")));
        call(&connection, 4, 0)
            .responder()
            .finish(Ok(crate::request::Outcome::Silent));
        call(&connection, 5, 2).responder().respond(Response::success());
        drop(call(&connection, 6, 2).responder());
        call(&connection, 7, 0).park().withdraw();
        drop(call(&connection, 8, 0).park());
        call(&connection, 9, 0)
            .park()
            .into_responder()
            .respond(Response::success());
        assert!(!connection.owes_answers());
        let answers: Vec<_> = connection
            .take_sent()
            .iter()
            .map(|frame| (frame.opaque, frame.code))
            .collect();
        assert_eq!(answers, [(1, 0), (2, 1), (3, 16), (8, 1), (9, 0)]);
    }

    #[test]
    fn nothing_is_sent_over_a_closed_connection() {
        let connection = detached();
        let responder = call(&connection, 1, 0).responder();
        let parked = call(&connection, 2, 0).park();
        connection.close();
        responder.respond(Response::success());
        parked.resume();
        assert_eq!(
            connection.oneway(OutgoingRequest::new(40)),
            Err(SendError::Closed)
        );
        assert!(!connection.is_open() && !connection.owes_answers());
        assert!(connection.take_sent().is_empty() && connection.take_resumed().is_empty());
    }

    #[test]
    fn an_answer_too_large_for_a_frame_becomes_an_error_answer() {
        let connection = detached();
        let large = "x".repeat(17 * 1024 * 1024);
        call(&connection, 1, 0)
            .responder()
            .respond(Response::success().field("k", large));
        let sent = connection.take_sent();
        assert_eq!((sent[0].code, sent[0].opaque), (response_code::SYSTEM_ERROR, 1));
    }
}

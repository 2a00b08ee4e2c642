//! DetachedPeer: the far end of a connection whose socket is memory, for the simulator and tests.
//!
//! Bytes go through the very task that serves a socket: cut into frames, routed in turns, answered by one write a turn. But it
//! runs on the thread of whoever writes, while he writes, and needs no runtime: a call of the lane blocking runs at once.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::{Connection, SendError};
use crate::frame::Frame;
use crate::hub::Hub;
use crate::lanes::Lanes;
use crate::routes::{ConnectionEvents, Routes};
use crate::server::ServerConfig;
use crate::socket::{Socket, SocketTask};
use crate::write_queue::frames_of;

/// See the module.
#[derive(Debug)]
pub struct DetachedPeer<R> {
    /// Gone when the connection has ended.
    task: Option<SocketTask<R, MemorySocket>>,
}

impl<R: Routes + ConnectionEvents> DetachedPeer<R> {
    /// The peer of a [`Connection::detached`], served within the limits of `config`. What others leave for the connection
    /// goes to this peer as long as it is asked for.
    pub fn new(routes: Arc<R>, connection: Arc<Connection>, config: &ServerConfig) -> Self {
        let hub = Hub::new(
            routes,
            config.limits(),
            Lanes::in_place(),
            config.fast_port,
            None,
            config.backlog.clone(),
        );
        DetachedPeer {
            task: Some(SocketTask::new(hub, MemorySocket::default(), connection)),
        }
    }

    /// Writes bytes as one read finds them, and lets the task run until it waits for more: whole frames are handled, the
    /// rest stays. Gives the frames that came back, oldest first.
    ///
    /// # Errors
    /// When the connection has ended, for instance because the bytes are no frames.
    ///
    /// # Panics
    /// When a request of the lane task comes and there is no runtime.
    pub fn write(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, SendError> {
        let task = self.task.as_mut().ok_or(SendError::Closed)?;
        task.socket_mut().to_task.extend(bytes);
        loop {
            let wakes = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&wakes));
            if pin!(&mut *task).poll(&mut Context::from_waker(&waker)).is_ready() {
                self.task = None;
                return Err(SendError::Closed);
            }
            if !wakes.0.load(Ordering::Relaxed) {
                return Ok(frames_of(std::mem::take(&mut task.socket_mut().from_task)));
            }
        }
    }
}

/// Whether a task is to be polled again.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Takes whatever is written, and has nothing to read between two writes of the peer. It wakes nobody: whoever adds bytes
/// polls the task.
#[derive(Debug, Default)]
struct MemorySocket {
    to_task: VecDeque<u8>,
    from_task: BytesMut,
}

impl Socket for MemorySocket {
    fn poll_read_ready(&self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.to_task.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for MemorySocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (bytes, _) = self.to_task.as_slices();
        let count = bytes.len().min(buffer.remaining());
        if count == 0 {
            return Poll::Pending;
        }
        buffer.put_slice(&bytes[..count]);
        self.to_task.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemorySocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.from_task.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::fields::NoHeader;
    use crate::request::{Handled, Outcome, OutgoingRequest, ParkedRequest, Request, Response};

    #[derive(Default)]
    struct Server {
        handled: Mutex<Vec<i32>>,
        parked: Mutex<Vec<ParkedRequest>>,
    }

    impl ConnectionEvents for Server {}

    fn note(server: &Server, request: Request<'_, NoHeader>) -> Handled {
        server.handled.lock().unwrap().push(request.opaque());
        Ok(Response::success().body(request.body().clone()).into())
    }

    fn hold(server: &Server, request: Request<'_, NoHeader>) -> Handled {
        if request.is_resumed() {
            return Ok(Response::success().remark("resumed").into());
        }
        server.parked.lock().unwrap().push(request.park());
        Ok(Outcome::Parked)
    }

    fn cold(server: &Server, request: Request<'_, NoHeader>) -> Handled {
        if !request.may_block() {
            return Ok(Outcome::MoveToBlocking);
        }
        note(server, request)
    }

    crate::routes! { Server;
        SEND_MESSAGE       => NoHeader, note, inline;
        PULL_MESSAGE       => NoHeader, hold, inline;
        GET_MAX_OFFSET     => NoHeader, cold, inline;
        CLEAN_UNUSED_TOPIC => NoHeader, cold, blocking;
    }

    fn bytes_of(code: i32, opaque: i32, body: &[u8]) -> Vec<u8> {
        let mut frame = Frame::of_request(&OutgoingRequest::new(code).body(body.to_vec()));
        frame.opaque = opaque;
        frame.encode().unwrap()
    }

    fn peer(frames_per_turn: usize) -> (Arc<Server>, DetachedPeer<Server>) {
        let server = Arc::new(Server::default());
        let connection = Connection::detached("127.0.0.1:1".parse().unwrap());
        let config = ServerConfig {
            frames_per_turn,
            ..ServerConfig::default()
        };
        (
            Arc::clone(&server),
            DetachedPeer::new(server, connection, &config),
        )
    }

    fn opaques(frames: &[Frame]) -> Vec<i32> {
        frames.iter().map(|frame| frame.opaque).collect()
    }

    #[test]
    fn frames_are_handled_in_the_order_of_their_bytes_however_these_are_cut() {
        let stream: Vec<u8> = (0..50)
            .flat_map(|opaque| bytes_of(10, opaque, &vec![7; (opaque * 997) as usize]))
            .collect();
        for (frames_per_turn, piece) in [(1, 1_000), (3, 4_096), (64, 200_000), (64, usize::MAX)] {
            let (server, mut peer) = peer(frames_per_turn);
            let mut answers = Vec::new();
            for bytes in stream.chunks(piece.min(stream.len())) {
                answers.extend(peer.write(bytes).unwrap());
            }
            assert_eq!(*server.handled.lock().unwrap(), Vec::from_iter(0..50));
            assert_eq!(opaques(&answers), Vec::from_iter(0..50));
            assert!(
                answers
                    .iter()
                    .all(|answer| answer.body.len() == (answer.opaque * 997) as usize)
            );
        }
    }

    #[test]
    fn what_others_leave_for_the_connection_comes_with_the_next_run() {
        let (server, mut peer) = peer(64);
        let sent = [bytes_of(11, 1, b""), bytes_of(10, 2, b"")].concat();
        assert_eq!(opaques(&peer.write(&sent).unwrap()), [2]);
        server.parked.lock().unwrap().pop().unwrap().resume();
        let answers = peer.write(&[]).unwrap();
        assert_eq!(
            (opaques(&answers), answers[0].remark().as_deref()),
            (vec![1], Some("resumed"))
        );
    }

    #[test]
    fn the_lane_blocking_needs_no_runtime() {
        let (server, mut peer) = peer(64);
        let answers = peer
            .write(&[bytes_of(30, 1, b""), bytes_of(316, 2, b"")].concat())
            .unwrap();
        assert_eq!(
            (opaques(&answers), &*server.handled.lock().unwrap()),
            (vec![1, 2], &vec![1, 2])
        );
    }

    #[test]
    fn bytes_that_are_no_frames_end_the_connection() {
        let (_, mut peer) = peer(64);
        assert!(matches!(peer.write(&[0xFF; 8]), Err(SendError::Closed)));
        assert!(matches!(
            peer.write(&bytes_of(10, 1, b"")),
            Err(SendError::Closed)
        ));
    }
}

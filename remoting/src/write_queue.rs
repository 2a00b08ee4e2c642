//! WriteQueue: frames on their way to a socket, kept so that one system call takes many.
//!
//! ```text
//!   buffer   | frame | frame | head of frame |            | frame | ...
//!                                            ^
//!   bodies                                   large body (not copied)
//! ```
//!
//! Small things are copied together into one buffer. A body above [`INLINE_BODY_BYTES`] stays where it is and is spliced
//! in when the queue is written, so a pull body is copied once: from the store into the answer.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::fields::FieldBuffer;
use crate::frame::{Frame, FrameError, Head, LENGTH_BYTES, SerializeType, encode_before_body, frame_bytes};

/// Bodies up to this size are copied into the buffer: cheaper than one more entry of a vectored write.
const INLINE_BODY_BYTES: usize = 4 * 1024;

/// Entries of one vectored write.
const MAX_SLICES: usize = 64;

/// A spare buffer larger than this is not kept.
const MAX_SPARE_BYTES: usize = 256 * 1024;

thread_local! {
    /// The buffer of whichever queue of this thread was drained last. With it a busy thread allocates no buffers, and
    /// an idle connection owns none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Encoded frames that are not written yet, in order.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    buffer: Vec<u8>,
    /// Each body goes in before the buffer byte at its position; positions never fall.
    bodies: VecDeque<(usize, Bytes)>,
    /// Bytes of `buffer` that are written.
    buffer_written: usize,
    /// Bytes of the first body that are written.
    body_written: usize,
    unwritten: usize,
}

impl WriteQueue {
    /// Bytes still to be written.
    pub(crate) fn len(&self) -> usize {
        self.unwritten
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unwritten == 0
    }

    /// Appends a frame; on error nothing is appended.
    pub(crate) fn push_frame(
        &mut self,
        head: &Head,
        serialize: SerializeType,
        remark: Option<&str>,
        fields: &FieldBuffer,
        body: &Bytes,
    ) -> Result<(), FrameError> {
        if self.buffer.capacity() == 0 {
            self.buffer = SPARE.take();
        }
        let before = self.buffer.len();
        encode_before_body(head, serialize, remark, fields, body.len(), &mut self.buffer)?;
        if body.len() <= INLINE_BODY_BYTES {
            self.buffer.extend_from_slice(body);
        } else {
            self.bodies.push_back((self.buffer.len(), body.clone()));
            self.unwritten += body.len();
        }
        self.unwritten += self.buffer.len() - before;
        Ok(())
    }

    /// Moves everything of `other`, of which nothing is written yet, to the end of this queue.
    pub(crate) fn append(&mut self, other: &mut WriteQueue) {
        debug_assert!(other.buffer_written == 0 && other.body_written == 0);
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            self.release();
            std::mem::swap(self, other);
            return;
        }
        let shift = self.buffer.len();
        self.buffer.extend_from_slice(&other.buffer);
        self.bodies
            .extend(other.bodies.drain(..).map(|(at, body)| (at + shift, body)));
        self.unwritten += other.unwritten;
        other.unwritten = 0;
        other.release();
    }

    /// Writes as much as the socket takes. `Ready` when nothing is left; `Err` when the socket is gone.
    pub(crate) fn poll_write_to<W: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut W,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unwritten > 0 {
            let socket = Pin::new(&mut *socket);
            let written = if self.bodies.is_empty() {
                ready!(socket.poll_write(context, &self.buffer[self.buffer_written..]))?
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let count = self.fill(&mut slices);
                ready!(socket.poll_write_vectored(context, &slices[..count]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        self.release();
        Poll::Ready(Ok(()))
    }

    /// Takes the frames out again: what a connection without a socket has sent.
    pub(crate) fn take_frames(&mut self) -> Vec<Frame> {
        let mut bytes = BytesMut::with_capacity(self.unwritten);
        let mut at = self.buffer_written;
        for (position, body) in &self.bodies {
            bytes.extend_from_slice(&self.buffer[at..*position]);
            bytes.extend_from_slice(body);
            at = *position;
        }
        bytes.extend_from_slice(&self.buffer[at..]);
        *self = WriteQueue::default();
        let mut frames = Vec::new();
        while let Ok(Some(length)) = frame_bytes(&bytes, usize::MAX) {
            let frame = bytes.split_to(length).freeze().slice(LENGTH_BYTES..);
            frames.push(Frame::decode(frame).expect("we wrote this frame"));
        }
        frames
    }

    /// The unwritten parts in order, as many as fit. Returns how many.
    fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>; MAX_SLICES]) -> usize {
        let mut count = 0;
        let mut buffer_at = self.buffer_written;
        let mut body_skip = self.body_written;
        for (at, body) in &self.bodies {
            if count + 2 > MAX_SLICES {
                return count;
            }
            if buffer_at < *at {
                slices[count] = IoSlice::new(&self.buffer[buffer_at..*at]);
                count += 1;
                buffer_at = *at;
            }
            slices[count] = IoSlice::new(&body[body_skip..]);
            count += 1;
            body_skip = 0;
        }
        if buffer_at < self.buffer.len() && count < MAX_SLICES {
            slices[count] = IoSlice::new(&self.buffer[buffer_at..]);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut written: usize) {
        assert!(written <= self.unwritten, "a socket wrote more than it was given");
        self.unwritten -= written;
        while written > 0 {
            let Some((at, body)) = self.bodies.front() else {
                self.buffer_written += written;
                return;
            };
            let before_body = (*at - self.buffer_written).min(written);
            self.buffer_written += before_body;
            written -= before_body;
            let of_body = (body.len() - self.body_written).min(written);
            self.body_written += of_body;
            written -= of_body;
            if self.body_written == body.len() {
                self.bodies.pop_front();
                self.body_written = 0;
            }
        }
    }

    /// Gives the memory of a drained queue away.
    fn release(&mut self) {
        debug_assert!(self.unwritten == 0);
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.capacity() > 0 && buffer.capacity() <= MAX_SPARE_BYTES {
            buffer.clear();
            SPARE.set(buffer);
        }
        self.buffer_written = 0;
        self.bodies.clear();
        if self.bodies.capacity() > 32 {
            self.bodies = VecDeque::new();
        }
    }
}

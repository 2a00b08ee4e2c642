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

/// A buffer up to this size is not worth replacing by a smaller one.
const SMALL_BUFFER_BYTES: usize = 4 * 1024;

/// A spare buffer larger than this is not kept.
const MAX_SPARE_BYTES: usize = 256 * 1024;

thread_local! {
    /// The buffer of whichever queue of this thread was drained last. With it a busy thread allocates no buffers, and
    /// an idle connection owns none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The frames in bytes that a queue has written.
pub(crate) fn frames_of(mut bytes: BytesMut) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Ok(Some(length)) = frame_bytes(&bytes, usize::MAX) {
        let frame = bytes.split_to(length).freeze().slice(LENGTH_BYTES..);
        frames.push(Frame::decode(frame).expect("we wrote this frame"));
    }
    frames
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
    /// Bytes of `bodies`.
    body_bytes: usize,
}

impl WriteQueue {
    /// Bytes still to be written.
    pub(crate) fn len(&self) -> usize {
        self.unwritten
    }

    /// Bytes of memory the queue keeps from others.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.buffer.capacity() + self.body_bytes
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
            self.body_bytes += body.len();
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
        self.body_bytes += other.body_bytes;
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
                socket.poll_write(context, &self.buffer[self.buffer_written..])
            } else {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let count = self.fill(&mut slices);
                socket.poll_write_vectored(context, &slices[..count])
            };
            if written.is_pending() {
                self.let_go_of_written();
            }
            let written = ready!(written)?;
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
        frames_of(bytes)
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
                self.body_bytes -= body.len();
                self.bodies.pop_front();
                self.body_written = 0;
            }
        }
    }

    /// Before a wait that may be long: what is written, and room that nothing is in, is not kept. A queue that is never
    /// drained would grow with everything that ever went through it.
    fn let_go_of_written(&mut self) {
        let rest = self.buffer.len() - self.buffer_written;
        if self.buffer.capacity() <= SMALL_BUFFER_BYTES || rest > self.buffer.capacity() / 4 {
            return;
        }
        let rest = self.buffer[self.buffer_written..].to_vec();
        keep_as_spare(std::mem::replace(&mut self.buffer, rest));
        for (at, _) in &mut self.bodies {
            *at -= self.buffer_written;
        }
        self.buffer_written = 0;
    }

    /// Gives the memory of a drained queue away.
    fn release(&mut self) {
        debug_assert!(self.unwritten == 0);
        keep_as_spare(std::mem::take(&mut self.buffer));
        self.buffer_written = 0;
        self.body_bytes = 0;
        self.bodies.clear();
        if self.bodies.capacity() > 32 {
            self.bodies = VecDeque::new();
        }
    }
}

fn keep_as_spare(mut buffer: Vec<u8>) {
    if buffer.capacity() > 0 && buffer.capacity() <= MAX_SPARE_BYTES {
        buffer.clear();
        SPARE.set(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A socket that takes a given number of bytes per write and then none.
    struct Narrow {
        takes: VecDeque<usize>,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let Some(room) = self.takes.pop_front() else {
                return Poll::Pending;
            };
            let all: Vec<u8> = slices
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .take(room)
                .collect();
            self.taken.extend_from_slice(&all);
            Poll::Ready(Ok(all.len()))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn push(queue: &mut WriteQueue, opaque: i32, body_bytes: usize) {
        let body = Bytes::from(vec![opaque as u8; body_bytes]);
        let fields = FieldBuffer::new();
        queue
            .push_frame(
                &Head::answer(0, opaque),
                SerializeType::Json,
                None,
                &fields,
                &body,
            )
            .unwrap();
    }

    fn frames_in(mut bytes: &[u8]) -> Vec<(i32, usize)> {
        let mut frames = Vec::new();
        while let Ok(Some(length)) = frame_bytes(bytes, usize::MAX) {
            let frame = Frame::decode(Bytes::copy_from_slice(&bytes[LENGTH_BYTES..length])).unwrap();
            assert!(frame.body.iter().all(|byte| *byte == frame.opaque as u8));
            frames.push((frame.opaque, frame.body.len()));
            bytes = &bytes[length..];
        }
        assert!(bytes.is_empty());
        frames
    }

    proptest! {
        /// Model: the frames in the order they were pushed, whatever the socket takes at a time.
        #[test]
        fn frames_leave_whole_and_in_order(
            sizes in vec(prop_oneof![0_usize..200, 4_000_usize..12_000], 1..90),
            takes in vec(1_usize..30_000, 0..60),
            appended_from in any::<prop::sample::Index>(),
        ) {
            let (mut queue, mut other) = (WriteQueue::default(), WriteQueue::default());
            let mut socket = Narrow { takes: takes.into(), taken: Vec::new() };
            let mut context = Context::from_waker(std::task::Waker::noop());
            let split = appended_from.index(sizes.len());
            for (opaque, size) in sizes.iter().enumerate() {
                let target = if opaque < split { &mut queue } else { &mut other };
                push(target, opaque as i32, *size);
            }
            // Some is written before the rest is appended, as when the mailbox is emptied into a stalled queue.
            let _ = queue.poll_write_to(&mut socket, &mut context);
            queue.append(&mut other);
            prop_assert!(other.is_empty());
            let before = socket.taken.len();
            let total = queue.len();
            if queue.poll_write_to(&mut socket, &mut context).is_pending() {
                prop_assert_eq!(socket.taken.len() - before + queue.len(), total);
                socket.takes = vec![usize::MAX; 200].into();
                prop_assert!(queue.poll_write_to(&mut socket, &mut context).is_ready());
            }
            prop_assert!(queue.is_empty());
            let expected: Vec<_> = sizes.iter().enumerate().map(|(opaque, size)| (opaque as i32, *size)).collect();
            prop_assert_eq!(frames_in(&socket.taken), expected);
        }
    }

    #[test]
    fn a_large_body_is_not_copied() {
        let mut queue = WriteQueue::default();
        let body = Bytes::from(vec![7; 100_000]);
        let fields = FieldBuffer::new();
        queue
            .push_frame(&Head::answer(0, 7), SerializeType::Json, None, &fields, &body)
            .unwrap();
        assert!(queue.buffer.len() < 200);
        assert_eq!(queue.bodies[0].1.as_ptr(), body.as_ptr());
    }

    #[test]
    fn a_queue_that_is_never_drained_keeps_little_of_what_went_through_it() {
        let mut queue = WriteQueue::default();
        let mut context = Context::from_waker(std::task::Waker::noop());
        for opaque in 0..20_000 {
            push(&mut queue, opaque, 200 + usize::from(opaque % 50 == 0) * 8_000);
            let leave_a_little = queue.len().saturating_sub(100);
            let mut socket = Narrow {
                takes: vec![leave_a_little].into(),
                taken: Vec::new(),
            };
            assert!(queue.poll_write_to(&mut socket, &mut context).is_pending());
            assert_eq!(queue.len(), 100);
            assert!(queue.memory_bytes() <= 32 * 1024, "{}", queue.memory_bytes());
        }
        let mut socket = Narrow {
            takes: vec![usize::MAX; 2].into(),
            taken: Vec::new(),
        };
        assert!(queue.poll_write_to(&mut socket, &mut context).is_ready());
        assert_eq!(queue.memory_bytes(), 0);
    }

    #[test]
    fn a_drained_queue_owns_no_buffer() {
        let mut queue = WriteQueue::default();
        push(&mut queue, 1, 10);
        let mut socket = Narrow {
            takes: vec![usize::MAX].into(),
            taken: Vec::new(),
        };
        let written = queue.poll_write_to(&mut socket, &mut Context::from_waker(std::task::Waker::noop()));
        assert!(matches!(written, Poll::Ready(Ok(()))));
        assert_eq!(queue.buffer.capacity(), 0);
    }
}

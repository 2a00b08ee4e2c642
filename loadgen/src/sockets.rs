//! Connections of the generator: non-blocking sockets under one epoll, driven by one thread.
//!
//! Every mode is the same loop: wait, take the responses of each connection that has some, put requests in its output,
//! flush. All requests that one read set off leave in one write.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::response::{Response, frame_length};
use crate::template::{Stamp, Template};

const READ_BYTES: usize = 256 * 1024;
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// The opaque of calls; no window is so large that it gets there.
const CALL_OPAQUE: u32 = 2_000_000_000;

/// The answer to [`Sockets::call`].
#[derive(Debug)]
pub struct Answer {
    /// 0 is success.
    pub code: i32,
    /// What the server says about it.
    pub remark: String,
    /// The field that was asked for, if the answer has it.
    pub number: Option<i64>,
}

/// A set of connections to one server.
pub struct Sockets {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    events: Vec<epoll::Event>,
}

impl Sockets {
    /// Opens `count` connections.
    pub fn connect(address: SocketAddr, count: usize) -> Result<Self> {
        let mut sockets = Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            connections: Vec::with_capacity(count),
            events: Vec::with_capacity(count.clamp(1, 1024)),
        };
        for index in 0..count {
            let connection =
                Connection::open(address).with_context(|| format!("connection {index} to {address}"))?;
            let key = EventData::new_u64(index as u64);
            epoll::add(&sockets.epoll, &connection.stream, key, EventFlags::IN)?;
            sockets.connections.push(connection);
        }
        Ok(sockets)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// One of them, by the number that [`Sockets::wait`] gives.
    pub fn connection(&mut self, index: usize) -> &mut Connection {
        &mut self.connections[index]
    }

    /// Waits until something can be read, but no longer than `limit`; returns which connections to look at.
    pub fn wait(&mut self, limit: Duration, ready: &mut Vec<usize>) -> Result<()> {
        ready.clear();
        self.events.clear();
        let limit = limit.try_into().context("time limit")?;
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            Some(&limit),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => bail!("epoll: {error}"),
        }
        for at in 0..self.events.len() {
            let event = self.events[at];
            let index = event.data.u64() as usize;
            let flags = event.flags;
            if flags.contains(EventFlags::OUT) {
                self.flush(index)?;
            }
            ready.push(index);
        }
        Ok(())
    }

    /// Writes the output of a connection, the rest of it later if the socket takes no more now.
    pub fn flush(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        let is_blocked = connection.write_output()?;
        if is_blocked != connection.waits_for_write {
            let flags = if is_blocked {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            epoll::modify(
                &self.epoll,
                &connection.stream,
                EventData::new_u64(index as u64),
                flags,
            )?;
            connection.waits_for_write = is_blocked;
        }
        Ok(())
    }

    /// Sends one request on a connection where nothing is in flight and waits for its answer.
    pub fn call(&mut self, index: usize, mut request: Template, field: &str) -> Result<Answer> {
        let opaque = CALL_OPAQUE;
        self.connections[index].push(request.stamp(Stamp::opaque(opaque)));
        self.flush(index)?;
        let give_up = Instant::now() + CALL_LIMIT;
        let mut ready = Vec::new();
        let mut answer = None;
        while answer.is_none() {
            let left = give_up.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "no answer within {CALL_LIMIT:?}");
            self.wait(left, &mut ready)?;
            if ready.contains(&index) {
                self.connections[index].receive(|response| {
                    if response.opaque == opaque {
                        answer = Some(Answer {
                            code: response.code,
                            remark: response.remark(),
                            number: response.number(field),
                        });
                    }
                    Ok(())
                })?;
            }
        }
        answer.context("the loop above ends with an answer")
    }
}

/// One connection with what it has read and what it shall write.
pub struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
    written: usize,
    waits_for_write: bool,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            input: Vec::new(),
            filled: 0,
            output: Vec::new(),
            written: 0,
            waits_for_write: false,
        })
    }

    /// Adds a request to the output; [`Sockets::flush`] sends it.
    pub fn push(&mut self, request: &[u8]) {
        self.output.extend_from_slice(request);
    }

    /// Reads once and hands over every whole response.
    pub fn receive(&mut self, mut handle: impl FnMut(&Response<'_>) -> Result<()>) -> Result<()> {
        if self.input.len() < self.filled + READ_BYTES {
            self.input.resize(self.filled + READ_BYTES, 0);
        }
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(count) => self.filled += count,
            Err(error) if is_transient(error.kind()) => return Ok(()),
            Err(error) => return Err(error).context("read"),
        }
        let mut at = 0;
        while let Some(length) = frame_length(&self.input[at..self.filled])? {
            let Some(frame) = self.input[at..self.filled].get(..length) else {
                break;
            };
            if let Some(response) = Response::parse(frame)? {
                handle(&response)?;
            }
            at += length;
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(())
    }

    /// Returns whether something is left because the socket is full.
    fn write_output(&mut self) -> Result<bool> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("write"),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(false)
    }
}

fn is_transient(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Raises the limit of open files to what this process may have.
pub fn allow_many_files() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Dialect;
    use std::net::TcpListener;
    use std::thread;

    /// A peer that sends back what it reads, with the response flag set, `at_once` bytes at a time.
    fn echo(at_once: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                let flag = memchr::memmem::find(&buffer, b"\"flag\":0").unwrap();
                buffer[flag + 7] = b'1';
                for part in buffer[..count].chunks(at_once) {
                    stream.write_all(part).unwrap();
                    stream.flush().unwrap();
                }
            }
        });
        address
    }

    #[test]
    fn a_call_returns_the_field_it_asked_for_from_a_stream_in_pieces() {
        let mut sockets = Sockets::connect(echo(7), 1).unwrap();
        let fields = [("offset", "12".to_owned())];
        for _ in 0..3 {
            let request = Template::new(Dialect::Json, 30, &fields, b"a body");
            let answer = sockets.call(0, request, "offset").unwrap();
            assert_eq!((answer.code, answer.number), (30, Some(12)));
        }
    }

    #[test]
    fn a_server_that_hangs_up_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sockets = Sockets::connect(listener.local_addr().unwrap(), 1).unwrap();
        drop(listener.accept().unwrap());
        let request = Template::new(Dialect::Json, 30, &[], b"");
        assert!(sockets.call(0, request, "offset").is_err());
    }
}

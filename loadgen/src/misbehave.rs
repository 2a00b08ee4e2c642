//! `misbehave`: clients that are silent, half gone, wrong or lost, while another run measures what the others notice of them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use remoting::codes::response_code;

use crate::report::{Errors, Report};
use crate::requests::{self, PULL_SUBSCRIPTION};
use crate::sockets::{Sockets, allow_many_files};
use crate::target::Target;
use crate::template::{FIRST_OPAQUE, Stamp, Template};

/// How long a connection may take to be closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// Requests on a connection that reads no answers; the server stops reading long before.
const MAX_UNREAD: usize = 100_000;

/// Open connections that do what no good client does, for a while
#[derive(Args, Clone, Debug)]
pub struct Misbehave {
    #[command(flatten)]
    target: Target,
    /// What they do
    #[arg(value_enum)]
    kind: Kind,
    /// Connections that are silent or half gone
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Wrong frames or unknown topics a second
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// For so long
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Pull the topic from its beginning, as often as the server takes requests, and read no answer
    Silent,
    /// Send half a frame
    HalfFrame,
    /// Send a frame that says it has 2 GiB, and come back when the connection is closed
    HugeFrame,
    /// Pull from topics that nobody has, another one each time
    UnknownTopic,
}

impl Misbehave {
    /// What the run is told of its target.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Does it, and reports how often.
    pub fn run(&self) -> Result<Report> {
        allow_many_files()?;
        let started = Instant::now();
        let end = started + Duration::from_secs(self.seconds);
        let done = match self.kind {
            Kind::Silent => self.hold(end, pull_unread(&self.pull(&self.target.topic)))?,
            Kind::HalfFrame => self.hold(end, begin_frame(8 * 1024 * 1024))?,
            Kind::HugeFrame => self.repeat(end, |_| send_huge_frame(self.target.address))?,
            Kind::UnknownTopic => {
                let mut sockets = Sockets::connect(self.target.address, 1)?;
                self.repeat(end, |number| self.pull_unknown(&mut sockets, number))?
            }
        };
        Ok(Report::new(0, done, started.elapsed(), Errors::default()))
    }

    /// Opens all connections, does something to each, and keeps them.
    fn hold(&self, end: Instant, begin: impl Fn(&mut TcpStream) -> Result<u64>) -> Result<u64> {
        let mut sockets = Vec::new();
        let mut done = 0;
        for _ in 0..self.connections {
            let mut socket = TcpStream::connect(self.target.address)?;
            done += begin(&mut socket)?;
            sockets.push(socket);
        }
        thread::sleep(end.saturating_duration_since(Instant::now()));
        Ok(done)
    }

    /// Does it at the rate, a few at a time.
    fn repeat(&self, end: Instant, mut act: impl FnMut(u64) -> Result<()>) -> Result<u64> {
        let started = Instant::now();
        let mut done = 0;
        while Instant::now() < end {
            let due = (started.elapsed().as_secs_f64() * f64::from(self.rate)) as u64;
            while done < due && Instant::now() < end {
                act(done)?;
                done += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(done)
    }

    fn pull(&self, topic: &str) -> Template {
        requests::pull(self.target.header, topic, 0, PULL_SUBSCRIPTION, 0)
    }

    fn pull_unknown(&self, sockets: &mut Sockets, number: u64) -> Result<()> {
        let answer = sockets.call(0, self.pull(&format!("NobodyHasThisTopic{number}")), "")?;
        ensure!(
            answer.code == response_code::TOPIC_NOT_EXIST,
            "{} {}",
            answer.code,
            answer.remark
        );
        Ok(())
    }
}

/// Sends a request over and over until the server reads no more of them.
fn pull_unread(request: &Template) -> impl Fn(&mut TcpStream) -> Result<u64> {
    move |socket| {
        socket.set_nonblocking(true)?;
        let mut request = request.clone();
        let frame = request.stamp(Stamp::opaque(FIRST_OPAQUE));
        for sent in 0..MAX_UNREAD {
            match socket.write(frame) {
                Ok(written) if written == frame.len() => {}
                Ok(_) => return Ok(sent as u64),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(sent as u64),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(MAX_UNREAD as u64)
    }
}

/// Sends the beginning of a frame that says it is so long.
fn begin_frame(claimed_bytes: u32) -> impl Fn(&mut TcpStream) -> Result<u64> {
    move |socket| {
        let mut bytes = claimed_bytes.to_be_bytes().to_vec();
        bytes.extend([0; 100]);
        socket.write_all(&bytes)?;
        Ok(1)
    }
}

fn send_huge_frame(server: SocketAddr) -> Result<()> {
    let mut socket = TcpStream::connect(server)?;
    socket.set_read_timeout(Some(CLOSED_WITHIN))?;
    begin_frame(i32::MAX.unsigned_abs())(&mut socket)?;
    match socket.read(&mut [0; 16]) {
        Ok(0) => Ok(()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        Ok(_) => anyhow::bail!("a frame of 2 GiB was answered"),
        Err(error) => Err(error).context("a frame of 2 GiB was not refused"),
    }
}

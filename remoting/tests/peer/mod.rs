//! A server with a handler for every way to answer, and a peer that speaks raw frames to it.
#![allow(dead_code, unused_imports)] // Each test file uses its part.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use remoting::codes::request_code;
use remoting::connection::Connection;
use remoting::fields::NoHeader;
use remoting::frame::Frame;
use remoting::request::{
    Handled, Outcome, OutgoingRequest, OwnedRequest, ParkedRequest, Refusal, Request, Responder, Response,
};
use remoting::routes;
use remoting::routes::ConnectionEvents;
use remoting::server::{Server, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Long enough for a busy machine; reached only when a test fails.
pub const SOON: Duration = Duration::from_secs(10);

pub use request_code::{
    CLEAN_UNUSED_TOPIC as BLOCKED, GET_BROKER_CONFIG as LARGE, GET_CONSUMER_RUNNING_INFO as ASK_BACK,
    HEART_BEAT as REFUSED, PULL_MESSAGE as PARKED, QUERY_MESSAGE as COLD, SEND_MESSAGE as ECHO,
    UNREGISTER_CLIENT as PANIC, UPDATE_BROKER_CONFIG as ANSWERED_LATER,
};

/// The bytes of an answer to LARGE.
pub const LARGE_BYTES: usize = 100_000;

#[derive(Debug, Default)]
pub struct TestServer {
    pub handled: AtomicUsize,
    pub opened: AtomicUsize,
    pub closed: AtomicUsize,
    pub parked: Mutex<Vec<ParkedRequest>>,
    pub responders: Mutex<Vec<Responder>>,
    pub connections: Mutex<Vec<Arc<Connection>>>,
    pub gate: Gate,
}

/// Holds blocking handlers until opened.
#[derive(Debug, Default)]
pub struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
    }
}

fn echo(server: &TestServer, request: Request<'_, NoHeader>) -> Handled {
    server.handled.fetch_add(1, Ordering::SeqCst);
    Ok(Response::success()
        .header(&NoHeader)
        .body(request.body().clone())
        .into())
}

fn park(server: &TestServer, request: Request<'_, NoHeader>) -> Handled {
    server.handled.fetch_add(1, Ordering::SeqCst);
    if request.is_resumed() {
        return Ok(Response::success()
            .remark("resumed")
            .body(request.body().clone())
            .into());
    }
    server.parked.lock().unwrap().push(request.park());
    Ok(Outcome::Parked)
}

fn answer_later(server: &TestServer, request: Request<'_, NoHeader>) -> Handled {
    server.responders.lock().unwrap().push(request.responder());
    Ok(Outcome::Parked)
}

fn large(server: &TestServer, _: Request<'_, NoHeader>) -> Handled {
    server.handled.fetch_add(1, Ordering::SeqCst);
    Ok(Response::success().body(vec![7; LARGE_BYTES]).into())
}

fn refuse(_: &TestServer, _: Request<'_, NoHeader>) -> Handled {
    Err(Refusal::new(16, "not you"))
}

fn panic_at(_: &TestServer, _: Request<'_, NoHeader>) -> Handled {
    panic!("a bug")
}

fn blocked(server: &TestServer, _: Request<'_, NoHeader>) -> Handled {
    server.gate.pass();
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    Ok(Response::success().remark(thread).into())
}

fn cold(_: &TestServer, request: Request<'_, NoHeader>) -> Handled {
    if !request.may_block() {
        return Ok(Outcome::MoveToBlocking);
    }
    Ok(Response::success()
        .remark("cold")
        .body(request.body().clone())
        .into())
}

/// Asks the client over its own connection and hands on what it says.
async fn ask_back(_: Arc<TestServer>, request: OwnedRequest<NoHeader>) -> Handled {
    let question = OutgoingRequest::new(request_code::GET_CONSUMER_STATUS_FROM_CLIENT).field("why", "test");
    let answer = request.connection().invoke(question, SOON).await;
    let answer = answer.map_err(|error| Refusal::system_error(error.to_string()))?;
    Ok(Response::success().body(answer.body).into())
}

routes! { TestServer;
    SEND_MESSAGE              => NoHeader, echo,         inline;
    PULL_MESSAGE              => NoHeader, park,         inline;
    UPDATE_BROKER_CONFIG      => NoHeader, answer_later, inline;
    GET_BROKER_CONFIG         => NoHeader, large,        inline;
    HEART_BEAT                => NoHeader, refuse,       inline;
    UNREGISTER_CLIENT         => NoHeader, panic_at,     inline;
    CLEAN_UNUSED_TOPIC        => NoHeader, blocked,      blocking;
    QUERY_MESSAGE             => NoHeader, cold,         inline;
    GET_CONSUMER_RUNNING_INFO => NoHeader, ask_back,     task;
    fast_port_refuses: PULL_MESSAGE;
}

impl ConnectionEvents for TestServer {
    fn connection_opened(&self, connection: &Arc<Connection>) {
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.connections.lock().unwrap().push(connection.clone());
    }

    fn connection_closed(&self, connection: &Arc<Connection>) {
        assert!(!connection.is_open());
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

impl TestServer {
    pub async fn start(config: ServerConfig) -> (Arc<TestServer>, Server<TestServer>) {
        let state = Arc::new(TestServer::default());
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), config, state.clone())
            .await
            .unwrap();
        (state, server)
    }

    pub fn handled(&self) -> usize {
        self.handled.load(Ordering::SeqCst)
    }

    pub fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }
}

/// Waits until `holds`; fails when it takes too long.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, waiting)
        .await
        .unwrap_or_else(|_| panic!("waited too long until {what}"));
}

/// The bytes of a request.
pub fn request(code: i32, opaque: i32, body: &[u8]) -> Vec<u8> {
    with_head(code, opaque, 0, body)
}

pub fn oneway(code: i32, opaque: i32, body: &[u8]) -> Vec<u8> {
    with_head(code, opaque, 2, body)
}

fn with_head(code: i32, opaque: i32, flag: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Frame::of_request(&OutgoingRequest::new(code).body(body.to_vec()));
    frame.opaque = opaque;
    frame.flag = flag;
    frame.encode().unwrap()
}

/// A peer that writes and reads bytes as told.
pub struct Peer {
    pub socket: TcpStream,
}

impl Peer {
    pub async fn connect(server: &Server<TestServer>) -> Peer {
        Peer {
            socket: TcpStream::connect(server.local_addr()).await.unwrap(),
        }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// The next frame; `None` when the server has closed the connection.
    pub async fn receive(&mut self) -> Option<Frame> {
        let read = async {
            let mut length = [0; 4];
            self.socket.read_exact(&mut length).await.ok()?;
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            self.socket.read_exact(&mut frame).await.ok()?;
            Some(Frame::decode(Bytes::from(frame)).unwrap())
        };
        tokio::time::timeout(SOON, read)
            .await
            .expect("the server neither answers nor closes")
    }

    pub async fn ask(&mut self, code: i32, opaque: i32, body: &[u8]) -> Frame {
        self.send(&request(code, opaque, body)).await;
        let answer = self.receive().await.expect("an answer");
        assert_eq!(answer.opaque, opaque);
        answer
    }

    pub async fn receive_all(&mut self, count: usize) -> HashMap<i32, Frame> {
        let mut answers = HashMap::new();
        while answers.len() < count {
            let answer = self.receive().await.expect("more answers");
            assert!(answers.insert(answer.opaque, answer).is_none(), "answered twice");
        }
        answers
    }

    pub async fn assert_closed(&mut self) {
        assert!(self.receive().await.is_none(), "the connection should be closed");
    }

    /// Shows that the connection works, and that nothing else was written to it before.
    pub async fn assert_alive(&mut self) {
        let answer = self.ask(ECHO, 1_000_000, b"alive?").await;
        assert_eq!((answer.code, &answer.body[..]), (0, &b"alive?"[..]));
    }
}

//! The server over real sockets.

mod peer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peer::*;
use remoting::backlog::Backlog;
use remoting::frame::{Frame, SerializeType};
use remoting::request::{OutgoingRequest, Response};
use remoting::server::ServerConfig;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn pipelined_requests_are_all_answered() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let mut peer = Peer::connect(&server).await;
    let mut bytes = Vec::new();
    for opaque in 0..1_000 {
        bytes.extend(request(ECHO, opaque, format!("body {opaque}").as_bytes()));
    }
    // Cut anywhere: frames arrive in pieces.
    for piece in bytes.chunks(7_919) {
        peer.send(piece).await;
    }
    for (opaque, answer) in peer.receive_all(1_000).await {
        assert_eq!(answer.body, format!("body {opaque}"));
        assert!(answer.is_response() && answer.code == 0 && answer.version == 513);
        assert_eq!(answer.language.name(), "JAVA");
        assert!(answer.remark().is_none(), "success has no remark");
        assert!(answer.has_fields(), "an empty header is still a field map");
    }
    assert_eq!(state.handled(), 1_000);
}

#[tokio::test]
async fn an_answer_speaks_the_dialect_of_its_request() {
    let (_state, server) = TestServer::start(ServerConfig::default()).await;
    let mut peer = Peer::connect(&server).await;
    for serialize in [SerializeType::RocketMq, SerializeType::Json] {
        let mut frame = Frame::of_request(&OutgoingRequest::new(ECHO));
        frame.serialize = serialize;
        let bytes = match serialize {
            SerializeType::Json => frame.encode().unwrap(),
            SerializeType::RocketMq => {
                let mut bytes = vec![0, 0, 0, 25, 1, 0, 0, 21, 0, ECHO as u8, 0, 2, 1, 0, 0, 0, 0];
                bytes.extend([0; 12]);
                bytes
            }
        };
        peer.send(&bytes).await;
        assert_eq!(peer.receive().await.unwrap().serialize, serialize);
    }
}

#[tokio::test]
async fn a_frame_larger_than_any_buffer_is_read_whole() {
    let (_state, server) = TestServer::start(ServerConfig::default()).await;
    let mut peer = Peer::connect(&server).await;
    let body: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
    peer.send(&request(ECHO, 3, &body[..70_000])).await;
    assert_eq!(peer.receive().await.unwrap().body, body[..70_000]);
    let whole = request(ECHO, 4, &body);
    let (mut read, mut write) = peer.socket.into_split();
    let writing = tokio::spawn(async move { write.write_all(&whole).await.map(|()| write) });
    let mut answer = vec![0; 4];
    tokio::io::AsyncReadExt::read_exact(&mut read, &mut answer)
        .await
        .unwrap();
    let length = u32::from_be_bytes([answer[0], answer[1], answer[2], answer[3]]) as usize;
    answer.resize(length, 0);
    tokio::io::AsyncReadExt::read_exact(&mut read, &mut answer)
        .await
        .unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(Frame::decode(answer.into()).unwrap().body, body);
}

#[tokio::test]
async fn one_way_requests_are_handled_and_never_answered() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let mut peer = Peer::connect(&server).await;
    for code in [ECHO, 9_999, REFUSED, PANIC, COLD, ANSWERED_LATER, PARKED] {
        peer.send(&oneway(code, code, b"")).await;
    }
    until("all are handled", || state.parked.lock().unwrap().len() == 1).await;
    for responder in state.responders.lock().unwrap().drain(..) {
        responder.respond(Response::success());
    }
    for parked in state.parked.lock().unwrap().drain(..) {
        parked.resume();
    }
    until("the parked one is handled again", || state.handled() == 3).await;
    peer.assert_alive().await;
}

#[tokio::test]
async fn refusals_and_unknown_codes_are_answered_as_java_does() {
    let (_state, server) = TestServer::start(ServerConfig::default()).await;
    let mut peer = Peer::connect(&server).await;
    let refused = peer.ask(REFUSED, 5, b"").await;
    assert_eq!((refused.code, refused.remark().as_deref()), (16, Some("not you")));
    let unknown = peer.ask(9_999, 9, b"").await;
    assert_eq!(
        (unknown.code, unknown.remark().as_deref()),
        (3, Some(" request type 9999 not supported"))
    );
    assert!(!unknown.has_fields() && unknown.body.is_empty());
}

#[tokio::test]
async fn a_handler_that_panics_costs_one_answer_only() {
    let (_state, server) = TestServer::start(ServerConfig::default()).await;
    let mut peer = Peer::connect(&server).await;
    let answer = peer.ask(PANIC, 1, b"").await;
    assert_eq!(answer.code, 1);
    assert_eq!(
        answer.remark().as_deref(),
        Some("handler of UNREGISTER_CLIENT panicked: a bug")
    );
    peer.assert_alive().await;
}

#[tokio::test]
async fn a_malformed_frame_closes_its_connection_and_no_other() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    #[rustfmt::skip]
    let cases: [(&str, &[u8]); 6] = [
        ("header longer than the frame", &[0, 0, 0, 8, 0, 0, 1, 0, b'{', b'}', 0, 0]),
        ("bad JSON",                     &[0, 0, 0, 6, 0, 0, 0, 2, b'{', b'x']),
        ("serialize type 5",             &[0, 0, 0, 6, 5, 0, 0, 2, b'{', b'}']),
        ("no room for a header length",  &[0, 0, 0, 3, 0, 0, 0]),
        ("negative length",              &[0xFF, 0xFF, 0xFF, 0xFF]),
        ("TLS",                          &[0x16, 3, 1]),
    ];
    let mut bystander = Peer::connect(&server).await;
    bystander.assert_alive().await;
    for (closed, (what, bytes)) in cases.iter().enumerate() {
        let mut peer = Peer::connect(&server).await;
        if *what != "TLS" {
            // What came before it is still answered.
            peer.send(&[request(ECHO, 1, b"before"), bytes.to_vec()].concat())
                .await;
            assert_eq!(peer.receive().await.expect(what).body, "before");
        } else {
            peer.send(bytes).await;
        }
        peer.assert_closed().await;
        until("the listener is told", || state.closed() == closed + 1).await;
    }
    bystander.assert_alive().await;
}

#[tokio::test]
async fn a_frame_beyond_the_limit_is_refused_from_its_length_word() {
    let config = ServerConfig {
        max_frame_bytes: 1_000,
        ..ServerConfig::default()
    };
    let (_state, server) = TestServer::start(config).await;
    let largest = 1_000 - request(ECHO, 1, b"").len();
    let mut peer = Peer::connect(&server).await;
    assert_eq!(peer.ask(ECHO, 1, &vec![b'x'; largest]).await.body.len(), largest);
    peer.send(&997_u32.to_be_bytes()).await;
    peer.assert_closed().await;

    let mut greedy = Peer::connect(&server).await;
    greedy.send(&0x7FFF_FFFF_u32.to_be_bytes()).await;
    greedy.assert_closed().await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_not_read_from() {
    let config = ServerConfig {
        outbound_high_water_bytes: 200_000,
        ..ServerConfig::default()
    };
    let (state, server) = TestServer::start(config).await;
    let mut peer = Peer::connect(&server).await;
    let requests = 500;
    let bytes: Vec<u8> = (0..requests)
        .flat_map(|opaque| request(LARGE, opaque, b""))
        .collect();
    peer.send(&bytes).await;

    // 50 MB of answers are asked for; what the system buffers of them is far less. The server must come to rest.
    let mut handled = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if state.handled() == handled {
            break;
        }
        handled = state.handled();
    }
    assert!(
        handled < 300,
        "handled {handled} of {requests} without the peer reading"
    );

    let mut other = Peer::connect(&server).await;
    other.assert_alive().await;

    for answer in peer.receive_all(requests as usize).await.values() {
        assert_eq!(answer.body.len(), LARGE_BYTES);
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_what_others_send_it_is_closed_at_the_limit() {
    let config = ServerConfig {
        outbound_limit_bytes: 1_000_000,
        ..ServerConfig::default()
    };
    let (state, server) = TestServer::start(config).await;
    let mut peer = Peer::connect(&server).await;
    let bytes: Vec<u8> = (0..1_000)
        .flat_map(|opaque| request(ANSWERED_LATER, opaque, b""))
        .collect();
    peer.send(&bytes).await;
    until("all wait", || state.responders.lock().unwrap().len() == 1_000).await;
    let connection = state.connections.lock().unwrap()[0].clone();
    for responder in state.responders.lock().unwrap().drain(..) {
        responder.respond(Response::success().body(vec![1; LARGE_BYTES]));
    }
    until("it is closed", || !connection.is_open()).await;
    until("the listener is told", || state.closed() == 1).await;
    assert!(connection.oneway(OutgoingRequest::new(40)).is_err());
}

#[tokio::test]
async fn peers_that_read_nothing_are_closed_when_together_they_hold_too_much() {
    const LIMIT: usize = 4_000_000;
    let backlog = Arc::new(Backlog::with_limit(LIMIT));
    let (state, server) = TestServer::start(ServerConfig {
        outbound_high_water_bytes: 200_000,
        backlog: backlog.clone(),
        ..ServerConfig::default()
    })
    .await;
    let mut healthy = Peer::connect(&server).await;
    // Far more than the system buffers of a connection.
    let requests: Vec<u8> = (0..300).flat_map(|opaque| request(LARGE, opaque, b"")).collect();
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut peer = Peer::connect(&server).await;
        peer.send(&requests).await;
        silent.push(peer);
        healthy.assert_alive().await;
        assert!(backlog.bytes() <= LIMIT, "{} bytes are held", backlog.bytes());
    }
    until("the limit is reached", || state.closed() > 0).await;
    healthy.assert_alive().await;
    assert!(state.closed() < 40, "those within the limit stay");

    drop(silent);
    until("all is given back", || backlog.bytes() == 0).await;
    healthy.assert_alive().await;
}

#[tokio::test]
async fn peers_that_end_no_frame_are_closed_when_together_they_hold_too_much() {
    const LIMIT: usize = 4_000_000;
    let backlog = Arc::new(Backlog::with_limit(LIMIT));
    let (state, server) = TestServer::start(ServerConfig {
        backlog: backlog.clone(),
        ..ServerConfig::default()
    })
    .await;
    let mut healthy = Peer::connect(&server).await;
    let whole = request(ECHO, 1, &vec![7; 1_000_000]);
    let mut halves = Vec::new();
    for _ in 0..20 {
        let mut peer = Peer::connect(&server).await;
        peer.send(&whole[..500_000]).await;
        halves.push(peer);
        healthy.assert_alive().await;
        assert!(backlog.bytes() <= LIMIT, "{} bytes are held", backlog.bytes());
    }
    until("the limit is reached", || state.closed() > 0).await;
    assert!(state.closed() < 20, "those within the limit stay");
    let stays = state.connections.lock().unwrap()[1..]
        .iter()
        .position(|connection| connection.is_open())
        .unwrap();
    let mut stays = halves.swap_remove(stays);
    drop(halves);
    until("the others are gone", || state.closed() == 19).await;
    stays.send(&whole[500_000..]).await;
    assert_eq!(stays.receive().await.unwrap().body.len(), 1_000_000);
    until("all is given back", || backlog.bytes() == 0).await;
}

#[tokio::test]
async fn a_peer_that_does_not_read_has_one_notice_of_a_subject_waiting() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let mut peer = Peer::connect(&server).await;
    peer.assert_alive().await;
    let connection = state.connections.lock().unwrap()[0].clone();
    let subject: Arc<str> = Arc::from("large");
    let notice = OutgoingRequest::new(40)
        .field("subject", &subject)
        .body(vec![1; 10_000]);
    // What the system buffers is some megabytes; 3 GB would be beyond the limit of the connection.
    for _ in 0..300_000 {
        connection.notify(&subject, &notice).unwrap();
    }
    assert!(connection.is_open());
    let other: Arc<str> = Arc::from("other");
    connection
        .notify(&other, &OutgoingRequest::new(40).field("subject", &other))
        .unwrap();
    // Everything comes, in order, and afterwards there is room again.
    let mut count = 0;
    while peer.receive().await.unwrap().fields().get("subject").as_deref() != Some("other") {
        count += 1;
    }
    assert!((1..10_000).contains(&count), "{count} notices");
    peer.assert_alive().await;
    connection.notify(&subject, &notice).unwrap();
    assert_eq!(peer.receive().await.unwrap().code, 40);
}

/// Model: a number that only grows, a notice after each change. Whoever reads the number after each notice reads the last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn after_the_last_change_a_notice_is_still_to_be_read() {
    const END: i32 = 41;
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let mut peer = Peer::connect(&server).await;
    peer.assert_alive().await;
    let connection = state.connections.lock().unwrap()[0].clone();
    let subject: Arc<str> = Arc::from("number");
    let notice = OutgoingRequest::new(40).field("subject", &subject);
    let number = Arc::new(AtomicU64::new(0));
    for burst in 1..=1_000 {
        let (connection, subject, notice) = (connection.clone(), subject.clone(), notice.clone());
        let changing = number.clone();
        let changes = std::thread::spawn(move || {
            for change in 0..burst % 40 + 1 {
                changing.fetch_add(1, Ordering::SeqCst);
                connection.notify(&subject, &notice).unwrap();
                for _ in 0..change % 7 * 500 {
                    std::hint::spin_loop();
                }
            }
            connection.oneway(OutgoingRequest::new(END)).unwrap();
        });
        let mut known = 0;
        while peer.receive().await.unwrap().code != END {
            known = number.load(Ordering::SeqCst);
        }
        changes.join().unwrap();
        assert_eq!(known, number.load(Ordering::SeqCst), "burst {burst}");
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_for_too_long_is_closed() {
    let config = ServerConfig {
        write_stall: Duration::from_millis(100),
        outbound_high_water_bytes: 200_000,
        ..ServerConfig::default()
    };
    let (state, server) = TestServer::start(config).await;
    let mut peer = Peer::connect(&server).await;
    let bytes: Vec<u8> = (0..300).flat_map(|opaque| request(LARGE, opaque, b"")).collect();
    peer.send(&bytes).await;
    until("it is closed", || state.closed() == 1).await;
}

#[tokio::test]
async fn a_parked_request_is_handled_again_when_resumed() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let mut peer = Peer::connect(&server).await;
    peer.send(&request(PARKED, 1, b"first")).await;
    peer.send(&request(PARKED, 2, b"second")).await;
    // A parked request holds up nobody.
    peer.assert_alive().await;
    let parked: Vec<_> = state.parked.lock().unwrap().drain(..).collect();
    assert_eq!(parked.len(), 2);
    std::thread::spawn(move || parked.into_iter().for_each(|request| request.resume()))
        .join()
        .unwrap();
    let answers = peer.receive_all(2).await;
    for (opaque, body) in [(1, "first"), (2, "second")] {
        assert_eq!(answers[&opaque].remark().as_deref(), Some("resumed"));
        assert_eq!(answers[&opaque].body, body);
    }
}

#[tokio::test]
async fn what_is_parked_and_dropped_is_answered_with_an_error() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let mut peer = Peer::connect(&server).await;
    peer.send(&[request(PARKED, 1, b""), request(ANSWERED_LATER, 2, b"")].concat())
        .await;
    until("both wait", || {
        state.parked.lock().unwrap().len() == 1 && state.responders.lock().unwrap().len() == 1
    })
    .await;
    state.parked.lock().unwrap().clear();
    state.responders.lock().unwrap().clear();
    for answer in peer.receive_all(2).await.values() {
        assert_eq!(answer.code, 1);
        assert_eq!(
            answer.remark().as_deref(),
            Some("request was dropped without an answer")
        );
    }
    peer.send(&request(PARKED, 3, b"")).await;
    until("it waits", || state.parked.lock().unwrap().len() == 1).await;
    state.parked.lock().unwrap().pop().unwrap().withdraw();
    peer.assert_alive().await;
}

#[tokio::test]
async fn resuming_on_a_closed_connection_does_nothing() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let mut peer = Peer::connect(&server).await;
    peer.send(&request(PARKED, 1, b"")).await;
    until("it waits", || state.parked.lock().unwrap().len() == 1).await;
    drop(peer);
    until("it is closed", || state.closed() == 1).await;
    state.parked.lock().unwrap().pop().unwrap().resume();
    Peer::connect(&server).await.assert_alive().await;
    assert_eq!(state.handled(), 2, "parked once, and the sign of life");
}

#[tokio::test]
async fn a_blocking_handler_holds_up_nobody() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let mut peer = Peer::connect(&server).await;
    peer.send(&request(BLOCKED, 1, b"")).await;
    peer.assert_alive().await;
    state.gate.open();
    let answer = peer.receive().await.unwrap();
    assert_eq!((answer.opaque, answer.code), (1, 0));
    let cold = peer.ask(COLD, 2, b"moved").await;
    assert_eq!(
        (cold.remark().as_deref(), &cold.body[..]),
        (Some("cold"), &b"moved"[..])
    );
}

#[tokio::test]
async fn calls_beyond_the_bound_of_the_lanes_are_refused() {
    let config = ServerConfig {
        blocking_threads: 1,
        max_lane_calls: 5,
        max_lane_calls_per_connection: 3,
        ..ServerConfig::default()
    };
    let (state, server) = TestServer::start(config).await;
    let mut first = Peer::connect(&server).await;
    let mut second = Peer::connect(&server).await;
    let bytes: Vec<u8> = (1..=4).flat_map(|opaque| request(BLOCKED, opaque, b"")).collect();
    first.send(&bytes).await;
    let refused = first.receive().await.unwrap();
    assert_eq!(
        (refused.opaque, refused.code),
        (4, 2),
        "the fourth of one connection"
    );
    assert_eq!(
        refused.remark().as_deref(),
        Some("[OVERLOAD]system busy, start flow control for a while")
    );
    second.send(&bytes).await;
    for opaque in [3, 4] {
        let refused = second.receive().await.unwrap();
        assert_eq!(
            (refused.opaque, refused.code),
            (opaque, 2),
            "the sixth of the server"
        );
    }
    state.gate.open();
    assert!(first.receive_all(3).await.values().all(|answer| answer.code == 0));
    assert!(
        second
            .receive_all(2)
            .await
            .values()
            .all(|answer| answer.code == 0)
    );
    // The places are free again.
    assert_eq!(first.ask(BLOCKED, 5, b"").await.code, 0);
}

#[tokio::test]
async fn a_handler_asks_the_client_over_its_own_connection() {
    let (_state, server) = TestServer::start(ServerConfig::default()).await;
    let mut peer = Peer::connect(&server).await;
    peer.send(&request(ASK_BACK, 77, b"")).await;
    let question = peer.receive().await.unwrap();
    assert!(!question.is_response());
    assert_eq!(
        (question.code, question.fields().get("why").as_deref()),
        (221, Some("test"))
    );
    // An answer nobody waits for is dropped.
    for opaque in [question.opaque + 1_000, question.opaque] {
        let mut answer = Frame::of_request(&OutgoingRequest::new(0).body("the status"));
        answer.opaque = opaque;
        answer.flag = 1;
        peer.send(&answer.encode().unwrap()).await;
    }
    let answer = peer.receive().await.unwrap();
    assert_eq!(
        (answer.opaque, answer.code, &answer.body[..]),
        (77, 0, &b"the status"[..])
    );
}

#[tokio::test]
async fn a_client_that_leaves_instead_of_answering_ends_the_wait() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let mut peer = Peer::connect(&server).await;
    peer.assert_alive().await;
    let connection = state.connections.lock().unwrap()[0].clone();
    let waiting = tokio::spawn(async move { connection.invoke(OutgoingRequest::new(221), SOON).await });
    assert_eq!(peer.receive().await.unwrap().code, 221);
    drop(peer);
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "connection was closed before the answer");
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let config = ServerConfig {
        max_connections: 2,
        ..ServerConfig::default()
    };
    let (state, server) = TestServer::start(config).await;
    let mut first = Peer::connect(&server).await;
    let mut second = Peer::connect(&server).await;
    first.assert_alive().await;
    second.assert_alive().await;
    Peer::connect(&server).await.assert_closed().await;
    drop(first);
    until("there is room again", || server.connection_count() == 1).await;
    Peer::connect(&server).await.assert_alive().await;
    assert_eq!(state.opened.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let config = ServerConfig {
        idle: Duration::from_millis(200),
        ..ServerConfig::default()
    };
    let (state, server) = TestServer::start(config).await;
    let mut busy = Peer::connect(&server).await;
    let mut idle = Peer::connect(&server).await;
    busy.assert_alive().await;
    let waiting = async {
        while state.closed() == 0 {
            busy.assert_alive().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.unwrap();
    idle.assert_closed().await;
    busy.assert_alive().await;
}

#[tokio::test]
async fn the_fast_port_refuses_its_codes_as_unknown() {
    let (state, server) = TestServer::start(ServerConfig {
        fast_port: true,
        ..ServerConfig::default()
    })
    .await;
    let mut peer = Peer::connect(&server).await;
    let refused = peer.ask(PARKED, 1, b"").await;
    assert_eq!(
        (refused.code, refused.remark().as_deref()),
        (3, Some(" request type 11 not supported"))
    );
    peer.assert_alive().await;
    assert!(state.parked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn stopping_writes_the_answers_that_are_owed() {
    let (state, server) = TestServer::start(ServerConfig {
        stop_grace: SOON,
        ..ServerConfig::default()
    })
    .await;
    let addr = server.local_addr();
    let mut peer = Peer::connect(&server).await;
    let mut idle = Peer::connect(&server).await;
    idle.assert_alive().await;
    peer.send(
        &[
            request(PARKED, 1, b""),
            request(ANSWERED_LATER, 2, b""),
            request(BLOCKED, 3, b""),
        ]
        .concat(),
    )
    .await;
    until("all wait", || !state.responders.lock().unwrap().is_empty()).await;
    server.drain();
    let stopping = tokio::spawn(server.stop());
    idle.assert_closed().await;
    assert!(!stopping.is_finished(), "answers are owed");
    state
        .parked
        .lock()
        .unwrap()
        .drain(..)
        .for_each(|parked| parked.resume());
    assert_eq!(peer.receive().await.unwrap().opaque, 1);
    state
        .responders
        .lock()
        .unwrap()
        .drain(..)
        .for_each(|responder| responder.respond(Response::success()));
    assert_eq!(peer.receive().await.unwrap().opaque, 2);
    state.gate.open();
    assert_eq!(peer.receive().await.unwrap().opaque, 3);
    peer.assert_closed().await;
    stopping.await.unwrap();
    assert!(
        tokio::net::TcpStream::connect(addr).await.is_err(),
        "nobody listens"
    );
    assert_eq!(state.closed(), 2);
}

#[tokio::test]
async fn stopping_waits_no_longer_than_the_grace_time() {
    let config = ServerConfig {
        stop_grace: Duration::from_millis(50),
        ..ServerConfig::default()
    };
    let (state, server) = TestServer::start(config).await;
    let mut peer = Peer::connect(&server).await;
    peer.send(&request(PARKED, 1, b"")).await;
    until("it waits", || state.parked.lock().unwrap().len() == 1).await;
    tokio::time::timeout(SOON, server.stop()).await.unwrap();
    peer.assert_closed().await;
    assert_eq!(state.closed(), 1);
}

/// Every way to answer at once, from several threads: a lost wake-up or a lost answer would leave a peer waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_every_request_is_answered_exactly_once() {
    let (state, server) = TestServer::start(ServerConfig::default()).await;
    let server = std::sync::Arc::new(server);
    state.gate.open();
    let answering = std::thread::spawn({
        let state = state.clone();
        move || {
            while std::sync::Arc::strong_count(&state) > 2 {
                let parked: Vec<_> = state.parked.lock().unwrap().drain(..).collect();
                parked.into_iter().for_each(|request| request.resume());
                let responders: Vec<_> = state.responders.lock().unwrap().drain(..).collect();
                responders
                    .into_iter()
                    .for_each(|responder| responder.respond(Response::success()));
                std::thread::yield_now();
            }
        }
    });
    let peers: Vec<_> = (0..8)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move {
                let mut peer = Peer::connect(&server).await;
                for round in 0..40 {
                    let codes = [ECHO, PARKED, ANSWERED_LATER, BLOCKED, COLD, LARGE, REFUSED, 9_999];
                    let depth = 1 + round % codes.len();
                    let of = |at: usize| codes[(at + round) % codes.len()];
                    let bytes: Vec<u8> = (0..depth)
                        .flat_map(|at| request(of(at), at as i32, b"x"))
                        .collect();
                    peer.send(&bytes).await;
                    for (opaque, answer) in peer.receive_all(depth).await {
                        let expected = [0, 0, 0, 0, 0, 0, 16, 3][(opaque as usize + round) % codes.len()];
                        assert_eq!(answer.code, expected);
                    }
                }
            })
        })
        .collect();
    for peer in peers {
        peer.await.unwrap();
    }
    drop(server);
    drop(state);
    answering.join().unwrap();
}

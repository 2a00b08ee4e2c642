//! The HTTP port from outside: what a scraper and a probe see, and what a hostile peer gets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use operations::exposition::{Exposition, Kind, Metric};
use operations::http::{CONNECTIONS_MAX, HttpPort, Source};
use operations::probe::probe;

const METRIC: Metric = Metric {
    name: "things",
    kind: Kind::Gauge,
    help: "Things.",
};

struct Thing {
    health: Result<(), String>,
    series: usize,
}

impl Source for Thing {
    fn health(&self) -> Result<(), String> {
        self.health.clone()
    }

    fn write_metrics(&self, out: &mut Exposition<'_>) {
        out.metric(&METRIC);
        for series in 0..self.series {
            out.value(&[("n", &series.to_string())], 1);
        }
    }
}

fn healthy() -> Arc<Thing> {
    Arc::new(Thing {
        health: Ok(()),
        series: 1,
    })
}

async fn bound() -> HttpPort {
    HttpPort::bind("127.0.0.1:0".parse().unwrap(), "thinking")
        .await
        .unwrap()
}

fn exchange(addr: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    // A refused connection is an empty answer.
    let _ = socket.read_to_string(&mut answer);
    answer
}

fn get(addr: SocketAddr, path: &str) -> String {
    exchange(addr, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

fn asked(addr: SocketAddr) -> Result<String, String> {
    probe(&format!("http://{addr}/healthz"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_unhealthy_until_it_has_started_and_once_it_stops_and_says_why() {
    let port = bound().await;
    let addr = port.local_addr();
    assert!(
        asked(addr)
            .unwrap_err()
            .ends_with("answers 503: starting: thinking")
    );
    assert!(get(addr, "/metrics").starts_with("HTTP/1.1 503"));

    port.serve(healthy());
    assert_eq!(asked(addr), Ok("ok".to_owned()));

    let broken = Err("the disk is full".to_owned());
    port.serve(Arc::new(Thing {
        health: broken,
        series: 0,
    }));
    assert!(asked(addr).unwrap_err().ends_with("the disk is full"));

    port.stopping();
    assert!(asked(addr).unwrap_err().ends_with("stopping"));
    drop(port);
    // The acceptor ends at its next turn.
    let mut gone = false;
    for _ in 0..100 {
        gone = asked(addr).is_err_and(|why| !why.contains("503"));
        if gone {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_come_whole_however_many_they_are() {
    let port = bound().await;
    port.serve(Arc::new(Thing {
        health: Ok(()),
        series: 20_000,
    }));
    let answer = get(port.local_addr(), "/metrics");
    assert!(answer.starts_with("HTTP/1.1 200"), "{}", &answer[..200]);
    assert!(answer.contains("content-type: text/plain; version=0.0.4"));
    assert_eq!(answer.matches("things{n=").count(), 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_methods_and_protocols_are_turned_down() {
    let port = bound().await;
    port.serve(healthy());
    let addr = port.local_addr();
    assert!(get(addr, "/").starts_with("HTTP/1.1 404"));
    assert!(
        exchange(
            addr,
            "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        )
        .starts_with("HTTP/1.1 405")
    );
    let head = exchange(addr, "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200") && !head.ends_with("ok\n"),
        "{head}"
    );
    assert!(!exchange(addr, "\x16\x03\x01 no HTTP at all\r\n\r\n").starts_with("HTTP/1.1 200"));
    let endless = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(64 * 1024));
    assert!(!exchange(addr, &endless).starts_with("HTTP/1.1 200"));
    assert_eq!(asked(addr), Ok("ok".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_take_only_the_places_there_are() {
    let port = bound().await;
    port.serve(healthy());
    let addr = port.local_addr();
    let silent: Vec<TcpStream> = (0..CONNECTIONS_MAX)
        .map(|_| TcpStream::connect(addr).unwrap())
        .collect();
    // One more than there are places is closed without an answer, once all of them are accepted.
    let mut refused = false;
    for _ in 0..250 {
        refused = asked(addr).is_err();
        if refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(refused);
    drop(silent);
    let mut served = false;
    for _ in 0..250 {
        served = asked(addr).is_ok();
        if served {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(served);
}

#[test]
fn a_probe_of_nobody_says_what_is_wrong() {
    assert!(probe("https://localhost/").unwrap_err().contains("http://"));
    assert!(
        probe("http://127.0.0.1:1/healthz")
            .unwrap_err()
            .starts_with("http://127.0.0.1:1/healthz: ")
    );
    assert!(probe("http://no.such.host.invalid:1").is_err());
}

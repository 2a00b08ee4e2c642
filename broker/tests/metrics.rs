//! `/metrics` and `/healthz` of a running broker, and the dashboard that is drawn from them.

#[allow(dead_code, reason = "not every test needs all of it")]
mod common_server;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use bytes::Bytes;
use common_server::TestServers;
use remoting::codes::request_code;
use remoting::frame::Frame;
use remoting::request::OutgoingRequest;

fn scraped_servers() -> (TestServers, SocketAddr) {
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let servers = TestServers::start_with(&[
        ("metricsExporterType", "PROM"),
        ("metricsPromExporterPort", &free.port().to_string()),
    ]);
    (servers, free)
}

fn get(addr: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(addr).unwrap();
    write!(socket, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// Sends requests in one write and reads as many answers.
fn exchange(addr: SocketAddr, requests: &[OutgoingRequest]) -> Vec<Frame> {
    let mut socket = TcpStream::connect(addr).unwrap();
    let wire: Vec<u8> = requests
        .iter()
        .flat_map(|request| Frame::of_request(request).encode().unwrap())
        .collect();
    socket.write_all(&wire).unwrap();
    let mut answers = Vec::new();
    for _ in requests {
        let mut length = [0; 4];
        socket.read_exact(&mut length).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        socket.read_exact(&mut frame).unwrap();
        answers.push(Frame::decode(Bytes::from(frame)).unwrap());
    }
    answers
}

#[test]
fn a_running_broker_is_healthy_and_counts_what_it_answers() {
    let (servers, http) = scraped_servers();
    assert!(get(http, "/healthz").ends_with("\r\n\r\nok\n"));

    // Inline, in the lane blocking, and unknown.
    let requests = [
        OutgoingRequest::new(request_code::GET_BROKER_CONFIG),
        OutgoingRequest::new(request_code::GET_MAX_OFFSET)
            .field("topic", "no such topic")
            .field("queueId", 0),
        OutgoingRequest::new(999_999),
        OutgoingRequest::new(999_998),
    ];
    let answers = exchange(servers.broker_address(), &requests);
    assert_eq!(answers.len(), 4);

    let metrics = get(http, "/metrics");
    for (request, response, count) in [
        ("get_broker_config", "success", 1),
        ("unknown", "request_code_not_supported", 2),
    ] {
        let line = metrics
            .lines()
            .find(|line| {
                line.starts_with("rocketmq_rpc_latency_milliseconds_count{")
                    && line.contains(&format!(
                        "request_code=\"{request}\",response_code=\"{response}\""
                    ))
            })
            .unwrap_or_else(|| panic!("{request} is missing in {metrics}"));
        assert!(line.ends_with(&format!(" {count}")), "{line}");
        assert!(line.contains("is_long_polling=\"false\"") && line.contains("result=\"success\""));
    }
    assert!(metrics.contains("request_code=\"get_max_offset\""), "{metrics}");
}

#[test]
fn the_dashboard_shows_only_metrics_that_exist() {
    let dashboard = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/grafana/rocketmq.json");
    let dashboard: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dashboard).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut used = BTreeSet::new();
    for target in panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
    {
        let expression = target["expr"].as_str().unwrap();
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names: Vec<&str> = words.filter(|word| word.starts_with("rocketmq_")).collect();
        assert!(!names.is_empty(), "{expression}");
        for name in names {
            let base = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(name);
            assert!(
                broker::metrics::names::ALL
                    .iter()
                    .any(|metric| metric.name == base || metric.name == name),
                "{name} in {expression} is no metric of ours"
            );
            used.insert(base.to_owned());
        }
    }
    assert!(used.len() >= 15, "{used:?}");
}

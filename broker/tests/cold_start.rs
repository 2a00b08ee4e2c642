//! `mqbroker` as an operator meets it: how soon the first send is accepted, what an idle process weighs, how it stops.
//!
//! Start times are the best of several rounds, since the machine may be busy with other tests.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const START_LIMIT: Duration = Duration::from_millis(200);
const STOP_LIMIT: Duration = Duration::from_secs(5);
const RSS_LIMIT_KIB: u64 = 30 * 1024;

/// A running mqbroker on a directory of its own; killed if a test leaves it running.
struct Mqbroker {
    process: Child,
    address: SocketAddr,
    spawned: Instant,
}

impl Mqbroker {
    fn spawn(home: &Path) -> Self {
        let port = free_port_with_free_fast_port();
        let file = home.join("broker.conf");
        let text = format!(
            "brokerName=cold\nbrokerIP1=127.0.0.1\nlistenPort={port}\nstorePathRootDir={}\n",
            home.join("store").display()
        );
        fs::write(&file, text).expect("the configuration can be written");
        let spawned = Instant::now();
        let process = Command::new(env!("CARGO_BIN_EXE_mqbroker"))
            .arg("-c")
            .arg(&file)
            .env("HOME", home)
            .env_remove("NAMESRV_ADDR")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mqbroker starts");
        Self {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            spawned,
        }
    }

    /// Tries until a send is accepted; the time since the process was spawned.
    fn first_accepted_send(&mut self) -> Duration {
        while self.spawned.elapsed() < Duration::from_secs(20) {
            if send(self.address) {
                return self.spawned.elapsed();
            }
            assert!(
                self.process
                    .try_wait()
                    .expect("the process can be asked")
                    .is_none(),
                "mqbroker ended"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("mqbroker accepted no send within 20 s");
    }

    fn resident_kib(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("the process lives");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("the kernel tells VmRSS");
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse().ok())
            .expect("VmRSS is a number of KiB")
    }

    /// SIGTERM, and how long the process took to end with success.
    fn stop(mut self) -> Duration {
        let asked = Instant::now();
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .arg(pid)
                .status()
                .expect("kill runs")
                .success()
        );
        let status = self.process.wait().expect("the process can be waited for");
        assert!(status.success(), "a clean stop ends with success, not {status}");
        asked.elapsed()
    }
}

impl Drop for Mqbroker {
    fn drop(&mut self) {
        // Only matters when a test failed before `stop`; then there is nobody to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port_with_free_fast_port() -> u16 {
    loop {
        let main = TcpListener::bind(("127.0.0.1", 0)).expect("a free port exists");
        let port = main.local_addr().expect("it has an address").port();
        if TcpListener::bind(("127.0.0.1", port - 2)).is_ok() {
            return port;
        }
    }
}

/// One SEND_MESSAGE_V2 to a topic that is created on the way; whether it was stored.
fn send(address: SocketAddr) -> bool {
    let header = r#"{"code":310,"extFields":{"a":"p","b":"ColdStart","c":"TBW102","d":"4","e":"0","f":"0","g":"1","h":"0","i":"","m":"false"},"flag":0,"language":"JAVA","opaque":1,"version":513}"#;
    let Ok(mut socket) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return false;
    };
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout can be set");
    let body = b"first";
    let mut frame = ((4 + header.len() + body.len()) as u32).to_be_bytes().to_vec();
    frame.extend((header.len() as u32).to_be_bytes());
    frame.extend(header.as_bytes());
    frame.extend(body);
    let mut length = [0; 4];
    if socket.write_all(&frame).is_err() || socket.read_exact(&mut length).is_err() {
        return false;
    }
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut answer).is_ok() && String::from_utf8_lossy(&answer).contains("\"code\":0")
}

#[test]
fn the_first_send_is_accepted_at_once_and_an_idle_broker_is_small() {
    let mut starts = Vec::new();
    let mut last = None;
    for _ in 0..ROUNDS {
        let home = tempfile::tempdir().expect("a directory can be made");
        let mut broker = Mqbroker::spawn(home.path());
        starts.push(broker.first_accepted_send());
        last = Some((broker, home));
    }
    let (broker, _home) = last.expect("at least one round");
    std::thread::sleep(Duration::from_secs(1));
    let resident_kib = broker.resident_kib();
    let stopped = broker.stop();
    println!("first accepted send after {starts:?}, resident {resident_kib} KiB, stopped within {stopped:?}");

    assert!(
        starts.iter().min().expect("at least one round") < &START_LIMIT,
        "{starts:?}"
    );
    assert!(resident_kib < RSS_LIMIT_KIB, "{resident_kib} KiB resident");
    assert!(stopped < STOP_LIMIT, "stopped after {stopped:?}");
}

//! The mqbroker process on a directory that outlives it.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::Wire;

/// Files so small that loads of a few seconds roll over many of them, and not deleted because the machine's disk is nearly full.
pub const SMALL_FILES: &[(&str, &str)] = &[
    ("mappedFileSizeCommitLog", "1048576"),
    ("mappedFileSizeConsumeQueue", "6000"),
    ("maxHashSlotNum", "500"),
    ("maxIndexNum", "2000"),
    ("maxTransferCountOnMessageInMemory", "1000"),
    ("maxTransferBytesOnMessageInMemory", "4194304"),
    ("flushConsumerOffsetInterval", "500"),
    ("cleanFileForciblyEnable", "false"),
];

const START_LIMIT: Duration = Duration::from_secs(60);
const LOG_LIMIT: Duration = Duration::from_secs(5);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A running mqbroker; killed when dropped.
pub struct Mqbroker {
    process: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Mqbroker {
    /// Starts the process on `home/store` and returns at once.
    pub fn spawn(home: &Path, settings: &[(&str, &str)]) -> Self {
        Self::spawn_on(home, &home.join("store"), settings)
    }

    /// The same with the store elsewhere than configuration and log.
    pub fn spawn_on(home: &Path, store: &Path, settings: &[(&str, &str)]) -> Self {
        let port = free_port_with_free_fast_port();
        let file = home.join("broker.conf");
        let mut text = format!(
            "brokerName=durable\nbrokerIP1=127.0.0.1\nbindAddress=127.0.0.1\nlistenPort={port}\nstorePathRootDir={}\n",
            store.display()
        );
        for (key, value) in SMALL_FILES.iter().chain(settings) {
            text.push_str(&format!("{key}={value}\n"));
        }
        fs::write(&file, text).expect("the configuration can be written");
        // One log per start: what a start reported can be told from what others did.
        let log = (0..)
            .map(|number| home.join(format!("broker.{number}.log")))
            .find(|path| !path.exists())
            .expect("numbers do not end");
        let output = File::create(&log).expect("the log can be made");
        let process = Command::new(env!("CARGO_BIN_EXE_mqbroker"))
            .arg("-c")
            .arg(&file)
            .env("HOME", home)
            .env_remove("NAMESRV_ADDR")
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("mqbroker starts");
        Self {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            log,
        }
    }

    /// Starts the process and waits until it serves.
    pub fn start(home: &Path, settings: &[(&str, &str)]) -> Self {
        let mut broker = Self::spawn(home, settings);
        broker.await_serving();
        broker
    }

    /// Waits until the process serves; fails when it ends instead.
    pub fn await_serving(&mut self) {
        let asked = Instant::now();
        while Wire::connect(self.address).is_err() {
            if let Some(status) = self.ended() {
                panic!("mqbroker ended with {status}:\n{}", self.logged());
            }
            assert!(
                asked.elapsed() < START_LIMIT,
                "mqbroker serves too late:\n{}",
                self.logged()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the process ends by itself.
    pub fn await_end(&mut self) -> ExitStatus {
        let asked = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(asked.elapsed() < START_LIMIT, "mqbroker did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How the process ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("the process can be asked")
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it logged since it was started.
    pub fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the log has the words: it is written behind what happens.
    pub fn await_logged(&self, words: &str) {
        let asked = Instant::now();
        while !self.logged().contains(words) {
            assert!(
                asked.elapsed() < LOG_LIMIT,
                "{words:?} is not logged:\n{}",
                self.logged()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.process.kill().expect("the process can be killed");
        self.process.wait().expect("the process can be waited for");
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) {
        let asked = Command::new("kill")
            .arg(self.process.id().to_string())
            .status()
            .expect("kill runs");
        assert!(asked.success(), "mqbroker was there to be stopped");
        let begun = Instant::now();
        while begun.elapsed() < STOP_LIMIT {
            if let Some(status) = self.ended() {
                assert!(
                    status.success(),
                    "a clean stop ends with success, not {status}:\n{}",
                    self.logged()
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("mqbroker did not stop:\n{}", self.logged());
    }
}

impl Drop for Mqbroker {
    fn drop(&mut self) {
        // After `kill` and `stop` there is nothing left to kill.
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

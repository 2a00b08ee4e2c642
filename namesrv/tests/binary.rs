//! `mqnamesrv` as operators meet it: arguments, the line scripts wait for, signals and exit codes.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const BOOT: &str = "The Name Server boot success. serializeType=JSON, address ";

fn mqnamesrv(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqnamesrv"));
    command
        .env("HOME", home)
        .env_remove("RUST_LOG")
        .env_remove("ROCKETMQ_HOME");
    command
}

fn config_file(home: &TempDir, text: &str) -> String {
    let path = home.path().join("namesrv.conf");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn run(home: &TempDir, arguments: &[&str]) -> Output {
    mqnamesrv(home.path()).args(arguments).output().unwrap()
}

/// A running server; killed if a test fails before it stops it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone in the good case.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it and waits for the line; also what was printed before.
fn boot(home: &TempDir, arguments: &[&str]) -> (Process, SocketAddr, Vec<String>) {
    let mut command = mqnamesrv(home.path());
    let child = command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut process = Process(child);
    let mut before = Vec::new();
    for line in BufReader::new(process.0.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(addr) = line.strip_prefix(BOOT) {
            return (process, addr.parse().unwrap(), before);
        }
        before.push(line);
    }
    panic!("it ended without the line, having printed {before:?}");
}

fn signal(process: &Process, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process.0.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn it_boots_answers_on_the_printed_port_and_stops_on_either_signal() {
    for stop_signal in [Signal::TERM, Signal::INT] {
        let home = tempfile::tempdir().unwrap();
        let file = config_file(&home, "listenPort=0\nbindAddress=127.0.0.1\nlistenPrt=9\n");
        let (mut process, addr, before) = boot(&home, &["-c", &file, "-n", "127.0.0.1:9876"]);
        assert_eq!(before, [format!("load config properties file OK, {file}")]);
        let _client = TcpStream::connect(addr).unwrap();

        let begun = Instant::now();
        signal(&process, stop_signal);
        let status = process.0.wait().unwrap();

        assert!(status.success(), "{status}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let mut log = String::new();
        process.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(
            log.contains("unknown key `listenPrt` has no effect; did you mean `listenPort`?"),
            "{log}"
        );
        assert!(log.contains("name server stopped"), "{log}");
        let files = std::fs::read_dir(home.path().join("logs/rocketmqlogs")).unwrap();
        let names: Vec<String> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(
            names.iter().any(|name| name.starts_with("namesrv.log")),
            "{names:?}"
        );
    }
}

#[test]
fn the_items_are_printed_in_the_order_of_the_reference() {
    let home = tempfile::tempdir().unwrap();
    let output = run(&home, &["-p"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[1],
        format!("kvConfigPath={}/namesrv/kvConfig.json", home.path().display())
    );
    assert_eq!(lines[22..24], ["bindAddress=0.0.0.0", "listenPort=9876"]);
    assert_eq!(
        lines.len(),
        60,
        "NamesrvConfig, NettyServerConfig, NettyClientConfig"
    );
}

#[test]
fn help_and_version_are_no_failure_and_a_wrong_argument_is() {
    let home = tempfile::tempdir().unwrap();
    for (argument, exit_code, expected) in [
        ("-h", 0, "--configFile"),
        ("--version", 0, "mqnamesrv"),
        ("-x", 255, "unexpected argument '-x'"),
    ] {
        let output = run(&home, &[argument]);
        assert_eq!(output.status.code(), Some(exit_code), "{argument}");
        let text = [output.stdout, output.stderr].concat();
        assert!(String::from_utf8_lossy(&text).contains(expected), "{argument}");
    }
}

#[test]
fn what_keeps_it_from_starting_is_said_with_the_remedy() {
    let home = tempfile::tempdir().unwrap();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy_port = busy.local_addr().unwrap().port();
    for (text, expected) in [
        ("listenPort=many", "`listenPort` cannot be `many`".to_owned()),
        (
            "clusterTest=true",
            "test environments are not supported; set it to false".to_owned(),
        ),
        (
            &format!("bindAddress=127.0.0.1\nlistenPort={busy_port}"),
            format!("listen on 127.0.0.1:{busy_port} (bindAddress, listenPort)"),
        ),
    ] {
        let file = config_file(&home, text);
        let output = run(&home, &["-c", &file]);
        assert_eq!(output.status.code(), Some(255), "{text}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&expected), "{said}");
    }
    let output = run(&home, &["-c", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&output.stderr).contains("read config file /no/such/file"));
}

#[test]
fn a_checked_file_is_explained_and_the_exit_code_says_how_bad_it_is() {
    let home = tempfile::tempdir().unwrap();
    for (text, code, said) in [
        ("listenPort=9876\n", 0, "fine"),
        ("listenPrt=9876\n", 1, "did you mean `listenPort`?"),
        ("clusterTest=true\n", 2, "clusterTest: `true` is refused"),
    ] {
        let output = run(&home, &["--check-config", &config_file(&home, text)]);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{stdout}");
        assert!(stdout.contains(said), "{stdout}");
    }
}

#[test]
fn the_sample_file_is_accepted_without_a_warning() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/conf/namesrv.conf");
    let output = run(&tempfile::tempdir().unwrap(), &["--check-config", sample]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{sample}: fine\n")
    );
}

#[test]
fn completions_and_man_page_are_printed() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["--man"][..], ".TH mqnamesrv 8"),
        (&["--completions", "bash"][..], "--check-config"),
    ] {
        let output = run(&home, arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(
            String::from_utf8(output.stdout).unwrap().contains(expected),
            "{arguments:?}"
        );
    }
}

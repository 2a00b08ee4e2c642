//! Probe: asks a health endpoint, so that a container image without a shell can check itself.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// For connecting, and for each read and write.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of an answer that is looked at.
const ANSWER_MAX_BYTES: u64 = 8 * 1024;

/// Asks `http://HOST:PORT/PATH`. `Ok` with the body when the answer is 200.
///
/// # Errors
/// A sentence: what was answered instead, or why there was no answer.
pub fn probe(url: &str) -> Result<String, String> {
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| format!("{url} does not begin with http://"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, "healthz"));
    let answer = ask(authority, path).map_err(|error| format!("{url}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    match status {
        "200" => Ok(body.trim_end().to_owned()),
        _ => Err(format!("{url} answers {status}: {}", body.trim_end())),
    }
}

fn ask(authority: &str, path: &str) -> io::Result<String> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(socket) => return ask_on(socket, authority, path),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask_on(mut socket: TcpStream, authority: &str, path: &str) -> io::Result<String> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    write!(socket, "GET /{path} HTTP/1.0\r\nHost: {authority}\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.take(ANSWER_MAX_BYTES).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

//! Message ids: the offset id a broker gives, and the unique key a producer gives.
//!
//! ```text
//!   offset id   IP (4 or 16) | port (4) | physical offset (8)              as upper-case hex: 32 or 56 characters
//!   unique key  IP (4)       | pid (2)  | salt (4) | ms (4) | counter (2)  as upper-case hex: 32 characters
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use thiserror::Error;

use crate::clock::Clock;

/// Text that is no offset message id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{id}` is not an offset message id: expected 32 or 56 hex digits")]
pub struct MessageIdError {
    /// The text as it came.
    pub id: String,
}

/// The id under which a stored message can be read. Reference: `MessageDecoder.createMessageId`.
pub fn offset_msg_id(store_host: SocketAddr, physical_offset: u64) -> String {
    let mut id = String::with_capacity(56);
    match store_host.ip() {
        IpAddr::V4(ip) => push_hex(&mut id, &ip.octets()),
        IpAddr::V6(ip) => push_hex(&mut id, &ip.octets()),
    }
    push_hex(&mut id, &u32::from(store_host.port()).to_be_bytes());
    push_hex(&mut id, &physical_offset.to_be_bytes());
    id
}

/// Store host and physical offset of an offset id. Reference: `MessageDecoder.decodeMessageId`.
pub fn parse_offset_msg_id(id: &str) -> Result<(SocketAddr, u64), MessageIdError> {
    let error = || MessageIdError { id: id.to_owned() };
    let bytes = parse_hex(id).ok_or_else(error)?;
    let (ip, rest): (IpAddr, &[u8]) = match bytes.len() {
        16 => {
            let (ip, rest) = bytes.split_first_chunk::<4>().ok_or_else(error)?;
            (Ipv4Addr::from(*ip).into(), rest)
        }
        28 => {
            let (ip, rest) = bytes.split_first_chunk::<16>().ok_or_else(error)?;
            (Ipv6Addr::from(*ip).into(), rest)
        }
        _ => return Err(error()),
    };
    let (port, offset) = rest.split_first_chunk::<4>().ok_or_else(error)?;
    let port = u16::try_from(u32::from_be_bytes(*port)).map_err(|_| error())?;
    let offset = u64::from_be_bytes(offset.try_into().map_err(|_| error())?);
    Ok((SocketAddr::new(ip, port), offset))
}

/// Makes unique keys for messages that arrive without one. Reference: `MessageClientIDSetter`.
#[derive(Debug)]
pub struct UniqueKeys {
    clock: Arc<dyn Clock>,
    prefix: [u8; 10],
    counter: AtomicU32,
}

impl UniqueKeys {
    /// Keys that start with this host, this process and the time of this call.
    pub fn new(clock: Arc<dyn Clock>, host: IpAddr) -> Self {
        let host = match host {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(ip) => {
                let octets = ip.octets();
                [octets[12], octets[13], octets[14], octets[15]]
            }
        };
        let mut prefix = [0; 10];
        prefix[..4].copy_from_slice(&host);
        prefix[4..6].copy_from_slice(&std::process::id().to_be_bytes()[2..]);
        prefix[6..].copy_from_slice(&clock.wall_ms().to_be_bytes()[3..7]);
        Self {
            clock,
            prefix,
            counter: AtomicU32::new(0),
        }
    }

    /// A key that this process has not given before.
    pub fn next_key(&self) -> String {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut key = String::with_capacity(32);
        push_hex(&mut key, &self.prefix);
        push_hex(&mut key, &self.clock.wall_ms().to_be_bytes()[4..]);
        push_hex(&mut key, &count.to_be_bytes()[2..]);
        key
    }
}

/// By table: every answer to a send carries an id.
fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn offset_ids_are_those_of_java() {
        let host: SocketAddr = "127.0.0.1:18911".parse().unwrap();
        assert_eq!(offset_msg_id(host, 0x3A47A), "7F000001000049DF000000000003A47A");
        assert_eq!(
            parse_offset_msg_id("7f000001000049df000000000003a47a"),
            Ok((host, 0x3A47A))
        );
    }

    #[test]
    fn ids_of_ipv6_hosts_have_56_digits() {
        let host: SocketAddr = "[2001:db8::1]:10911".parse().unwrap();
        let id = offset_msg_id(host, 7);
        assert_eq!(id.len(), 56);
        assert_eq!(parse_offset_msg_id(&id), Ok((host, 7)));
    }

    #[test]
    fn other_text_is_refused() {
        for bad in [
            "",
            "7F",
            "zz000001000049DF000000000003A47A",
            "7F0000010000",
            "7F000001FFFFFFFF000000000003A47A",
            "é",
        ] {
            assert!(parse_offset_msg_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unique_keys_differ_and_have_32_digits() {
        let keys = UniqueKeys::new(Arc::new(ManualClock::new(1)), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let (first, second) = (keys.next_key(), keys.next_key());
        assert_eq!(first.len(), 32);
        assert_ne!(first, second);
    }
}

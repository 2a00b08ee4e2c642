//! Stored messages in the body of a pull: back to back, each beginning with its size.

use anyhow::{Context, Result, ensure};

/// Offset of the sysFlag in a record.
const SYS_FLAG_AT: usize = 36;
/// Bytes up to the body length when both hosts are IPv4.
const BODY_LENGTH_AT: usize = 84;
/// What an IPv6 host takes more.
const IPV6_EXTRA: usize = 12;
const BORN_HOST_IPV6: u32 = 0x10;
const STORE_HOST_IPV6: u32 = 0x20;

/// Calls `handle` with each record; returns how many there are.
pub fn for_each(mut body: &[u8], mut handle: impl FnMut(&[u8]) -> Result<()>) -> Result<u64> {
    let mut count = 0;
    while !body.is_empty() {
        let size = int_at(body, 0)? as usize;
        ensure!(size > BODY_LENGTH_AT, "a record of {size} bytes");
        let (record, rest) = body.split_at_checked(size).context("a record that is cut off")?;
        handle(record)?;
        count += 1;
        body = rest;
    }
    Ok(count)
}

/// The message's body in a record.
pub fn body_of(record: &[u8]) -> Result<&[u8]> {
    let sys_flag = int_at(record, SYS_FLAG_AT)?;
    let hosts = [BORN_HOST_IPV6, STORE_HOST_IPV6];
    let ipv6_hosts = hosts.iter().filter(|bit| sys_flag & **bit != 0).count();
    let at = BODY_LENGTH_AT + IPV6_EXTRA * ipv6_hosts;
    let length = int_at(record, at)? as usize;
    record
        .get(at + 4..at + 4 + length)
        .context("a body that is cut off")
}

fn int_at(bytes: &[u8], at: usize) -> Result<u32> {
    let int = bytes.get(at..).and_then(|rest| rest.first_chunk());
    int.map(|int| u32::from_be_bytes(*int))
        .context("a record that is cut off")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(body: &[u8], sys_flag: u32, ipv6_hosts: usize) -> Vec<u8> {
        let at = BODY_LENGTH_AT + 12 * ipv6_hosts;
        let size = at + 4 + body.len() + 10;
        let mut record = vec![0; size];
        record[..4].copy_from_slice(&(size as u32).to_be_bytes());
        record[36..40].copy_from_slice(&sys_flag.to_be_bytes());
        record[at..at + 4].copy_from_slice(&(body.len() as u32).to_be_bytes());
        record[at + 4..at + 4 + body.len()].copy_from_slice(body);
        record
    }

    #[test]
    fn records_are_walked_by_their_sizes() {
        let records = [
            record(b"first", 0, 0),
            record(b"second", 0x30, 2),
            record(b"", 0x10, 1),
        ]
        .concat();
        let mut bodies = Vec::new();
        let count = for_each(&records, |record| {
            bodies.push(body_of(record)?.to_vec());
            Ok(())
        });
        assert_eq!(count.unwrap(), 3);
        assert_eq!(bodies, [&b"first"[..], b"second", b""]);
    }

    #[test]
    fn a_cut_off_record_is_an_error() {
        let whole = record(b"body", 0, 0);
        for length in 1..whole.len() {
            assert!(for_each(&whole[..length], |_| Ok(())).is_err(), "{length} bytes");
        }
        assert_eq!(for_each(&[], |_| Ok(())).unwrap(), 0);
    }
}

//! The body of a batch send: the messages of one queue, one after another.
//!
//! ```text
//!   | size | magic | crc | flag | body length | body | properties length | properties |   repeated, big-endian
//!   | u32  |  0    |  0  | i32  | i32         |      | i16               |            |
//! ```
//!
//! The size of a message is the sum of its parts, so the size field is not needed; like the reference, we do not read
//! it. Lengths are checked against what is there. Reference: `MessageDecoder.encodeMessages`, `MessageExtEncoder`.

use std::borrow::Cow;

use smallvec::SmallVec;
use thiserror::Error;

/// Size, magic and checksum: filled in by clients, used by nobody.
const UNUSED_BYTES: usize = 12;

/// One message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerMessage<'a> {
    /// The producer's flag.
    pub flag: i32,
    /// The body.
    pub body: &'a [u8],
    /// The encoded properties.
    pub properties: Cow<'a, str>,
}

/// Most batches are small; larger ones move to the heap.
pub type InnerMessages<'a> = SmallVec<[InnerMessage<'a>; 8]>;

/// Why a batch cannot be taken apart.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the batch is broken in message {index}, at byte {at}: {what}")]
pub struct BatchError {
    /// Counts from 0.
    index: usize,
    /// Where in the body the message begins.
    at: usize,
    what: &'static str,
}

/// Takes a batch apart. The messages borrow from `body`.
pub fn decode_batch(body: &[u8]) -> Result<InnerMessages<'_>, BatchError> {
    let mut messages = InnerMessages::new();
    let mut rest = body;
    while !rest.is_empty() {
        let at = body.len() - rest.len();
        let message = take_message(&mut rest).map_err(|what| BatchError {
            index: messages.len(),
            at,
            what,
        })?;
        messages.push(message);
    }
    Ok(messages)
}

fn take_message<'a>(rest: &mut &'a [u8]) -> Result<InnerMessage<'a>, &'static str> {
    take(rest, UNUSED_BYTES)?;
    let flag = take_i32(rest)?;
    let body_bytes = usize::try_from(take_i32(rest)?).map_err(|_| "negative body length")?;
    let body = take(rest, body_bytes)?;
    let properties_bytes = usize::try_from(take_i16(rest)?).map_err(|_| "negative properties length")?;
    // Bytes that are no UTF-8 are replaced, as in headers.
    let properties = String::from_utf8_lossy(take(rest, properties_bytes)?);
    Ok(InnerMessage {
        flag,
        body,
        properties,
    })
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], &'static str> {
    let (taken, after) = rest.split_at_checked(count).ok_or("it ends too early")?;
    *rest = after;
    Ok(taken)
}

fn take_i32(rest: &mut &[u8]) -> Result<i32, &'static str> {
    let (bytes, after) = rest.split_first_chunk().ok_or("it ends too early")?;
    *rest = after;
    Ok(i32::from_be_bytes(*bytes))
}

fn take_i16(rest: &mut &[u8]) -> Result<i16, &'static str> {
    let (bytes, after) = rest.split_first_chunk().ok_or("it ends too early")?;
    *rest = after;
    Ok(i16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(flag: i32, body: &[u8], properties: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(((22 + body.len() + properties.len()) as u32).to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend(flag.to_be_bytes());
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(body);
        bytes.extend((properties.len() as u16).to_be_bytes());
        bytes.extend(properties);
        bytes
    }

    #[test]
    fn a_batch_is_taken_apart_in_order() {
        let body = [encode(1, b"one", b"a\x01b\x02"), encode(-2, b"", b"")].concat();
        let messages = decode_batch(&body).unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(
            messages[0],
            InnerMessage {
                flag: 1,
                body: b"one",
                properties: "a\u{1}b\u{2}".into()
            }
        );
        assert_eq!(
            messages[1],
            InnerMessage {
                flag: -2,
                body: b"",
                properties: "".into()
            }
        );
        assert!(decode_batch(b"").unwrap().is_empty());
    }

    #[test]
    fn a_batch_cut_anywhere_is_refused_and_says_where() {
        let whole = [
            encode(0, b"first", b"k\x01v\x02"),
            encode(0, b"second", b"k\x01w\x02"),
        ]
        .concat();
        let first = encode(0, b"first", b"k\x01v\x02").len();
        for end in 1..whole.len() {
            let result = decode_batch(&whole[..end]);
            if end == first {
                assert_eq!(result.unwrap().len(), 1);
            } else {
                let error = result.unwrap_err();
                assert_eq!(
                    (error.index, error.at),
                    if end < first { (0, 0) } else { (1, first) }
                );
            }
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let mut negative_body = encode(0, b"body", b"");
        negative_body[16..20].copy_from_slice(&(-1i32).to_be_bytes());
        assert_eq!(
            decode_batch(&negative_body).unwrap_err().what,
            "negative body length"
        );

        let mut huge_body = encode(0, b"body", b"");
        huge_body[16..20].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(decode_batch(&huge_body).unwrap_err().what, "it ends too early");

        let mut negative_properties = encode(0, b"body", b"");
        negative_properties[24..26].copy_from_slice(&(-1i16).to_be_bytes());
        assert_eq!(
            decode_batch(&negative_properties).unwrap_err().to_string(),
            "the batch is broken in message 0, at byte 0: negative properties length"
        );
    }

    #[test]
    fn properties_that_are_no_utf8_are_repaired() {
        let body = encode(0, b"", b"k\x01\xff\x02");
        assert_eq!(decode_batch(&body).unwrap()[0].properties, "k\u{1}\u{fffd}\u{2}");
    }
}

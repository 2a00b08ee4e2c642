//! Frames that come back: cut out of the stream, and looked at no more than the numbers need.
//!
//! A responder may answer a JSON request with a binary header and the other way round, so each frame is read by its own
//! type byte. Requests of the broker to its client come on the same connection; [`Response::parse`] returns none for them.

use std::sync::LazyLock;

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem::{Finder, find};

/// What a RocketMQ peer sends at most.
const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

static CODE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"code\":"));
static FLAG: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"flag\":"));
static OPAQUE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"opaque\":"));

/// The length of the frame that `stream` begins with, its four length bytes included, if they are there.
pub fn frame_length(stream: &[u8]) -> Result<Option<usize>> {
    let Some(length) = stream.first_chunk() else {
        return Ok(None);
    };
    let length = 4 + u32::from_be_bytes(*length) as usize;
    ensure!(
        (8..=MAX_FRAME_BYTES).contains(&length),
        "a frame of {length} bytes"
    );
    Ok(Some(length))
}

/// One response, borrowed from the read buffer.
#[derive(Debug)]
pub struct Response<'a> {
    /// 0 is success.
    pub code: i32,
    /// The opaque of the request.
    pub opaque: u32,
    /// What follows the header.
    pub body: &'a [u8],
    header: &'a [u8],
    is_json: bool,
}

impl<'a> Response<'a> {
    /// Reads a whole frame, its length bytes included; none if it is a request.
    pub fn parse(frame: &'a [u8]) -> Result<Option<Self>> {
        let (header, body) = split(frame).context("header longer than its frame")?;
        let (code, opaque, flag) = match frame[4] {
            0 => json_numbers(header),
            1 => rocketmq_numbers(header),
            other => bail!("header of type {other}"),
        }
        .context("a header without code, flag or opaque")?;
        let is_response = flag & 1 == 1;
        Ok(is_response.then_some(Self {
            code: code as i32,
            opaque: opaque as u32,
            body,
            header,
            is_json: frame[4] == 0,
        }))
    }

    /// A field of the header that holds a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        if self.is_json {
            let value = after(self.header, &format!("\"{name}\":\""))?;
            return number_at(value);
        }
        let mut rest = self.header.get(17 + self.remark_length()? + 4..)?;
        while !rest.is_empty() {
            let (key, after_key) = sized(rest, 2)?;
            let (value, after_value) = sized(after_key, 4)?;
            if key == name.as_bytes() {
                return number_at(value);
            }
            rest = after_value;
        }
        None
    }

    /// The text for humans, as far as it can be read; for error messages.
    pub fn remark(&self) -> String {
        let remark = if self.is_json {
            after(self.header, "\"remark\":\"")
                .map(|text| text.split(|byte| *byte == b'"').next().unwrap_or(text))
        } else {
            self.remark_length()
                .and_then(|length| self.header.get(17..17 + length))
        };
        String::from_utf8_lossy(remark.unwrap_or_default()).into_owned()
    }

    fn remark_length(&self) -> Option<usize> {
        Some(u32::from_be_bytes(*self.header.get(13..)?.first_chunk()?) as usize)
    }
}

fn split(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let header_length = u32::from_be_bytes(*frame.get(4..)?.first_chunk()?) & 0x00FF_FFFF;
    frame.get(8..)?.split_at_checked(header_length as usize)
}

/// Code, opaque and flag. Keys inside of values cannot be taken for them, because their quotes are escaped.
fn json_numbers(header: &[u8]) -> Option<(i64, i64, i64)> {
    let number = |finder: &Finder<'_>| number_at(&header[finder.find(header)? + finder.needle().len()..]);
    Some((number(&CODE)?, number(&OPAQUE)?, number(&FLAG).unwrap_or(0)))
}

fn rocketmq_numbers(header: &[u8]) -> Option<(i64, i64, i64)> {
    let header: &[u8; 21] = header.first_chunk()?;
    let int = |at: usize| {
        i64::from(i32::from_be_bytes([
            header[at],
            header[at + 1],
            header[at + 2],
            header[at + 3],
        ]))
    };
    Some((
        i64::from(i16::from_be_bytes([header[0], header[1]])),
        int(5),
        int(9),
    ))
}

fn after<'a>(text: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    find(text, prefix.as_bytes()).map(|at| &text[at + prefix.len()..])
}

/// The decimal number that `text` begins with, blanks in front allowed.
fn number_at(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii_start();
    let (sign, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    ensure_digits(&digits[..length]).map(|number| sign * number)
}

fn ensure_digits(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Splits a value off whose length stands in `width` bytes before it.
fn sized(bytes: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(width)?;
    let length = length
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Dialect, FIRST_OPAQUE, Stamp, Template};

    fn json_frame(header: &str, body: &[u8]) -> Vec<u8> {
        let mut frame = (4 + header.len() as u32 + body.len() as u32)
            .to_be_bytes()
            .to_vec();
        frame.extend((header.len() as u32).to_be_bytes());
        frame.extend(header.bytes());
        frame.extend(body);
        frame
    }

    #[test]
    fn a_json_response_is_read_whatever_its_key_order() {
        let frame = json_frame(
            r#"{"opaque": 1000000003,"remark":"say \"code\": 9","extFields":{"nextBeginOffset":"96","min":"-1"},"flag":1,"code":19}"#,
            b"abc",
        );
        let response = Response::parse(&frame).unwrap().unwrap();
        assert_eq!(
            (response.code, response.opaque, response.body),
            (19, FIRST_OPAQUE + 3, &b"abc"[..])
        );
        assert_eq!(response.number("nextBeginOffset"), Some(96));
        assert_eq!(response.number("min"), Some(-1));
        assert_eq!(response.number("max"), None);
    }

    #[test]
    fn a_binary_response_is_read_from_its_own_type_byte() {
        let fields = [
            ("minOffset", "3".to_owned()),
            ("nextBeginOffset", "96".to_owned()),
        ];
        let mut template = Template::new(Dialect::Rocketmq, 20, &fields, b"abc");
        let mut frame = template.stamp(Stamp::opaque(FIRST_OPAQUE + 5)).to_vec();
        assert!(Response::parse(&frame).unwrap().is_none(), "flag 0 is a request");

        frame[8 + 12] = 1;

        let response = Response::parse(&frame).unwrap().unwrap();
        assert_eq!(
            (response.code, response.opaque, response.body),
            (20, FIRST_OPAQUE + 5, &b"abc"[..])
        );
        assert_eq!(response.number("nextBeginOffset"), Some(96));
        assert_eq!(response.number("maxOffset"), None);
        assert_eq!(response.remark(), "");
    }

    #[test]
    fn garbage_is_an_error() {
        for frame in [
            &[0, 0, 0, 4, 0, 0, 0, 9][..],
            &[0, 0, 0, 4, 7, 0, 0, 0],
            &[0, 0, 0, 4, 0, 0, 0, 0],
        ] {
            assert!(Response::parse(frame).is_err(), "{frame:?}");
        }
        assert!(frame_length(&[0xFF; 4]).is_err());
        assert_eq!(frame_length(&[0, 0]).unwrap(), None);
        assert_eq!(frame_length(&[0, 0, 0, 4, 9]).unwrap(), Some(8));
    }
}

//! The ROCKETMQ header dialect: fixed binary fields, then the remark, then the map of custom fields.
//!
//! ```text
//!   0      2      3         5        9      13         17     17+N       21+N   21+N+M
//!   | code | lang | version | opaque | flag | N bytes  | text | M bytes  | map  |
//!   | i16  | u8   | i16     | i32    | i32  | i32      |      | i32      |      |
//!
//!   map entry: name length i16, name, value length i32, value
//! ```
//!
//! A length of zero is null. Codes beyond 32,767 do not fit: they are cut to 16 bits, as the reference does.
//!
//! Reference: RocketMQSerializable

use std::ops::Range;

use crate::fields::FieldBuffer;
use crate::frame::{FrameError, Head, HeaderTexts, LanguageCode};

/// Bytes before the remark text.
const FIXED_BYTES: usize = 17;

/// Reads a header. Every length is checked here, so later passes over the same bytes cannot fail.
pub(crate) fn decode(header: &[u8]) -> Result<(Head, HeaderTexts), FrameError> {
    let mut rest = Reader { bytes: header, at: 0 };
    let head = Head {
        code: i32::from(i16::from_be_bytes(rest.array()?)),
        language: LanguageCode::from_byte(rest.array::<1>()?[0]),
        version: i32::from(i16::from_be_bytes(rest.array()?)),
        opaque: i32::from_be_bytes(rest.array()?),
        flag: i32::from_be_bytes(rest.array()?),
    };
    let remark = rest.sized("remark")?;
    let fields = rest.sized("extFields")?;
    if let Some(range) = &fields {
        check_map(&header[range.clone()])?;
    }
    Ok((head, HeaderTexts { remark, fields }))
}

/// Appends a header.
pub(crate) fn encode(head: &Head, remark: Option<&str>, fields: &FieldBuffer, out: &mut Vec<u8>) {
    let remark = remark.unwrap_or_default();
    let map = fields.map_bytes();
    out.reserve(FIXED_BYTES + 4 + remark.len() + map.len());
    out.extend_from_slice(&(head.code as i16).to_be_bytes());
    out.push(head.language.byte());
    out.extend_from_slice(&(head.version as i16).to_be_bytes());
    out.extend_from_slice(&head.opaque.to_be_bytes());
    out.extend_from_slice(&head.flag.to_be_bytes());
    out.extend_from_slice(&(remark.len() as u32).to_be_bytes());
    out.extend_from_slice(remark.as_bytes());
    out.extend_from_slice(&(map.len() as u32).to_be_bytes());
    out.extend_from_slice(map);
}

fn check_map(map: &[u8]) -> Result<(), FrameError> {
    let mut fields = MapFields::new(map);
    while !fields.rest.is_empty() {
        fields
            .next()
            .ok_or(FrameError::BadBinaryHeader("extFields entry ends beyond the map"))?;
    }
    Ok(())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let chunk = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let chunk = chunk.ok_or(FrameError::BadBinaryHeader("header ends early"))?;
        self.at += N;
        Ok(*chunk)
    }

    /// The range of a part that has its length before it; `None` if empty.
    fn sized(&mut self, part: &'static str) -> Result<Option<Range<usize>>, FrameError> {
        let length = i32::from_be_bytes(self.array()?);
        let length = usize::try_from(length).map_err(|_| FrameError::BadBinaryHeader("negative length"))?;
        if length > self.bytes.len() - self.at {
            return Err(FrameError::BadBinaryHeader(match part {
                "remark" => "remark ends beyond the header",
                _ => "extFields end beyond the header",
            }));
        }
        let range = self.at..self.at + length;
        self.at += length;
        Ok((length > 0).then_some(range))
    }
}

/// Walks the entries of a map. Ends at the first entry that is not whole.
#[derive(Clone, Debug)]
pub(crate) struct MapFields<'a> {
    rest: &'a [u8],
}

impl<'a> MapFields<'a> {
    pub(crate) const fn new(map: &'a [u8]) -> Self {
        Self { rest: map }
    }
}

impl<'a> Iterator for MapFields<'a> {
    /// Name and value as raw bytes.
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.rest.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(usize::try_from(i16::from_be_bytes(*length)).ok()?)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(usize::try_from(i32::from_be_bytes(*length)).ok()?)?;
        self.rest = rest;
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Fields;

    /// A header with this remark and map, whatever lengths they claim to have.
    fn header(remark_length: i32, remark: &[u8], map_length: i32, map: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 105, 0, 2, 1, 0, 0, 0, 9, 0, 0, 0, 0];
        bytes.extend_from_slice(&remark_length.to_be_bytes());
        bytes.extend_from_slice(remark);
        bytes.extend_from_slice(&map_length.to_be_bytes());
        bytes.extend_from_slice(map);
        bytes
    }

    #[test]
    fn zero_lengths_are_null() {
        let map = [0, 1, b'a', 0, 0, 0, 0];
        let bytes = header(0, b"", 7, &map);
        let (head, texts) = decode(&bytes).unwrap();
        assert_eq!((head.code, head.version, head.opaque), (105, 513, 9));
        assert!(texts.remark.is_none());
        let fields: Vec<_> = Fields::map(&bytes[texts.fields.unwrap()], true).collect();
        assert_eq!(fields, [("a".into(), None)]);
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let whole = [0, 1, b'a', 0, 0, 0, 1, b'b'];
        #[rustfmt::skip]
        let cases = [
            ("remark beyond the header", header(100, b"abc", 0, b"")),
            ("negative remark length",   header(-1, b"", 0, b"")),
            ("map beyond the header",    header(0, b"", 9, &whole)),
            ("negative map length",      header(0, b"", i32::MIN, &whole)),
            ("value beyond the map",     header(0, b"", 8, &[0, 1, b'a', 0, 0, 0, 2, b'b'])),
            ("name beyond the map",      header(0, b"", 8, &[0, 9, b'a', 0, 0, 0, 1, b'b'])),
            ("negative name length",     header(0, b"", 8, &[0x80, 1, b'a', 0, 0, 0, 1, b'b'])),
            ("negative value length",    header(0, b"", 8, &[0, 1, b'a', 0x80, 0, 0, 1, b'b'])),
            ("map cut in a length",      header(0, b"", 5, &whole[..5])),
        ];
        for (what, bytes) in cases {
            assert!(decode(&bytes).is_err(), "{what}");
        }
        let good = header(1, b"r", 8, &whole);
        assert!(decode(&good).is_ok());
        for cut in 0..good.len() {
            assert!(decode(&good[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_replaced_as_java_does() {
        let bytes = header(0, b"", 8, &[0, 1, b'a', 0, 0, 0, 1, 0xFF]);
        let (_, texts) = decode(&bytes).unwrap();
        let (_, value) = Fields::map(&bytes[texts.fields.unwrap()], true).next().unwrap();
        assert_eq!(value.as_deref(), Some("\u{FFFD}"));
    }
}

//! Frame: one request or answer as it travels.
//!
//! ```text
//!   0        4         5             8             8+H          4+length
//!   | length | dialect | H = header  | header      | body       |
//!   | u32    | u8      | length, u24 | H bytes     | the rest   |      big-endian
//! ```
//!
//! `length` counts what follows it. The dialect is JSON or ROCKETMQ, see `header_json.rs` and `header_rocketmq.rs`.
//! Header and body are slices of the read buffer; custom fields and remark are read from the header when asked for.
//!
//! A frame that cannot be decoded costs its sender the connection; nothing is answered.
//!
//! Reference: RemotingCommand, NettyDecoder

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use thiserror::Error;

use crate::fields::{FieldBuffer, Fields};
use crate::header_json::{self, JsonFields};
use crate::header_rocketmq::{self, MapFields};
use crate::request::OutgoingRequest;

/// The largest frame, its length field included.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// The protocol version we write: V5_5_0.
pub const PROTOCOL_VERSION: i32 = common::version::CURRENT_VERSION;

/// Bytes of the length field.
pub(crate) const LENGTH_BYTES: usize = 4;

/// Bytes of dialect and header length.
const PREFIX_BYTES: usize = 4;

const MAX_HEADER_BYTES: usize = 0xFF_FFFF;

const RESPONSE_FLAG: i32 = 1;
const ONEWAY_FLAG: i32 = 2;

/// The dialect of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SerializeType {
    /// A JSON object.
    Json = 0,
    /// The compact binary form.
    RocketMq = 1,
}

impl SerializeType {
    fn from_byte(byte: u8) -> Result<Self, FrameError> {
        match byte {
            0 => Ok(SerializeType::Json),
            1 => Ok(SerializeType::RocketMq),
            other => Err(FrameError::UnknownSerializeType(other)),
        }
    }
}

/// The language of a peer, by its number in the reference's enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LanguageCode(u8);

const LANGUAGES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS",
    "RUST", "NODE_JS",
];

impl LanguageCode {
    /// What we write, since older clients know only the first ten.
    pub const JAVA: LanguageCode = LanguageCode(0);
    /// Clients in C++ get some callback bodies in another shape.
    pub const CPP: LanguageCode = LanguageCode(1);
    /// A language the table does not have; Java decodes it to null.
    pub const UNKNOWN: LanguageCode = LanguageCode(u8::MAX);

    /// The language with this number.
    pub fn from_byte(byte: u8) -> Self {
        if usize::from(byte) < LANGUAGES.len() {
            LanguageCode(byte)
        } else {
            Self::UNKNOWN
        }
    }

    /// The language with this enum name.
    pub fn from_name(name: &str) -> Option<Self> {
        LANGUAGES
            .iter()
            .position(|known| *known == name)
            .map(|ordinal| LanguageCode(ordinal as u8))
    }

    /// The number.
    pub fn byte(self) -> u8 {
        self.0
    }

    /// The enum name, "UNKNOWN" for one outside the table.
    pub fn name(self) -> &'static str {
        LANGUAGES.get(usize::from(self.0)).copied().unwrap_or("UNKNOWN")
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length word claims more than is allowed, or is negative.
    #[error("frame of {claimed_bytes} bytes exceeds the limit of {limit_bytes}")]
    TooLong {
        /// What the length word claims, itself included.
        claimed_bytes: u64,
        /// The limit.
        limit_bytes: usize,
    },
    /// The frame has no room for the header length.
    #[error("frame of {0} bytes is too short")]
    TooShort(usize),
    /// The dialect byte is neither 0 nor 1.
    #[error("unknown serialize type {0}")]
    UnknownSerializeType(u8),
    /// The header would end beyond the frame.
    #[error("header of {header_bytes} bytes in a frame with {available_bytes}")]
    HeaderTooLong {
        /// What the header length claims.
        header_bytes: usize,
        /// What is there.
        available_bytes: usize,
    },
    /// The JSON header does not parse.
    #[error("bad JSON header: expected {expected} at byte {at}")]
    BadJsonHeader {
        /// What should be there.
        expected: &'static str,
        /// Where in the header.
        at: usize,
    },
    /// The binary header does not parse.
    #[error("bad ROCKETMQ header: {0}")]
    BadBinaryHeader(&'static str),
}

/// The fixed fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) code: i32,
    pub(crate) language: LanguageCode,
    pub(crate) version: i32,
    pub(crate) opaque: i32,
    pub(crate) flag: i32,
}

impl Default for Head {
    fn default() -> Self {
        Head {
            code: 0,
            language: LanguageCode::JAVA,
            version: 0,
            opaque: 0,
            flag: 0,
        }
    }
}

impl Head {
    /// The head of an answer we write.
    pub(crate) fn answer(code: i32, opaque: i32) -> Self {
        Head {
            code,
            language: LanguageCode::JAVA,
            version: PROTOCOL_VERSION,
            opaque,
            flag: RESPONSE_FLAG,
        }
    }

    /// The head of a request we write.
    pub(crate) fn request(code: i32, opaque: i32, oneway: bool) -> Self {
        let flag = if oneway { ONEWAY_FLAG } else { 0 };
        Head {
            code,
            language: LanguageCode::JAVA,
            version: PROTOCOL_VERSION,
            opaque,
            flag,
        }
    }
}

/// A decoded frame. Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The request code, or the response code.
    pub code: i32,
    /// The sender's language.
    pub language: LanguageCode,
    /// The sender's protocol version.
    pub version: i32,
    /// Pairs a request with its answer.
    pub opaque: i32,
    /// Bit 0: answer; bit 1: one-way.
    pub flag: i32,
    /// The dialect of the header.
    pub serialize: SerializeType,
    /// The body; empty if there is none.
    pub body: Bytes,
    header: Bytes,
    remark: Option<Range<usize>>,
    fields: Option<Range<usize>>,
}

impl Frame {
    /// Reads a frame from its bytes without the length word.
    pub fn decode(bytes: Bytes) -> Result<Frame, FrameError> {
        let Some((&[dialect, high, middle, low], rest)) = bytes.split_first_chunk::<PREFIX_BYTES>() else {
            return Err(FrameError::TooShort(bytes.len()));
        };
        let serialize = SerializeType::from_byte(dialect)?;
        let header_bytes = u32::from_be_bytes([0, high, middle, low]) as usize;
        if header_bytes > rest.len() {
            return Err(FrameError::HeaderTooLong {
                header_bytes,
                available_bytes: rest.len(),
            });
        }
        let header = bytes.slice(PREFIX_BYTES..PREFIX_BYTES + header_bytes);
        let mut body = bytes;
        bytes::Buf::advance(&mut body, PREFIX_BYTES + header_bytes);
        match serialize {
            SerializeType::Json => Self::decode_json(header, body),
            SerializeType::RocketMq => Self::decode_rocketmq(header, body),
        }
    }

    fn decode_json(header: Bytes, body: Bytes) -> Result<Frame, FrameError> {
        // Java replaces bytes that are not UTF-8; so do we, once, so that later passes may rely on it.
        let header = match String::from_utf8_lossy(&header) {
            Cow::Borrowed(_) => header,
            Cow::Owned(repaired) => Bytes::from(repaired),
        };
        let text = str::from_utf8(&header).unwrap_or_default();
        let decoded = header_json::decode(text)?;
        Ok(Self::of(
            decoded.head,
            SerializeType::Json,
            header,
            decoded.remark,
            decoded.fields,
            body,
        ))
    }

    fn decode_rocketmq(header: Bytes, body: Bytes) -> Result<Frame, FrameError> {
        let decoded = header_rocketmq::decode(&header)?;
        Ok(Self::of(
            decoded.head,
            SerializeType::RocketMq,
            header,
            decoded.remark,
            decoded.fields,
            body,
        ))
    }

    fn of(
        head: Head,
        serialize: SerializeType,
        header: Bytes,
        remark: Option<Range<usize>>,
        fields: Option<Range<usize>>,
        body: Bytes,
    ) -> Frame {
        let Head {
            code,
            language,
            version,
            opaque,
            flag,
        } = head;
        Frame {
            code,
            language,
            version,
            opaque,
            flag,
            serialize,
            body,
            header,
            remark,
            fields,
        }
    }

    /// The frame a peer would get if this request were sent to it.
    pub fn of_request(request: &OutgoingRequest) -> Frame {
        let mut header = Vec::new();
        let head = Head::request(request.code, 0, false);
        header_json::encode(&head, None, &request.fields, &mut header);
        Self::decode_json(Bytes::from(header), request.body.clone()).expect("we wrote this header")
    }

    /// The custom header fields.
    pub fn fields(&self) -> Fields<'_> {
        let Some(range) = self.fields.clone() else {
            return Fields::EMPTY;
        };
        match self.serialize {
            SerializeType::Json => Fields::json(JsonFields::new(self.header_text(range))),
            SerializeType::RocketMq => Fields::map(MapFields::new(&self.header[range])),
        }
    }

    /// Whether the frame carries a field map, even an empty one. The ROCKETMQ dialect cannot tell empty from absent.
    pub fn has_fields(&self) -> bool {
        self.fields.is_some()
    }

    /// The remark, if there is one.
    pub fn remark(&self) -> Option<Cow<'_, str>> {
        let range = self.remark.clone()?;
        match self.serialize {
            SerializeType::Json => header_json::text_of(self.header_text(range)),
            SerializeType::RocketMq => Some(String::from_utf8_lossy(&self.header[range])),
        }
    }

    /// Whether this answers an earlier request of the receiver.
    pub fn is_response(&self) -> bool {
        self.flag & RESPONSE_FLAG != 0
    }

    /// Whether no answer must be written.
    pub fn is_oneway(&self) -> bool {
        self.flag & ONEWAY_FLAG != 0
    }

    /// The same frame in memory of its own, so that keeping it does not keep the read buffer.
    pub fn detached(&self) -> Frame {
        Frame {
            header: Bytes::copy_from_slice(&self.header),
            body: Bytes::copy_from_slice(&self.body),
            remark: self.remark.clone(),
            fields: self.fields.clone(),
            ..*self
        }
    }

    /// Writes the frame as its sender would have, length word included. Fields keep their order.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let mut fields = FieldBuffer::new();
        if self.has_fields() {
            fields.mark_present();
        }
        for (name, value) in self.fields() {
            fields.push_str(&name, value.as_deref().unwrap_or_default());
        }
        let mut out = Vec::new();
        let remark = self.remark();
        encode_before_body(
            &self.head(),
            self.serialize,
            remark.as_deref(),
            &fields,
            self.body.len(),
            &mut out,
        )?;
        out.extend_from_slice(&self.body);
        Ok(out)
    }

    fn head(&self) -> Head {
        Head {
            code: self.code,
            language: self.language,
            version: self.version,
            opaque: self.opaque,
            flag: self.flag,
        }
    }

    fn header_text(&self, range: Range<usize>) -> &str {
        // decode_json made sure of UTF-8 and found the range on character boundaries.
        str::from_utf8(&self.header[range]).unwrap_or_default()
    }
}

/// The bytes of the first frame in `buffered`, length word included; `None` while the length word is not there yet.
/// A frame beyond the limit is refused from its length word alone.
pub(crate) fn frame_bytes(buffered: &[u8], limit_bytes: usize) -> Result<Option<usize>, FrameError> {
    let Some(word) = buffered.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*word);
    let claimed_bytes = u64::from(length) + LENGTH_BYTES as u64;
    if claimed_bytes > limit_bytes as u64 {
        return Err(FrameError::TooLong {
            claimed_bytes,
            limit_bytes,
        });
    }
    if (length as usize) < PREFIX_BYTES {
        return Err(FrameError::TooShort(length as usize));
    }
    Ok(Some(claimed_bytes as usize))
}

/// Appends everything of a frame but its body, for which the caller promises `body_bytes`. On error `out` is as it was.
pub(crate) fn encode_before_body(
    head: &Head,
    serialize: SerializeType,
    remark: Option<&str>,
    fields: &FieldBuffer,
    body_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES + PREFIX_BYTES]);
    match serialize {
        SerializeType::Json => header_json::encode(head, remark, fields, out),
        SerializeType::RocketMq => header_rocketmq::encode(head, remark, fields, out),
    }
    let header_bytes = out.len() - start - LENGTH_BYTES - PREFIX_BYTES;
    let length = PREFIX_BYTES + header_bytes + body_bytes;
    if header_bytes > MAX_HEADER_BYTES || length > i32::MAX as usize {
        out.truncate(start);
        return Err(FrameError::TooLong {
            claimed_bytes: length as u64,
            limit_bytes: MAX_HEADER_BYTES,
        });
    }
    let [_, high, middle, low] = (header_bytes as u32).to_be_bytes();
    let prefix = &mut out[start..start + LENGTH_BYTES + PREFIX_BYTES];
    prefix[..LENGTH_BYTES].copy_from_slice(&(length as u32).to_be_bytes());
    prefix[LENGTH_BYTES..].copy_from_slice(&[serialize as u8, high, middle, low]);
    Ok(())
}

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
use std::ops::{Deref, Range};

use bytes::Bytes;
use thiserror::Error;

use crate::fields::{FieldBuffer, Fields};
use crate::request::OutgoingRequest;
use crate::{header_json, header_rocketmq};

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

/// A decoded frame. Cloning copies a small header at most and shares the body.
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
    header: HeaderBytes,
    texts: HeaderTexts,
}

/// Where the texts of a header are in its bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeaderTexts {
    pub(crate) remark: Option<Range<usize>>,
    /// A ROCKETMQ map whose lengths are checked.
    pub(crate) fields: Option<Range<usize>>,
}

/// The bytes that [`HeaderTexts`] points into.
#[derive(Clone, Debug)]
enum HeaderBytes {
    /// A binary header as it came.
    Received(Bytes),
    /// The texts of a JSON header, unescaped; or a copy of a binary one.
    Own(Vec<u8>),
}

impl Deref for HeaderBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            HeaderBytes::Received(bytes) => bytes,
            HeaderBytes::Own(bytes) => bytes,
        }
    }
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
            SerializeType::Json => Self::decode_json(&header, body),
            SerializeType::RocketMq => Self::decode_rocketmq(header, body),
        }
    }

    fn decode_json(header: &[u8], body: Bytes) -> Result<Frame, FrameError> {
        let (head, texts, bytes) = match str::from_utf8(header) {
            Ok(text) => header_json::decode(text)?,
            // Java replaces bytes that are not UTF-8.
            Err(_) => header_json::decode(&String::from_utf8_lossy(header))?,
        };
        Ok(Self::of(
            head,
            SerializeType::Json,
            HeaderBytes::Own(bytes),
            texts,
            body,
        ))
    }

    fn decode_rocketmq(header: Bytes, body: Bytes) -> Result<Frame, FrameError> {
        let (head, texts) = header_rocketmq::decode(&header)?;
        Ok(Self::of(
            head,
            SerializeType::RocketMq,
            HeaderBytes::Received(header),
            texts,
            body,
        ))
    }

    fn of(
        head: Head,
        serialize: SerializeType,
        header: HeaderBytes,
        texts: HeaderTexts,
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
            texts,
        }
    }

    /// The frame a peer would get if this request were sent to it.
    pub fn of_request(request: &OutgoingRequest) -> Frame {
        let mut header = Vec::new();
        let head = Head::request(request.code, 0, false);
        header_json::encode(&head, None, &request.fields, &mut header);
        Self::decode_json(&header, request.body.clone()).expect("we wrote this header")
    }

    /// The custom header fields.
    pub fn fields(&self) -> Fields<'_> {
        let Some(range) = self.texts.fields.clone() else {
            return Fields::EMPTY;
        };
        // The binary dialect cannot write an empty string: to Java it is null.
        Fields::map(&self.header[range], self.serialize == SerializeType::RocketMq)
    }

    /// Whether the frame carries a field map, even an empty one. The ROCKETMQ dialect cannot tell empty from absent.
    pub fn has_fields(&self) -> bool {
        self.texts.fields.is_some()
    }

    /// The remark, if there is one.
    pub fn remark(&self) -> Option<Cow<'_, str>> {
        let range = self.texts.remark.clone()?;
        Some(String::from_utf8_lossy(&self.header[range]))
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
            header: HeaderBytes::Own(self.header.to_vec()),
            body: Bytes::copy_from_slice(&self.body),
            texts: self.texts.clone(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn encode(
        head: &Head,
        serialize: SerializeType,
        remark: Option<&str>,
        pairs: &[(String, String)],
        body: &[u8],
    ) -> Vec<u8> {
        let mut fields = FieldBuffer::new();
        for (name, value) in pairs {
            fields.push_str(name, value);
        }
        let mut out = Vec::new();
        encode_before_body(head, serialize, remark, &fields, body.len(), &mut out).unwrap();
        out.extend_from_slice(body);
        assert_eq!(frame_bytes(&out, usize::MAX), Ok(Some(out.len())));
        out
    }

    fn pairs_of(frame: &Frame) -> Vec<(String, String)> {
        // Null is what the ROCKETMQ dialect makes of an empty string.
        let pairs = frame
            .fields()
            .map(|(name, value)| (name.into_owned(), value.unwrap_or_default().into_owned()));
        pairs.collect()
    }

    fn any_head() -> impl Strategy<Value = Head> {
        // The binary dialect has 16 bits for code and version.
        let numbers = (any::<i16>(), 0_u8..14, any::<i16>(), any::<i32>(), any::<i32>());
        numbers.prop_map(|(code, language, version, opaque, flag)| Head {
            code: code.into(),
            language: LanguageCode::from_byte(language),
            version: version.into(),
            opaque,
            flag,
        })
    }

    fn any_serialize() -> impl Strategy<Value = SerializeType> {
        prop_oneof![Just(SerializeType::Json), Just(SerializeType::RocketMq)]
    }

    fn a_frame() -> impl Strategy<Value = Vec<u8>> {
        let parts = (
            any_head(),
            any_serialize(),
            any::<Option<String>>(),
            vec(any::<(String, String)>(), 0..5),
            ".{0,20}",
        );
        parts.prop_map(|(head, serialize, remark, pairs, body)| {
            encode(&head, serialize, remark.as_deref(), &pairs, body.as_bytes())
        })
    }

    /// Reads everything a frame offers, so that a later pass over accepted bytes is exercised too.
    fn read_all(bytes: &[u8]) {
        if let Ok(frame) = Frame::decode(Bytes::copy_from_slice(bytes)) {
            let _ = (frame.remark(), pairs_of(&frame), frame.detached().encode());
        }
    }

    proptest! {
        #[test]
        fn decode_gives_back_what_was_encoded(
            head in any_head(),
            serialize in any_serialize(),
            remark in any::<Option<String>>(),
            pairs in vec(any::<(String, String)>(), 0..8),
            body in vec(any::<u8>(), 0..50),
        ) {
            let encoded = encode(&head, serialize, remark.as_deref(), &pairs, &body);
            let frame = Frame::decode(Bytes::from(encoded.clone()).slice(LENGTH_BYTES..)).unwrap();
            prop_assert_eq!(frame.head(), head);
            prop_assert_eq!(frame.serialize, serialize);
            // Null is what the ROCKETMQ dialect makes of an empty remark.
            let readable = remark.filter(|text| serialize == SerializeType::Json || !text.is_empty());
            prop_assert_eq!(frame.remark().map(Cow::into_owned), readable);
            prop_assert_eq!(pairs_of(&frame), pairs);
            prop_assert_eq!(&frame.body[..], &body[..]);
            prop_assert_eq!(frame.encode().unwrap(), encoded);
        }

        #[test]
        fn garbage_never_panics(bytes in vec(any::<u8>(), 0..200)) {
            read_all(&bytes);
        }

        #[test]
        fn a_frame_with_bytes_changed_or_cut_never_panics(
            mut frame in a_frame(),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            for (at, byte) in changes {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            read_all(&frame[LENGTH_BYTES..]);
            let end = LENGTH_BYTES + cut.index(frame.len() - LENGTH_BYTES);
            read_all(&frame[LENGTH_BYTES..end]);
        }
    }

    #[test]
    fn the_length_word_alone_refuses_a_frame() {
        let limit = 1024;
        let word = |length: u32| frame_bytes(&length.to_be_bytes(), limit);
        assert_eq!(frame_bytes(&[0, 0, 4], limit), Ok(None));
        assert_eq!(
            word(1020),
            Ok(Some(1024)),
            "the length word counts towards the limit"
        );
        assert_eq!(
            word(1021),
            Err(FrameError::TooLong {
                claimed_bytes: 1025,
                limit_bytes: 1024
            })
        );
        assert!(
            matches!(word(-1_i32 as u32), Err(FrameError::TooLong { .. })),
            "negative in Java"
        );
        assert_eq!(word(3), Err(FrameError::TooShort(3)));
        assert_eq!(word(4), Ok(Some(8)));
    }

    #[test]
    fn a_header_length_beyond_the_frame_is_refused() {
        let error = Frame::decode(Bytes::from_static(&[0, 0, 1, 0, b'{', b'}'])).unwrap_err();
        assert_eq!(
            error,
            FrameError::HeaderTooLong {
                header_bytes: 256,
                available_bytes: 2
            }
        );
        assert_eq!(
            Frame::decode(Bytes::from_static(&[5, 0, 0, 0])).unwrap_err(),
            FrameError::UnknownSerializeType(5)
        );
    }

    #[test]
    fn a_json_header_that_is_not_utf_8_is_repaired_as_java_does() {
        let mut bytes = vec![0, 0, 0, 14];
        bytes.extend_from_slice(b"{\"remark\":\"\xFF\"}");
        let frame = Frame::decode(Bytes::from(bytes)).unwrap();
        assert_eq!(frame.remark().as_deref(), Some("\u{FFFD}"));
    }

    #[test]
    fn a_code_beyond_16_bits_survives_json_and_is_cut_in_binary() {
        let head = Head {
            code: 200_151,
            ..Head::default()
        };
        for (serialize, code) in [(SerializeType::Json, 200_151), (SerializeType::RocketMq, 3543)] {
            let bytes = Bytes::from(encode(&head, serialize, None, &[], b""));
            assert_eq!(Frame::decode(bytes.slice(LENGTH_BYTES..)).unwrap().code, code);
        }
    }

    #[test]
    fn a_header_too_large_for_its_length_field_leaves_the_output_untouched() {
        let mut fields = FieldBuffer::new();
        fields.push_str("k", &"x".repeat(MAX_HEADER_BYTES));
        let mut out = b"before".to_vec();
        let error = encode_before_body(&Head::default(), SerializeType::Json, None, &fields, 0, &mut out);
        assert!(error.is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    fn a_detached_frame_shares_no_memory() {
        let bytes = Bytes::from(encode(
            &Head::request(10, 1, false),
            SerializeType::Json,
            None,
            &[],
            b"body",
        ));
        let frame = Frame::decode(bytes.slice(LENGTH_BYTES..)).unwrap();
        let detached = frame.detached();
        drop(frame);
        assert!(bytes.is_unique());
        assert_eq!(detached.body, "body");
    }
}

//! Requests as bytes: encoded once, then stamped with what differs from one to the next.
//!
//! A generator that builds a header per message measures itself. Here a request is encoded once with fixed-width
//! stand-ins, whose places are remembered; sending it again costs a few digits and one copy:
//!
//! | stamp | width | where |
//! |---|---|---|
//! | opaque | 10 digits (JSON) or 4 bytes (ROCKETMQ) | the frame's header |
//! | unique key | 16 hexadecimal digits | properties of each message, in a batch once per message |
//! | born timestamp | 13 digits | a header field |
//! | delivery time | 13 digits | a property of timer messages |
//! | queue offset | 19 digits, zeros in front | a header field of pulls |
//! | intended time | 8 bytes | the beginning of the body, for latencies from end to end |

use clap::ValueEnum;

/// Opaques have ten digits in JSON, so that all of them are equally wide: they start here.
pub const FIRST_OPAQUE: u32 = 1_000_000_000;

/// The protocol version of release 5.5.0.
const VERSION: u16 = 513;

const UNIQUE_KEY: &str = "7F0000010BE4C8D20000000000000000";
const UNIQUE_KEY_DIGITS: usize = 16;
const BORN_TIMESTAMP: &str = "1000000000000";
const DELIVERY_TIME: &str = "1000000000001";
const QUEUE_OFFSET: &str = "0900000000000000009";

/// How the header of a request is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// The JSON header, what clients send unless told otherwise.
    #[default]
    Json,
    /// The binary header.
    Rocketmq,
}

/// The stand-in of a client's message id, for the property UNIQ_KEY.
pub fn unique_key() -> String {
    UNIQUE_KEY.to_owned()
}

/// The stand-in of the born timestamp.
pub fn born_timestamp() -> String {
    BORN_TIMESTAMP.to_owned()
}

/// The stand-in of the time at which a timer message is to be delivered.
pub fn delivery_time() -> String {
    DELIVERY_TIME.to_owned()
}

/// The stand-in of the queue offset of a pull.
pub fn queue_offset() -> String {
    QUEUE_OFFSET.to_owned()
}

/// What one use of a [`Template`] writes into it; parts the template has no place for are left out.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Pairs the response with the request; at least [`FIRST_OPAQUE`].
    pub opaque: u32,
    /// Number of the first message; a batch of n uses n numbers.
    pub key: u64,
    /// Milliseconds since the Unix epoch.
    pub born_ms: i64,
    /// When a timer message is to be delivered, in milliseconds since the Unix epoch.
    pub delivery_ms: i64,
    /// Where a pull starts.
    pub queue_offset: i64,
    /// Written to the first eight bytes of the body, if given.
    pub intended_ns: Option<u64>,
}

impl Stamp {
    /// A stamp for a request that has only an opaque.
    pub fn opaque(opaque: u32) -> Self {
        Self {
            opaque,
            key: 0,
            born_ms: 0,
            delivery_ms: 0,
            queue_offset: 0,
            intended_ns: None,
        }
    }
}

/// An encoded request with the places that change.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    dialect: Dialect,
    opaque_at: usize,
    keys_at: Vec<usize>,
    born_at: Option<usize>,
    delivery_at: Option<usize>,
    queue_offset_at: Option<usize>,
    body_at: usize,
}

impl Template {
    /// Encodes a request; see the stand-ins above for values that [`Template::stamp`] shall replace.
    pub fn new(dialect: Dialect, code: i32, fields: &[(&str, String)], body: &[u8]) -> Self {
        let (header, opaque_in_header) = match dialect {
            Dialect::Json => json_header(code, fields),
            Dialect::Rocketmq => rocketmq_header(code, fields),
        };
        let mut bytes = Vec::with_capacity(8 + header.len() + body.len());
        bytes.extend(((4 + header.len() + body.len()) as u32).to_be_bytes());
        bytes.extend(((dialect as u32) << 24 | header.len() as u32).to_be_bytes());
        bytes.extend(&header);
        bytes.extend(body);
        let header_end = 8 + header.len();
        let place = |text: &str| memchr::memmem::find(&bytes[..header_end], text.as_bytes());
        Self {
            opaque_at: 8 + opaque_in_header,
            keys_at: memchr::memmem::find_iter(&bytes, UNIQUE_KEY)
                .map(|at| at + UNIQUE_KEY.len() - UNIQUE_KEY_DIGITS)
                .collect(),
            born_at: place(BORN_TIMESTAMP),
            delivery_at: place(DELIVERY_TIME),
            queue_offset_at: place(QUEUE_OFFSET),
            body_at: header_end,
            dialect,
            bytes,
        }
    }

    /// The request with `stamp` in its places.
    pub fn stamp(&mut self, stamp: Stamp) -> &[u8] {
        match self.dialect {
            Dialect::Json => write_decimal(&mut self.bytes[self.opaque_at..][..10], u64::from(stamp.opaque)),
            Dialect::Rocketmq => {
                self.bytes[self.opaque_at..][..4].copy_from_slice(&stamp.opaque.to_be_bytes());
            }
        }
        for (at, key) in self.keys_at.iter().zip(stamp.key..) {
            write_hexadecimal(&mut self.bytes[*at..][..UNIQUE_KEY_DIGITS], key);
        }
        for (at, stand_in, number) in [
            (self.born_at, BORN_TIMESTAMP, stamp.born_ms),
            (self.delivery_at, DELIVERY_TIME, stamp.delivery_ms),
            (self.queue_offset_at, QUEUE_OFFSET, stamp.queue_offset),
        ] {
            if let Some(at) = at {
                write_decimal(&mut self.bytes[at..][..stand_in.len()], number.unsigned_abs());
            }
        }
        let body = self.bytes[self.body_at..].first_chunk_mut();
        if let (Some(intended), Some(place)) = (stamp.intended_ns, body) {
            *place = intended.to_be_bytes();
        }
        &self.bytes
    }
}

fn json_header(code: i32, fields: &[(&str, String)]) -> (Vec<u8>, usize) {
    let mut text = format!("{{\"code\":{code}");
    if !fields.is_empty() {
        let pairs: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("\"{name}\":\"{}\"", json_escaped(value)))
            .collect();
        text += &format!(",\"extFields\":{{{}}}", pairs.join(","));
    }
    text += ",\"flag\":0,\"language\":\"JAVA\",\"opaque\":";
    let opaque_at = text.len();
    text += &format!("{FIRST_OPAQUE},\"serializeTypeCurrentRPC\":\"JSON\",\"version\":{VERSION}}}");
    (text.into_bytes(), opaque_at)
}

fn json_escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '"' | '\\' => escaped.extend(['\\', character]),
            '\0'..'\x20' => escaped += &format!("\\u{:04x}", u32::from(character)),
            _ => escaped.push(character),
        }
    }
    escaped
}

fn rocketmq_header(code: i32, fields: &[(&str, String)]) -> (Vec<u8>, usize) {
    let mut pairs = Vec::new();
    for (name, value) in fields {
        pairs.extend((name.len() as u16).to_be_bytes());
        pairs.extend(name.bytes());
        pairs.extend((value.len() as u32).to_be_bytes());
        pairs.extend(value.bytes());
    }
    let mut header = Vec::new();
    header.extend((code as u16).to_be_bytes());
    header.push(0); // language JAVA
    header.extend(VERSION.to_be_bytes());
    let opaque_at = header.len();
    header.extend(FIRST_OPAQUE.to_be_bytes());
    header.extend(0_u32.to_be_bytes()); // flag
    header.extend(0_u32.to_be_bytes()); // no remark
    header.extend((pairs.len() as u32).to_be_bytes());
    header.extend(pairs);
    (header, opaque_at)
}

fn write_decimal(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn write_hexadecimal(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remoting::codes::request_code;

    fn stamp() -> Stamp {
        Stamp {
            opaque: FIRST_OPAQUE + 7,
            key: 0xAB,
            born_ms: 1_700_000_000_123,
            delivery_ms: 1_700_000_009_000,
            queue_offset: 42,
            intended_ns: None,
        }
    }

    #[test]
    fn a_json_request_is_the_frame_a_java_client_writes() {
        let fields = [("topic", "TopicTest".to_owned())];
        let mut template = Template::new(
            Dialect::Json,
            request_code::GET_ROUTEINFO_BY_TOPIC,
            &fields,
            b"body",
        );

        let frame = template.stamp(stamp());

        let header = r#"{"code":105,"extFields":{"topic":"TopicTest"},"flag":0,"language":"JAVA","opaque":1000000007,"serializeTypeCurrentRPC":"JSON","version":513}"#;
        let mut expected = (4 + header.len() as u32 + 4).to_be_bytes().to_vec();
        expected.extend((header.len() as u32).to_be_bytes());
        expected.extend(header.bytes());
        expected.extend(b"body");
        assert_eq!(frame, expected);
    }

    #[test]
    fn a_binary_request_has_its_numbers_and_its_map() {
        let fields = [("q", "12".to_owned())];
        let mut template = Template::new(Dialect::Rocketmq, 310, &fields, b"");

        let frame = template.stamp(stamp());

        let expected = [
            &[0, 0, 0, 34, 1, 0, 0, 30][..],
            &[1, 54, 0, 2, 1, 0x3B, 0x9A, 0xCA, 7, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 9, 0, 1, b'q', 0, 0, 0, 2, b'1', b'2'],
        ]
        .concat();
        assert_eq!(frame, expected);
    }

    #[test]
    fn stamps_go_where_the_stand_ins_were() {
        let fields = [
            ("i", format!("UNIQ_KEY\x01{}\x02", unique_key())),
            ("g", born_timestamp()),
            ("due", delivery_time()),
            ("queueOffset", queue_offset()),
        ];
        let inner = format!("{} and {}", unique_key(), unique_key());
        let mut template = Template::new(Dialect::Json, 320, &fields, inner.as_bytes());

        let text = String::from_utf8(template.stamp(stamp())[8..].to_vec()).unwrap();

        assert!(
            text.contains(r#""i":"UNIQ_KEY\u00017F0000010BE4C8D200000000000000AB\u0002""#),
            "{text}"
        );
        assert!(text.contains(r#""g":"1700000000123""#), "{text}");
        assert!(text.contains(r#""due":"1700000009000""#), "{text}");
        assert!(text.contains(r#""queueOffset":"0000000000000000042""#), "{text}");
        assert!(
            text.ends_with("00000000000000AC and 7F0000010BE4C8D200000000000000AD"),
            "{text}"
        );
    }

    #[test]
    fn the_intended_time_begins_the_body() {
        let mut template = Template::new(Dialect::Json, 310, &[], &[b'x'; 12]);
        let intended = Stamp {
            intended_ns: Some(258),
            ..stamp()
        };
        assert!(template.stamp(intended).ends_with(b"\0\0\0\0\0\0\x01\x02xxxx"));
    }
}

//! The JSON header dialect: one object, read in one pass without building a tree.
//!
//! ```text
//! {"code":105,"extFields":{"topic":"TopicTest"},"flag":0,"language":"JAVA","opaque":1,
//!  "serializeTypeCurrentRPC":"JSON","version":513}
//! ```
//!
//! The reader accepts what the reference's JSON library accepts: numbers as strings, the language as its ordinal,
//! comments, trailing commas, single quotes, unknown keys; the last of duplicate keys wins. The writer emits what the
//! reference emits, byte for byte: keys in alphabetical order, no nulls.
//!
//! Decoding scans `extFields` to find its end; a later pass over the same text reads the fields and so cannot fail.
//!
//! Reference: RemotingCommand, RemotingSerializable

use std::borrow::Cow;
use std::ops::Range;

use crate::fields::{FieldBuffer, decimal};
use crate::frame::{FrameError, Head, LanguageCode};
use crate::header_rocketmq::MapFields;

/// What a JSON header says, with the places of remark and `extFields`.
pub(crate) struct JsonHeader {
    pub(crate) head: Head,
    /// The value of `remark`, quotes included.
    pub(crate) remark: Option<Range<usize>>,
    /// The value of `extFields`, from the byte after its brace.
    pub(crate) fields: Option<Range<usize>>,
}

/// Reads a header.
pub(crate) fn decode(text: &str) -> Result<JsonHeader, FrameError> {
    let mut scan = Scanner { text, at: 0 };
    let mut header = JsonHeader {
        head: Head::default(),
        remark: None,
        fields: None,
    };
    scan.skip_blank()?;
    scan.expect(b'{', "a header object")?;
    while let Some(key) = scan.key()? {
        match &*key {
            "code" => header.head.code = scan.integer()?.unwrap_or(0),
            "flag" => header.head.flag = scan.integer()?.unwrap_or(0),
            "opaque" => header.head.opaque = scan.integer()?.unwrap_or(0),
            "version" => header.head.version = scan.integer()?.unwrap_or(0),
            "language" => header.head.language = scan.language()?,
            "remark" => header.remark = scan.nullable_range()?,
            "extFields" => header.fields = scan.object_range()?,
            // The reference would take it for the base64 of the body and lose the frame.
            "body" => return Err(scan.error("no `body` key")),
            _ => {
                scan.value()?;
            }
        }
    }
    scan.skip_blank()?;
    if scan.at < text.len() {
        return Err(scan.error("the end of the header"));
    }
    Ok(header)
}

/// The text of a value that `decode` found: a string without its quotes, anything else as it stands.
pub(crate) fn text_of(value: &str) -> Option<Cow<'_, str>> {
    Scanner { text: value, at: 0 }
        .value()
        .ok()
        .and_then(Value::into_text)
}

/// Appends a header.
pub(crate) fn encode(head: &Head, remark: Option<&str>, fields: &FieldBuffer, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    out.reserve(128 + 2 * fields.map_bytes().len());
    out.extend_from_slice(b"{\"code\":");
    out.extend_from_slice(decimal(head.code.into(), &mut digits));
    if fields.is_present() {
        out.extend_from_slice(b",\"extFields\":{");
        encode_fields(fields, out);
        out.push(b'}');
    }
    out.extend_from_slice(b",\"flag\":");
    out.extend_from_slice(decimal(head.flag.into(), &mut digits));
    if head.language != LanguageCode::UNKNOWN {
        out.extend_from_slice(b",\"language\":\"");
        out.extend_from_slice(head.language.name().as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b",\"opaque\":");
    out.extend_from_slice(decimal(head.opaque.into(), &mut digits));
    if let Some(remark) = remark {
        out.extend_from_slice(b",\"remark\":");
        encode_string(remark.as_bytes(), out);
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    out.extend_from_slice(decimal(head.version.into(), &mut digits));
    out.push(b'}');
}

fn encode_fields(fields: &FieldBuffer, out: &mut Vec<u8>) {
    let mut entries = MapFields::new(fields.map_bytes());
    let mut first = true;
    while let Some((name, value)) = entries.entry() {
        if !first {
            out.push(b',');
        }
        first = false;
        encode_string(name, out);
        out.push(b':');
        encode_string(value, out);
    }
}

/// Appends a quoted string. Escapes as Java's writer does: quotes, backslash and control characters, nothing else.
fn encode_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest
        .iter()
        .position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\')
    {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            control => {
                let hex = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(hex[usize::from(control >> 4)]);
                out.push(hex[usize::from(control & 15)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Walks the fields of an `extFields` object that `decode` has checked.
#[derive(Clone, Debug)]
pub(crate) struct JsonFields<'a> {
    scan: Scanner<'a>,
}

impl<'a> JsonFields<'a> {
    /// `text` starts after the opening brace.
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            scan: Scanner { text, at: 0 },
        }
    }
}

impl<'a> Iterator for JsonFields<'a> {
    type Item = (Cow<'a, str>, Option<Cow<'a, str>>);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.scan.key().ok()??;
        let value = self.scan.value().ok()?;
        Some((name, value.into_text()))
    }
}

enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    /// A number, a boolean, or a nested object or array as it stands.
    Bare(&'a str),
}

impl<'a> Value<'a> {
    fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Value::Null => None,
            Value::Text(text) => Some(text),
            Value::Bare(text) => Some(Cow::Borrowed(text)),
        }
    }
}

/// A position in the text. Every method leaves it on a character boundary, so slicing at it never panics.
#[derive(Clone, Debug)]
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn error(&self, expected: &'static str) -> FrameError {
        FrameError::BadJsonHeader {
            expected,
            at: self.at,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), FrameError> {
        if self.peek() != Some(byte) {
            return Err(self.error(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// Skips white space and comments.
    fn skip_blank(&mut self) -> Result<(), FrameError> {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                b'/' => self.skip_comment()?,
                _ => break,
            }
        }
        Ok(())
    }

    fn skip_comment(&mut self) -> Result<(), FrameError> {
        let rest = &self.text[self.at..];
        let length = if rest.starts_with("//") {
            rest.find('\n').map_or(rest.len(), |at| at + 1)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            2 + comment
                .find("*/")
                .ok_or_else(|| self.error("the end of the comment"))?
                + 2
        } else {
            return Err(self.error("a comment"));
        };
        self.at += length;
        Ok(())
    }

    /// The next key of an object, with its colon; `None` at the closing brace.
    fn key(&mut self) -> Result<Option<Cow<'a, str>>, FrameError> {
        loop {
            self.skip_blank()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(None);
                }
                _ => break,
            }
        }
        let key = match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(quote)?,
            _ => Cow::Borrowed(self.bare_word()?),
        };
        self.skip_blank()?;
        self.expect(b':', "a colon")?;
        Ok(Some(key))
    }

    fn value(&mut self) -> Result<Value<'a>, FrameError> {
        self.skip_blank()?;
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => Ok(Value::Text(self.string(quote)?)),
            Some(b'{' | b'[') => Ok(Value::Bare(self.nested()?)),
            _ => match self.bare_word()? {
                "null" => Ok(Value::Null),
                word => Ok(Value::Bare(word)),
            },
        }
    }

    /// A number, a literal, or a key without quotes.
    fn bare_word(&mut self) -> Result<&'a str, FrameError> {
        let rest = &self.text[self.at..];
        let is_part =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_' | b'$');
        let length = rest
            .bytes()
            .position(|byte| !is_part(&byte))
            .unwrap_or(rest.len());
        if length == 0 {
            return Err(self.error("a value"));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    /// A nested object or array, skipped whole: brackets are only counted, strings are honoured. Not recursive, so deep
    /// nesting costs no stack.
    fn nested(&mut self) -> Result<&'a str, FrameError> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            self.skip_blank()?;
            match self.peek() {
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') => {
                    depth -= 1;
                    self.at += 1;
                    if depth == 0 {
                        return Ok(&self.text[start..self.at]);
                    }
                }
                Some(b',' | b':') => self.at += 1,
                Some(quote @ (b'"' | b'\'')) => {
                    self.string(quote)?;
                }
                _ => {
                    self.bare_word()?;
                }
            }
        }
    }

    /// A quoted string at the current position; borrows unless it has escapes.
    fn string(&mut self, quote: u8) -> Result<Cow<'a, str>, FrameError> {
        self.at += 1;
        let start = self.at;
        self.at += self.plain_run(quote)?;
        if self.peek() == Some(quote) {
            let plain = &self.text[start..self.at];
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        self.escaped_string(quote, start).map(Cow::Owned)
    }

    /// Bytes up to the next quote or backslash.
    fn plain_run(&self, quote: u8) -> Result<usize, FrameError> {
        let rest = &self.text.as_bytes()[self.at..];
        rest.iter()
            .position(|byte| *byte == quote || *byte == b'\\')
            .ok_or_else(|| self.error("the end of the string"))
    }

    fn escaped_string(&mut self, quote: u8, start: usize) -> Result<String, FrameError> {
        let mut text = String::with_capacity(self.at - start + 64);
        text.push_str(&self.text[start..self.at]);
        loop {
            // Here is a quote or a backslash.
            self.at += 1;
            if self.text.as_bytes()[self.at - 1] == quote {
                return Ok(text);
            }
            text.push(self.escape()?);
            let run = self.plain_run(quote)?;
            text.push_str(&self.text[self.at..self.at + run]);
            self.at += run;
        }
    }

    /// The character of an escape whose backslash was passed.
    fn escape(&mut self) -> Result<char, FrameError> {
        let kind = self.peek().ok_or_else(|| self.error("an escape"))?;
        let character = match kind {
            b'"' | b'\'' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'v' => '\u{b}',
            b'0'..=b'7' => char::from(kind - b'0'),
            b'x' => {
                let code = self.hex(1, 2)?;
                self.at += 2;
                char::from(code as u8)
            }
            b'u' => return self.unicode_escape(),
            _ => return Err(self.error("an escape")),
        };
        self.at += 1;
        Ok(character)
    }

    /// `uXXXX`, joined with a following low surrogate; a lone surrogate is no character and becomes U+FFFD.
    fn unicode_escape(&mut self) -> Result<char, FrameError> {
        let unit = self.hex(1, 4)?;
        self.at += 5;
        let rest = &self.text.as_bytes()[self.at..];
        if (0xD800..0xDC00).contains(&unit) && rest.starts_with(b"\\u") {
            let low = self.hex(2, 4)?;
            if (0xDC00..0xE000).contains(&low) {
                self.at += 6;
                let code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// `count` hexadecimal digits, `ahead` bytes from here.
    fn hex(&self, ahead: usize, count: usize) -> Result<u32, FrameError> {
        let digits = self.text.as_bytes().get(self.at + ahead..self.at + ahead + count);
        digits
            .and_then(|digits| {
                digits.iter().try_fold(0, |code, digit| {
                    Some(code * 16 + char::from(*digit).to_digit(16)?)
                })
            })
            .ok_or_else(|| self.error("hexadecimal digits"))
    }

    /// An int, also as a string or with a fraction; `None` for null.
    fn integer(&mut self) -> Result<Option<i32>, FrameError> {
        let Some(text) = self.value()?.into_text() else {
            return Ok(None);
        };
        let text = text.trim();
        let fraction = || {
            text.parse::<f64>()
                .ok()
                .filter(|value| value.abs() <= f64::from(i32::MAX))
        };
        match text.parse().ok().or_else(|| fraction().map(|value| value as i32)) {
            Some(value) => Ok(Some(value)),
            None => Err(self.error("an int")),
        }
    }

    fn language(&mut self) -> Result<LanguageCode, FrameError> {
        Ok(match self.value()? {
            Value::Null => LanguageCode::JAVA,
            Value::Text(name) => LanguageCode::from_name(&name).unwrap_or(LanguageCode::UNKNOWN),
            Value::Bare(ordinal) => ordinal
                .parse()
                .map(LanguageCode::from_byte)
                .unwrap_or(LanguageCode::UNKNOWN),
        })
    }

    /// The place of the next value, unless it is null.
    fn nullable_range(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        self.skip_blank()?;
        let start = self.at;
        let value = self.value()?;
        Ok((!matches!(value, Value::Null)).then_some(start..self.at))
    }

    /// The place of the next object after its opening brace, unless it is null; its fields are checked.
    fn object_range(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        self.skip_blank()?;
        if self.peek() != Some(b'{') {
            return match self.value()? {
                Value::Null => Ok(None),
                _ => Err(self.error("an object")),
            };
        }
        self.at += 1;
        let start = self.at;
        while self.key()?.is_some() {
            self.value()?;
        }
        Ok(Some(start..self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, Option<String>)> {
        let header = decode(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let Some(range) = header.fields else {
            return Vec::new();
        };
        let fields = JsonFields::new(&text[range]);
        fields
            .map(|(name, value)| (name.into_owned(), value.map(Cow::into_owned)))
            .collect()
    }

    fn ext(value: &str) -> String {
        format!("{{\"extFields\":{value}}}")
    }

    #[test]
    fn the_reader_is_as_lenient_as_javas() {
        #[rustfmt::skip]
        let cases = [
            ("numbers as strings",   r#"{"code":"105","opaque":"-7","flag":"2","version":"513"}"#),
            ("single quotes",        r"{'code':105,'opaque':-7,'flag':2,'version':513}"),
            ("trailing commas",      r#"{"code":105,"opaque":-7,"flag":2,"version":513,}"#),
            ("comments",             "/* a */{\"code\":/**/105, // b\n\"opaque\":-7,\"flag\":2,\"version\":513}//"),
            ("white space",          "\t{ \"code\" :\r\n105 , \"opaque\" : -7,\"flag\":2 ,\"version\":513 } \n"),
            ("unknown keys",         r#"{"x":{"y":[1,{"z":"}]"}]},"code":105,"extfields":5,"opaque":-7,"flag":2,"version":513}"#),
            ("last duplicate wins",  r#"{"code":1,"opaque":-7,"flag":2,"version":513,"code":105}"#),
            ("whole fractions",      r#"{"code":105.0,"opaque":-7,"flag":2,"version":513}"#),
            ("escaped keys",         r#"{"\u0063ode":105,"opaque":-7,"flag":2,"version":513}"#),
        ];
        for (what, text) in cases {
            let head = decode(text)
                .unwrap_or_else(|error| panic!("{what}: {error}"))
                .head;
            assert_eq!(
                (head.code, head.opaque, head.flag, head.version),
                (105, -7, 2, 513),
                "{what}"
            );
        }
    }

    #[test]
    fn missing_and_null_keys_have_javas_defaults() {
        for text in [
            "{}",
            r#"{"code":null,"opaque":null,"language":null,"remark":null,"extFields":null}"#,
        ] {
            let header = decode(text).unwrap();
            assert_eq!(header.head, Head::default());
            assert!(header.remark.is_none() && header.fields.is_none());
        }
    }

    #[test]
    fn a_language_is_a_name_or_an_ordinal() {
        #[rustfmt::skip]
        let cases = [
            (r#""GO""#, "GO"), ("12", "RUST"), (r#""NODE_JS""#, "NODE_JS"), ("null", "JAVA"),
            (r#""go""#, "UNKNOWN"), ("99", "UNKNOWN"), ("-1", "UNKNOWN"), ("true", "UNKNOWN"),
        ];
        for (value, name) in cases {
            let head = decode(&format!("{{\"language\":{value}}}")).unwrap().head;
            assert_eq!(head.language.name(), name, "{value}");
        }
    }

    #[test]
    fn field_values_become_text_and_null_stays_null() {
        let text = ext(r#"{"n":7,"b":true,"s":"","o":{"a":[1]},"nil":null,"x":'q"q',}"#);
        let expected = [
            ("n", Some("7")),
            ("b", Some("true")),
            ("s", Some("")),
            ("o", Some(r#"{"a":[1]}"#)),
            ("nil", None),
            ("x", Some("q\"q")),
        ];
        let expected: Vec<_> = expected
            .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
            .to_vec();
        assert_eq!(pairs(&text), expected);
    }

    #[test]
    fn escapes_are_resolved_and_surrogates_joined() {
        #[rustfmt::skip]
        let cases = [
            (r#""TAGS\u0001a\u0002""#,     "TAGS\u{1}a\u{2}"),
            (r#""\"\\\/\'\b\f\n\r\t\v""#,  "\"\\/'\u{8}\u{c}\n\r\t\u{b}"),
            (r#""\x41\0""#,                "A\0"),
            (r#""\uD83D\uDE00!""#,         "\u{1F600}!"),
            (r#""\uD83D""#,                "\u{FFFD}"),
            (r#""\uDE00\uD83Dx""#,         "\u{FFFD}\u{FFFD}x"),
            (r#""\uD83D\u0041""#,          "\u{FFFD}A"),
            ("\"größe 消息\"",              "größe 消息"),
        ];
        for (value, expected) in cases {
            let text = ext(&format!("{{\"k\":{value}}}"));
            assert_eq!(
                pairs(&text),
                [("k".to_owned(), Some(expected.to_owned()))],
                "{value}"
            );
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        #[rustfmt::skip]
        let cases = [
            "", " ", "{", "[]", "null", "{\"code\"}", "{\"code\":}", "{\"code\":x}", "{\"code\":{}}", "{\"code\":99999999999}",
            "{\"code\":1}x", "{\"code\":1", "{\"remark\":\"abc", "{\"remark\":\"\\u12\"}", "{\"remark\":\"\\q\"}", "{\"a\":{\"b\":1}",
            "{\"extFields\":5}", "{\"extFields\":[]}", "{\"extFields\":{\"a\":1}", "{/*", "/", "{\"a\":[1,{]}", "{'a\":1}", "{\"code\":\"1e99\"}",
        ];
        for text in cases {
            assert!(decode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_body_key_is_refused_since_java_would_lose_the_frame() {
        let error = decode(r#"{"code":1,"body":"aGVsbG8="}"#).err().unwrap();
        assert_eq!(
            error.to_string(),
            "bad JSON header: expected no `body` key at byte 17"
        );
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert!(decode(&deep).is_ok());
        assert!(decode(&deep[..deep.len() - 2]).is_err());
    }

    #[test]
    fn the_writer_escapes_what_java_escapes() {
        let mut out = Vec::new();
        encode_string(
            "a\"b\\c/d\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}<é\u{2028}".as_bytes(),
            &mut out,
        );
        let expected = "\"a\\\"b\\\\c/d\\n\\r\\t\\b\\f\\u0001\\u001f\u{7f}<é\u{2028}\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn an_empty_field_map_is_written_and_an_absent_one_is_not() {
        let mut fields = FieldBuffer::new();
        let head = Head::answer(0, 5);
        let mut absent = Vec::new();
        encode(&head, None, &fields, &mut absent);
        assert!(!String::from_utf8(absent).unwrap().contains("extFields"));
        fields.mark_present();
        let mut empty = Vec::new();
        encode(&head, Some("r"), &fields, &mut empty);
        let expected = r#"{"code":0,"extFields":{},"flag":1,"language":"JAVA","opaque":5,"remark":"r","serializeTypeCurrentRPC":"JSON","version":513}"#;
        assert_eq!(String::from_utf8(empty).unwrap(), expected);
    }
}

//! The JSON header dialect: one object, read in one pass without building a tree.
//!
//! ```text
//! {"code":105,"extFields":{"topic":"TopicTest"},"flag":0,"language":"JAVA","opaque":1,
//!  "serializeTypeCurrentRPC":"JSON","version":513}
//! ```
//!
//! Custom fields come out as the bytes of a ROCKETMQ map, unescaped, so that everything behind this file knows one form
//! of fields; a pair takes as many bytes there as here. That is the one allocation of a frame.
//!
//! The reader accepts what the reference's JSON library accepts: numbers as strings, the language as its ordinal,
//! comments, trailing commas, single quotes, unknown keys; the last of duplicate keys wins. The writer emits what the
//! reference emits, byte for byte: keys in alphabetical order, no nulls.
//!
//! Reference: RemotingCommand, RemotingSerializable

use std::borrow::Cow;
use std::ops::Range;

use crate::fields::{FieldBuffer, decimal};
use crate::frame::{FrameError, Head, HeaderTexts, LanguageCode};
use crate::header_rocketmq::MapFields;

/// Reads a header. The texts are in the bytes returned. Null fields are left out, as Java does.
pub(crate) fn decode(text: &str) -> Result<(Head, HeaderTexts, Vec<u8>), FrameError> {
    let mut scan = Scanner { text, at: 0 };
    scan.header()
        .map_err(|Expected(expected)| FrameError::BadJsonHeader {
            expected,
            at: scan.at,
        })
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
    let mut first = true;
    for (name, value) in MapFields::new(fields.map_bytes()) {
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
    while let Some(at) = find(rest, must_escape) {
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

// Tests of eight bytes at once: in the result the high bit of the lowest byte that passes is set. Bits above that one
// may be wrong.

const LOW_BITS: u64 = u64::from_le_bytes([0x01; 8]);
const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);

const fn is_zero(word: u64) -> u64 {
    word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS
}

const fn is_byte(word: u64, byte: u8) -> u64 {
    is_zero(word ^ (LOW_BITS * byte as u64))
}

fn must_escape(word: u64) -> u64 {
    let control = word.wrapping_sub(LOW_BITS * 0x20) & !word & HIGH_BITS;
    control | is_byte(word, b'"') | is_byte(word, b'\\')
}

/// The first byte that passes the test.
#[inline(always)]
fn find(bytes: &[u8], test: impl Fn(u64) -> u64) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        let found = test(u64::from_le_bytes(word_at(bytes, at)));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    None
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

/// Texts on their way out, with room for a word beyond their end.
#[derive(Default)]
struct TextBuffer {
    bytes: Vec<u8>,
    len: usize,
}

impl TextBuffer {
    #[inline(never)]
    fn reserve(&mut self, more: usize) {
        let needed = self.len + more + 8;
        if needed > self.bytes.len() {
            self.bytes.resize(needed.max(2 * self.bytes.len()), 0);
        }
    }

    /// Leaves room for a length.
    #[inline]
    fn skip(&mut self, count: usize) {
        self.len += count;
        if self.bytes.len() < self.len + 8 {
            self.reserve(8);
        }
    }

    /// Sets the length of a value that began at `value_at` and ends here.
    #[inline]
    fn set_length_before(&mut self, value_at: usize) {
        // A header has less than 16 MiB.
        let value_bytes = (self.len - value_at) as u32;
        self.bytes[value_at - 4..value_at].copy_from_slice(&value_bytes.to_be_bytes());
    }

    /// Appends the first `count` bytes of a word.
    #[inline]
    fn push_word(&mut self, word: [u8; 8], count: usize) {
        match self
            .bytes
            .get_mut(self.len..)
            .and_then(|rest| rest.first_chunk_mut())
        {
            Some(room) => *room = word,
            None => return self.push(&word[..count]),
        }
        self.len += count;
    }

    #[inline(never)]
    fn push(&mut self, text: &[u8]) {
        self.reserve(text.len());
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
    }

    fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.truncate(self.len);
        self.bytes
    }
}

/// Eight bytes from `at`; beyond the end, bytes that pass no test.
#[inline]
fn word_at(bytes: &[u8], at: usize) -> [u8; 8] {
    let rest = bytes.get(at..).unwrap_or_default();
    match rest.first_chunk() {
        Some(word) => *word,
        None => last_word(rest),
    }
}

#[cold]
fn last_word(rest: &[u8]) -> [u8; 8] {
    let mut word = [0xFF; 8];
    word[..rest.len()].copy_from_slice(rest);
    word
}

/// What was expected where the scanner stopped.
struct Expected(&'static str);

/// A position in the text. Every method leaves it on a character boundary, so slicing at it never panics.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn header(&mut self) -> Result<(Head, HeaderTexts, Vec<u8>), Expected> {
        let (mut head, mut texts, mut out) = (Head::default(), HeaderTexts::default(), TextBuffer::default());
        self.skip_blank()?;
        self.expect(b'{', "a header object")?;
        while self.goes_on()? {
            let key = self.key()?;
            match &*key {
                "code" => head.code = self.integer()?.unwrap_or(0),
                "flag" => head.flag = self.integer()?.unwrap_or(0),
                "opaque" => head.opaque = self.integer()?.unwrap_or(0),
                "version" => head.version = self.integer()?.unwrap_or(0),
                "language" => head.language = self.language()?,
                "remark" => texts.remark = self.text_into(&mut out)?,
                "extFields" => texts.fields = self.fields_into(&mut out)?,
                // The reference would take it for the base64 of the body and lose the frame.
                "body" => return Err(Expected("no `body` key")),
                _ => drop(self.value()?),
            }
        }
        self.skip_blank()?;
        if self.at < self.text.len() {
            return Err(Expected("the end of the header"));
        }
        Ok((head, texts, out.into_bytes()))
    }

    /// Appends the pairs of an object as a ROCKETMQ map. `None` if there is a null instead.
    fn fields_into(&mut self, out: &mut TextBuffer) -> Result<Option<Range<usize>>, Expected> {
        self.skip_blank()?;
        if self.peek() != Some(b'{') {
            return match self.value()? {
                Value::Null => Ok(None),
                _ => Err(Expected("an object")),
            };
        }
        self.at += 1;
        // Two lengths take the room of the quotes, colon and comma.
        out.reserve(self.text.len() - self.at);
        let start = out.len;
        while self.goes_on()? {
            self.pair_into(out)?;
        }
        Ok(Some(start..out.len))
    }

    fn pair_into(&mut self, out: &mut TextBuffer) -> Result<(), Expected> {
        // All fields of a send look like this: a name of one letter, and a text.
        if let Some([b'"', letter @ b'a'..=b'z', b'"', b':', b'"']) = self.rest().first_chunk() {
            out.push_word([0, 1, *letter, 0, 0, 0, 0, 0], 7);
            let value_at = out.len;
            self.at += 4;
            self.string_into(b'"', out)?;
            out.set_length_before(value_at);
            return Ok(());
        }
        let start = out.len;
        out.skip(2);
        self.key_into(out)?;
        let name_bytes = i16::try_from(out.len - start - 2).map_err(|_| Expected("a shorter field name"))?;
        out.bytes[start..start + 2].copy_from_slice(&name_bytes.to_be_bytes());
        out.skip(4);
        let value_at = out.len;
        if self.text_into(out)?.is_none() {
            out.len = start;
            return Ok(());
        }
        out.set_length_before(value_at);
        Ok(())
    }

    /// Appends the key of a pair; passes the colon.
    #[inline]
    fn key_into(&mut self, out: &mut TextBuffer) -> Result<(), Expected> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string_into(quote, out)?,
            _ => out.push(self.bare_word()?.as_bytes()),
        }
        self.colon()
    }

    /// Appends a value as text. `None` if it is null.
    #[inline]
    fn text_into(&mut self, out: &mut TextBuffer) -> Result<Option<Range<usize>>, Expected> {
        let start = out.len;
        self.skip_blank()?;
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string_into(quote, out)?,
            _ => match self.value()?.into_text() {
                Some(text) => out.push(text.as_bytes()),
                None => return Ok(None),
            },
        }
        Ok(Some(start..out.len))
    }

    /// The key of a pair; passes the colon.
    fn key(&mut self) -> Result<Cow<'a, str>, Expected> {
        let key = match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.string(quote)?,
            _ => Cow::Borrowed(self.bare_word()?),
        };
        self.colon()?;
        Ok(key)
    }

    fn value(&mut self) -> Result<Value<'a>, Expected> {
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

    #[inline]
    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Expected> {
        if self.peek() != Some(byte) {
            return Err(Expected(expected));
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn colon(&mut self) -> Result<(), Expected> {
        self.skip_blank()?;
        self.expect(b':', "a colon")
    }

    /// Passes commas, or the brace that ends the object; then it is false.
    #[inline]
    fn goes_on(&mut self) -> Result<bool, Expected> {
        loop {
            self.skip_blank()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(false);
                }
                _ => return Ok(true),
            }
        }
    }

    /// Skips white space and comments, of which Java writes none.
    #[inline]
    fn skip_blank(&mut self) -> Result<(), Expected> {
        match self.peek() {
            Some(b' ' | b'\t' | b'\n' | b'\r' | b'/') => self.skip_blanks(),
            _ => Ok(()),
        }
    }

    #[cold]
    fn skip_blanks(&mut self) -> Result<(), Expected> {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                b'/' => self.skip_comment()?,
                _ => break,
            }
        }
        Ok(())
    }

    fn skip_comment(&mut self) -> Result<(), Expected> {
        let rest = &self.text[self.at..];
        let length = if rest.starts_with("//") {
            rest.find('\n').map_or(rest.len(), |at| at + 1)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            2 + comment.find("*/").ok_or(Expected("the end of the comment"))? + 2
        } else {
            return Err(Expected("a comment"));
        };
        self.at += length;
        Ok(())
    }

    /// A number, a literal, or a key without quotes.
    fn bare_word(&mut self) -> Result<&'a str, Expected> {
        let rest = &self.text[self.at..];
        let is_part =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_' | b'$');
        let length = rest
            .bytes()
            .position(|byte| !is_part(&byte))
            .unwrap_or(rest.len());
        if length == 0 {
            return Err(Expected("a value"));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    /// A nested object or array, skipped whole: brackets are only counted, strings are honoured. Not recursive, so deep
    /// nesting costs no stack.
    fn nested(&mut self) -> Result<&'a str, Expected> {
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
                Some(quote @ (b'"' | b'\'')) => drop(self.string(quote)?),
                _ => drop(self.bare_word()?),
            }
        }
    }

    /// A quoted string at the current position; borrows unless it has escapes.
    fn string(&mut self, quote: u8) -> Result<Cow<'a, str>, Expected> {
        let start = self.at + 1;
        let run = self.plain_run(start, quote)?;
        if self.text.as_bytes()[start + run] == quote {
            self.at = start + run + 1;
            return Ok(Cow::Borrowed(&self.text[start..start + run]));
        }
        let mut text = TextBuffer::default();
        self.string_into(quote, &mut text)?;
        Ok(Cow::Owned(
            String::from_utf8_lossy(&text.into_bytes()).into_owned(),
        ))
    }

    /// Appends the quoted string at the current position, unescaped.
    fn string_into(&mut self, quote: u8, out: &mut TextBuffer) -> Result<(), Expected> {
        let bytes = self.text.as_bytes();
        let pattern = LOW_BITS * u64::from(quote);
        let mut at = self.at + 1;
        loop {
            // Finding the end and copying in one go: eight bytes are copied, of which those before the end count.
            let word = word_at(bytes, at);
            let bits = u64::from_le_bytes(word);
            let found = is_zero(bits ^ pattern) | is_byte(bits, b'\\');
            let run = found.trailing_zeros() as usize / 8;
            out.push_word(word, run);
            at += run;
            match bytes.get(at) {
                Some(byte) if *byte == quote => {
                    self.at = at + 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at = at + 1;
                    self.escape_into(out)?;
                    at = self.at;
                }
                // Nothing found in this word.
                Some(_) => {}
                None => return Err(Expected("the end of the string")),
            }
        }
    }

    /// Appends the character of an escape whose backslash was passed.
    #[inline]
    fn escape_into(&mut self, out: &mut TextBuffer) -> Result<(), Expected> {
        // What separates the properties of a message comes by the dozen.
        if let Some([b'u', b'0', b'0', b'0', digit @ b'0'..=b'9']) = self.rest().first_chunk() {
            out.push_word([digit - b'0', 0, 0, 0, 0, 0, 0, 0], 1);
            self.at += 5;
            return Ok(());
        }
        let character = self.escape()?;
        out.push(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// Bytes from `at` to the next quote or backslash, which exists.
    #[inline]
    fn plain_run(&self, at: usize, quote: u8) -> Result<usize, Expected> {
        let rest = &self.text.as_bytes()[at..];
        let pattern = LOW_BITS * u64::from(quote);
        find(rest, |word| is_zero(word ^ pattern) | is_byte(word, b'\\'))
            .ok_or(Expected("the end of the string"))
    }

    /// The character of an escape whose backslash was passed.
    fn escape(&mut self) -> Result<char, Expected> {
        let kind = self.peek().ok_or(Expected("an escape"))?;
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
            _ => return Err(Expected("an escape")),
        };
        self.at += 1;
        Ok(character)
    }

    /// `uXXXX`, joined with a following low surrogate; a lone surrogate is no character and becomes U+FFFD.
    fn unicode_escape(&mut self) -> Result<char, Expected> {
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
    #[inline]
    fn hex(&self, ahead: usize, count: usize) -> Result<u32, Expected> {
        let start = self.at + ahead;
        let digits = self
            .text
            .as_bytes()
            .get(start..start + count)
            .ok_or(Expected("hexadecimal digits"))?;
        let mut code = 0;
        for digit in digits {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                b'A'..=b'F' => digit - b'A' + 10,
                _ => return Err(Expected("hexadecimal digits")),
            };
            code = code * 16 + u32::from(value);
        }
        Ok(code)
    }

    /// The value as Java writes an int: a few digits, then a comma or the end. `None`, and nothing passed, if it is
    /// anything else.
    fn plain_integer(&mut self) -> Option<i32> {
        let bytes = &self.text.as_bytes()[self.at..];
        let (is_negative, first) = match bytes.first()? {
            b'-' => (true, 1),
            _ => (false, 0),
        };
        let mut value = 0_i64;
        let mut at = first;
        while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
            value = value * 10 + i64::from(digit - b'0');
            at += 1;
            if at > first + 10 {
                return None;
            }
        }
        if at == first || !matches!(bytes.get(at), Some(b',' | b'}')) {
            return None;
        }
        let value = i32::try_from(if is_negative { -value } else { value }).ok()?;
        self.at += at;
        Some(value)
    }

    /// An int, also as a string or with a fraction; `None` for null.
    fn integer(&mut self) -> Result<Option<i32>, Expected> {
        if let Some(value) = self.plain_integer() {
            return Ok(Some(value));
        }
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
            None => Err(Expected("an int")),
        }
    }

    fn language(&mut self) -> Result<LanguageCode, Expected> {
        Ok(match self.value()? {
            Value::Null => LanguageCode::JAVA,
            Value::Text(name) => LanguageCode::from_name(&name).unwrap_or(LanguageCode::UNKNOWN),
            Value::Bare(ordinal) => ordinal
                .parse()
                .map(LanguageCode::from_byte)
                .unwrap_or(LanguageCode::UNKNOWN),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Fields;

    fn pairs(text: &str) -> Vec<(String, Option<String>)> {
        let (_, texts, bytes) = decode(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let fields = texts
            .fields
            .map(|range| Fields::map(&bytes[range], false))
            .unwrap_or(Fields::EMPTY);
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
            let (head, ..) = decode(text).unwrap_or_else(|error| panic!("{what}: {error}"));
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
            let (head, texts, _) = decode(text).unwrap();
            assert_eq!(head, Head::default());
            assert!(texts.remark.is_none() && texts.fields.is_none());
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
            let (head, ..) = decode(&format!("{{\"language\":{value}}}")).unwrap();
            assert_eq!(head.language.name(), name, "{value}");
        }
    }

    #[test]
    fn field_values_become_text_and_null_is_no_field() {
        let text = ext(r#"{"n":7,"b":true,"s":"","o":{"a":[1]},"nil":null,"x":'q"q',}"#);
        let expected = [
            ("n", Some("7")),
            ("b", Some("true")),
            ("s", Some("")),
            ("o", Some(r#"{"a":[1]}"#)),
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
    fn finding_by_words_finds_what_looking_at_each_byte_finds() {
        let is_special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
        for length in 0..20 {
            for special in [0, 1, 0x1f, b'"', b'\\', 0x20, 0x21, 0x7f, 0x80, 0xff] {
                for at in 0..length {
                    for filler in [b'a', b'#', b'!', b'[', 0x80, 0xff, 0x7f] {
                        let mut bytes = vec![filler; length];
                        bytes[at] = special;
                        let expected = bytes.iter().position(is_special);
                        assert_eq!(find(&bytes, must_escape), expected, "{bytes:?}");
                    }
                }
            }
        }
        assert_eq!(find(b"12345678'", |word| is_byte(word, b'\'')), Some(8));
        assert_eq!(find(b"", must_escape), None);
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

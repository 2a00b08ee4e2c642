//! The syntax fastjson2 accepts, parsed into a [`Value`] tree.
//!
//! Beyond standard JSON: any value at a key position (bare integers, raw objects), single-quoted strings, trailing commas,
//! `/* */` and `//` comments. Field names without quotes are an error, as in fastjson2.

use std::borrow::Cow;

use super::Error;

/// Deepest nesting a text may have. The deepest body has about ten levels; a stack holds far more than this.
pub const MAX_DEPTH: usize = 128;

/// A parsed text. Strings without escapes borrow from it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'t> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction that fits a Java long
    Integer(i64),
    /// Any other number
    Float(f64),
    /// Text in either kind of quotes
    String(Cow<'t, str>),
    /// Elements in their order
    Array(Vec<Value<'t>>),
    /// Entries in their order, duplicates included: whoever looks a key up takes the last
    Object(Vec<(Value<'t>, Value<'t>)>),
}

impl<'t> Value<'t> {
    /// Parses one value and requires the text to end after it.
    pub fn parse(text: &'t str) -> Result<Self, Error> {
        let mut parser = Parser {
            text,
            at: 0,
            depth: 0,
        };
        parser.skip_byte_order_mark();
        let value = parser.value()?;
        parser.skip_blanks()?;
        match parser.peek() {
            None => Ok(value),
            Some(_) => parser.expected("end of text"),
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    /// Byte offset of the next character; always on a character boundary.
    at: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn value(&mut self) -> Result<Value<'t>, Error> {
        self.skip_blanks()?;
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(quote @ (b'"' | b'\'')) => self.string(quote).map(Value::String),
            Some(b'-' | b'+' | b'.' | b'0'..=b'9') => self.number(),
            _ => self.literal(),
        }
    }

    fn nested(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<Value<'t>, Error>,
    ) -> Result<Value<'t>, Error> {
        if self.depth == MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        self.depth += 1;
        self.at += 1;
        let value = body(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value<'t>, Error> {
        let mut entries = Vec::new();
        while !self.closes(b'}')? {
            let key = self.key()?;
            self.skip_blanks()?;
            if !self.take(b':') {
                return self.expected("':'");
            }
            entries.push((key, self.value()?));
            self.separator(b'}')?;
        }
        Ok(Value::Object(entries))
    }

    fn array(&mut self) -> Result<Value<'t>, Error> {
        let mut elements = Vec::new();
        while !self.closes(b']')? {
            elements.push(self.value()?);
            self.separator(b']')?;
        }
        Ok(Value::Array(elements))
    }

    fn key(&mut self) -> Result<Value<'t>, Error> {
        match self.peek() {
            Some(b'"' | b'\'' | b'{' | b'[' | b'-' | b'0'..=b'9') => self.value(),
            _ => self.expected("key"),
        }
    }

    fn closes(&mut self, end: u8) -> Result<bool, Error> {
        self.skip_blanks()?;
        Ok(self.take(end))
    }

    /// Takes the comma after an element; the end may also follow, and is left for `closes`.
    fn separator(&mut self, end: u8) -> Result<(), Error> {
        self.skip_blanks()?;
        if self.take(b',') || self.peek() == Some(end) {
            return Ok(());
        }
        self.expected("',' or the end of the list")
    }

    fn string(&mut self, quote: u8) -> Result<Cow<'t, str>, Error> {
        self.at += 1;
        let plain = self.until_quote_or_escape(quote)?;
        if self.take(quote) {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        while !self.take(quote) {
            self.at += 1; // the backslash
            text.push(self.escape()?);
            text.push_str(self.until_quote_or_escape(quote)?);
        }
        Ok(Cow::Owned(text))
    }

    fn until_quote_or_escape(&mut self, quote: u8) -> Result<&'t str, Error> {
        let rest = &self.text.as_bytes()[self.at..];
        let Some(length) = rest.iter().position(|&byte| byte == quote || byte == b'\\') else {
            self.at = self.text.len();
            return self.expected("closing quote");
        };
        let run = &self.text[self.at..self.at + length];
        self.at += length;
        Ok(run)
    }

    fn escape(&mut self) -> Result<char, Error> {
        let Some(byte) = self.peek() else {
            return self.expected("escape");
        };
        let plain = match byte {
            b'"' | b'\\' | b'/' | b'\'' => byte as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return self.expected("escape"),
        };
        self.at += 1;
        Ok(plain)
    }

    /// The four digits after `\u`, and those of a second escape when the two are a surrogate pair.
    fn unicode_escape(&mut self) -> Result<char, Error> {
        let first = self.hex4()?;
        if (0xD800..0xDC00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            let after_first = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xDC00..0xE000).contains(&second) {
                let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = after_first;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, Error> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            Some(unit) => {
                self.at += 4;
                Ok(unit)
            }
            None => self.expected("four hexadecimal digits"),
        }
    }

    fn number(&mut self) -> Result<Value<'t>, Error> {
        let rest = &self.text[self.at..];
        let length = rest
            .bytes()
            .position(|byte| !is_number_byte(byte))
            .unwrap_or(rest.len());
        match parse_number(&rest[..length]) {
            Some(number) => {
                self.at += length;
                Ok(number)
            }
            None => self.expected("number"),
        }
    }

    fn literal(&mut self) -> Result<Value<'t>, Error> {
        for (word, value) in [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
        ] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        self.expected("value")
    }

    fn skip_byte_order_mark(&mut self) {
        if self.text.starts_with('\u{feff}') {
            self.at = '\u{feff}'.len_utf8();
        }
    }

    fn skip_blanks(&mut self) -> Result<(), Error> {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']);
            self.at += rest.len() - trimmed.len();
            let comment = if let Some(inside) = trimmed.strip_prefix("/*") {
                inside.find("*/").map(|length| length + 4)
            } else if trimmed.starts_with("//") {
                Some(trimmed.find('\n').unwrap_or(trimmed.len()))
            } else {
                return Ok(());
            };
            match comment {
                Some(length) => self.at += length,
                None => return self.expected("end of comment"),
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T, Error> {
        Err(Error::Syntax {
            offset: self.at,
            expected,
        })
    }
}

fn is_number_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// The number a text spells, whether it stood in quotes or not.
pub(super) fn parse_number(text: &str) -> Option<Value<'static>> {
    if !text.bytes().all(is_number_byte) {
        return None; // Rust would take "inf" and "nan"
    }
    let integer = text.parse().ok().map(Value::Integer);
    integer.or_else(|| text.parse().ok().map(Value::Float))
}

//! Writes any serde type as fastjson2 would, compact or pretty.

use serde::ser::{self, Impossible, Serialize, Serializer};

use super::Error;
use super::parse::Value;

/// What a value left in the output.
#[derive(PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing: it is null, and whoever holds it decides whether to leave it out.
    Null,
    Text,
}

pub(super) struct Writer {
    out: Vec<u8>,
    /// Current depth when pretty, None when compact.
    indent: Option<usize>,
}

impl Writer {
    pub(super) fn compact() -> Self {
        Writer {
            out: Vec::with_capacity(128),
            indent: None,
        }
    }

    pub(super) fn pretty() -> Self {
        Writer {
            out: Vec::with_capacity(128),
            indent: Some(0),
        }
    }

    pub(super) fn write<T: Serialize + ?Sized>(mut self, value: &T) -> Result<Vec<u8>, Error> {
        value.serialize(&mut self)?;
        Ok(self.out)
    }

    fn text(&mut self, text: &str) -> Result<Written, Error> {
        self.out.extend_from_slice(text.as_bytes());
        Ok(Written::Text)
    }

    fn quoted(&mut self, text: &str) -> Result<Written, Error> {
        self.out.push(b'"');
        let mut rest = text;
        while let Some(at) = rest
            .bytes()
            .position(|byte| byte < b' ' || byte == b'"' || byte == b'\\')
        {
            self.out.extend_from_slice(&rest.as_bytes()[..at]);
            self.escape(rest.as_bytes()[at]);
            rest = &rest[at + 1..];
        }
        self.out.extend_from_slice(rest.as_bytes());
        self.out.push(b'"');
        Ok(Written::Text)
    }

    fn escape(&mut self, byte: u8) {
        let letter = match byte {
            b'"' | b'\\' => byte,
            8 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0xc => b'f',
            b'\r' => b'r',
            _ => {
                self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                return;
            }
        };
        self.out.extend_from_slice(&[b'\\', letter]);
    }

    fn open(&mut self, bracket: u8) -> Container<'_> {
        self.out.push(bracket);
        if let Some(depth) = &mut self.indent {
            *depth += 1;
        }
        Container {
            closing: bracket + 2,
            is_empty: true,
            entry_start: 0,
            writer: self,
        } // '[' + 2 = ']', '{' + 2 = '}'
    }

    fn new_line(&mut self) {
        if let Some(depth) = self.indent {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + depth, b'\t');
        }
    }

    /// Writes a key: text and objects as they are, anything else in quotes.
    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        let start = self.out.len();
        let indent = self.indent.take(); // an object as key stays on one line
        let written = key.serialize(&mut *self);
        self.indent = indent;
        if written? == Written::Null {
            self.text("null")?;
        }
        if !matches!(self.out.get(start), Some(b'"' | b'{' | b'[')) {
            self.out.insert(start, b'"');
            self.out.push(b'"');
        }
        self.out.push(b':');
        Ok(())
    }
}

impl<'a> Serializer for &'a mut Writer {
    type Ok = Written;
    type Error = Error;
    type SerializeSeq = Container<'a>;
    type SerializeTuple = Container<'a>;
    type SerializeTupleStruct = Container<'a>;
    type SerializeTupleVariant = Impossible<Written, Error>;
    type SerializeMap = Container<'a>;
    type SerializeStruct = Container<'a>;
    type SerializeStructVariant = Impossible<Written, Error>;

    fn serialize_bool(self, value: bool) -> Result<Written, Error> {
        self.text(if value { "true" } else { "false" })
    }

    fn serialize_i8(self, value: i8) -> Result<Written, Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<Written, Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<Written, Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<Written, Error> {
        self.text(&value.to_string())
    }

    fn serialize_u8(self, value: u8) -> Result<Written, Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<Written, Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<Written, Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<Written, Error> {
        self.text(&value.to_string())
    }

    fn serialize_f32(self, value: f32) -> Result<Written, Error> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<Written, Error> {
        if value.is_finite() {
            self.text(&java_double(value))
        } else {
            Ok(Written::Null)
        }
    }

    fn serialize_char(self, value: char) -> Result<Written, Error> {
        self.quoted(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<Written, Error> {
        self.quoted(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Written, Error> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<Written, Error> {
        Ok(Written::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Written, Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Written, Error> {
        Ok(Written::Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Written, Error> {
        Ok(Written::Null)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<Written, Error> {
        self.quoted(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<Written, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _index: u32,
        _variant: &'static str,
        _value: &T,
    ) -> Result<Written, Error> {
        Err(has_no_java_form(name))
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Container<'a>, Error> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple(self, _len: usize) -> Result<Container<'a>, Error> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Container<'a>, Error> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(has_no_java_form(name))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Container<'a>, Error> {
        Ok(self.open(b'{'))
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Container<'a>, Error> {
        Ok(self.open(b'{'))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(has_no_java_form(name))
    }
}

fn has_no_java_form(name: &str) -> Error {
    ser::Error::custom(format_args!(
        "enum {name} has variants with data, which Java has no JSON for"
    ))
}

/// An array or object being written.
pub(super) struct Container<'a> {
    writer: &'a mut Writer,
    closing: u8,
    is_empty: bool,
    /// Where the current entry began, comma included; a null value takes the entry back to here.
    entry_start: usize,
}

impl Container<'_> {
    fn begin_entry(&mut self) {
        self.entry_start = self.writer.out.len();
        if !self.is_empty {
            self.writer.out.push(b',');
        }
        self.writer.new_line();
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.begin_entry();
        self.is_empty = false;
        if value.serialize(&mut *self.writer)? == Written::Null {
            self.writer.text("null")?;
        }
        Ok(())
    }

    fn entry_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.begin_entry();
        self.writer.key(key)
    }

    fn entry_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        match value.serialize(&mut *self.writer)? {
            Written::Null => self.writer.out.truncate(self.entry_start),
            Written::Text => self.is_empty = false,
        }
        Ok(())
    }

    fn close(self) -> Result<Written, Error> {
        if let Some(depth) = &mut self.writer.indent {
            *depth -= 1;
        }
        if !self.is_empty {
            self.writer.new_line();
        }
        self.writer.out.push(self.closing);
        Ok(Written::Text)
    }
}

impl ser::SerializeSeq for Container<'_> {
    type Ok = Written;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    fn end(self) -> Result<Written, Error> {
        self.close()
    }
}

impl ser::SerializeTuple for Container<'_> {
    type Ok = Written;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    fn end(self) -> Result<Written, Error> {
        self.close()
    }
}

impl ser::SerializeTupleStruct for Container<'_> {
    type Ok = Written;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }

    fn end(self) -> Result<Written, Error> {
        self.close()
    }
}

impl ser::SerializeMap for Container<'_> {
    type Ok = Written;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.entry_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.entry_value(value)
    }

    fn end(self) -> Result<Written, Error> {
        self.close()
    }
}

impl ser::SerializeStruct for Container<'_> {
    type Ok = Written;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.entry_key(name)?;
        self.entry_value(value)
    }

    fn end(self) -> Result<Written, Error> {
        self.close()
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_none(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Integer(value) => serializer.serialize_i64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(elements) => serializer.collect_seq(elements),
            Value::Object(entries) => serializer.collect_map(entries.iter().map(|(key, value)| (key, value))),
        }
    }
}

/// `Double.toString`: at least one digit after the point, an exponent outside 10^-3 to 10^7.
fn java_double(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let scientific = format!("{value:E}");
    match scientific.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => scientific,
    }
}

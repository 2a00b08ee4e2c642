//! Fields: the custom header of a frame, flattened to (name, text) pairs, and the `header!` structs made from them.
//!
//! ```text
//!   JSON extFields ──┐                     ┌── header! struct (DecodeHeader)
//!                    ├──> Fields iterator ─┤
//!   ROCKETMQ map ────┘                     └── get("name")
//!
//!   header! struct (EncodeHeader) ──> FieldBuffer ──> written in the dialect of the frame
//! ```
//!
//! Both dialects are read in place: a name or value borrows from the frame unless it holds an escape. No map is built;
//! a header is filled in one pass over the pairs. Where a name occurs twice, the last one wins.
//!
//! A value is `None` when the sender wrote null, which is what an empty string is in the ROCKETMQ dialect.

use std::borrow::Cow;
use std::fmt::{self, Display};

use smallvec::SmallVec;
use thiserror::Error;

use crate::header_json::JsonFields;
use crate::header_rocketmq::MapFields;

/// The pairs of one frame, in the order they were written.
#[derive(Clone, Debug)]
pub struct Fields<'a>(Source<'a>);

#[derive(Clone, Debug)]
enum Source<'a> {
    None,
    Json(JsonFields<'a>),
    Map(MapFields<'a>),
}

impl<'a> Fields<'a> {
    /// No fields at all.
    pub const EMPTY: Fields<'static> = Fields(Source::None);

    pub(crate) fn json(fields: JsonFields<'a>) -> Self {
        Fields(Source::Json(fields))
    }

    pub(crate) fn map(fields: MapFields<'a>) -> Self {
        Fields(Source::Map(fields))
    }

    /// The text of a field: `None` when it is missing or null.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.clone()
            .filter(|(key, _)| key == name)
            .last()
            .and_then(|(_, value)| value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Cow<'a, str>, Option<Cow<'a, str>>);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::None => None,
            Source::Json(fields) => fields.next(),
            Source::Map(fields) => fields.next(),
        }
    }
}

/// Outgoing fields, kept as the bytes of a ROCKETMQ map: `u16` name length, name, `u32` value length, value.
///
/// The binary dialect copies them as they are; the JSON dialect walks and quotes them. Small headers need no allocation.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FieldBuffer {
    entries: SmallVec<[u8; 256]>,
    present: bool,
}

impl FieldBuffer {
    /// Empty, and absent from the frame until something is pushed or `mark_present` is called.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field; the value is written with `Display`.
    ///
    /// A name longer than 32,767 bytes cannot be carried and the field is left out; names are constants of the
    /// protocol, so this concerns only echoed input.
    pub fn push(&mut self, name: &str, value: impl Display) {
        let Some(value_at) = self.open(name) else { return };
        // Writing into memory fails only if a Display impl reports an error of its own; what it wrote so far stays.
        let _ = fmt::write(&mut EntryWriter(&mut self.entries), format_args!("{value}"));
        self.close(value_at);
    }

    /// Adds a text field.
    pub fn push_str(&mut self, name: &str, value: &str) {
        let Some(value_at) = self.open(name) else { return };
        self.entries.extend_from_slice(value.as_bytes());
        self.close(value_at);
    }

    /// Adds an integer field.
    pub fn push_integer(&mut self, name: &str, value: i64) {
        let mut digits = [0; 20];
        let Some(value_at) = self.open(name) else { return };
        self.entries.extend_from_slice(decimal(value, &mut digits));
        self.close(value_at);
    }

    /// Has the frame carry a field map even if it stays empty, as Java does for a header class without values.
    pub fn mark_present(&mut self) {
        self.present = true;
    }

    /// Whether the frame carries a field map.
    pub fn is_present(&self) -> bool {
        self.present
    }

    /// Whether no field was pushed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What was pushed, in order. An empty value reads as null here, as it does in the ROCKETMQ dialect.
    pub fn fields(&self) -> Fields<'_> {
        Fields::map(MapFields::new(&self.entries))
    }

    pub(crate) fn map_bytes(&self) -> &[u8] {
        &self.entries
    }

    fn open(&mut self, name: &str) -> Option<usize> {
        if name.len() > i16::MAX as usize {
            return None;
        }
        self.present = true;
        self.entries.extend_from_slice(&(name.len() as u16).to_be_bytes());
        self.entries.extend_from_slice(name.as_bytes());
        self.entries.extend_from_slice(&[0; 4]);
        Some(self.entries.len())
    }

    fn close(&mut self, value_at: usize) {
        let value_bytes = (self.entries.len() - value_at) as u32;
        self.entries[value_at - 4..value_at].copy_from_slice(&value_bytes.to_be_bytes());
    }
}

impl fmt::Debug for FieldBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.fields()).finish()
    }
}

struct EntryWriter<'a>(&'a mut SmallVec<[u8; 256]>);

impl fmt::Write for EntryWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// The decimal digits of `value`, written into the end of `digits`.
pub(crate) fn decimal(value: i64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

/// Why a header could not be made from the fields of a frame. Its text is the remark of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FieldError {
    /// A required field is absent or null.
    #[error("field {name} is missing")]
    Missing {
        /// The wire name.
        name: &'static str,
    },
    /// A required field holds something else than it should.
    #[error("field {name} is not {expected}: '{value}'")]
    Invalid {
        /// The wire name.
        name: &'static str,
        /// What it should be, with its article.
        expected: &'static str,
        /// What it is, cut after 64 characters.
        value: String,
    },
}

/// A header that can be read from the fields of a frame.
pub trait DecodeHeader<'a>: Sized {
    /// Reads the header; unknown fields are ignored.
    fn decode(fields: Fields<'a>) -> Result<Self, FieldError>;
}

/// A header that can be written as fields.
pub trait EncodeHeader {
    /// Appends the fields that have a value.
    fn encode(&self, out: &mut FieldBuffer);
}

/// The header of requests and answers that have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoHeader;

impl<'a> DecodeHeader<'a> for NoHeader {
    fn decode(_: Fields<'a>) -> Result<Self, FieldError> {
        Ok(NoHeader)
    }
}

impl EncodeHeader for NoHeader {
    fn encode(&self, _: &mut FieldBuffer) {}
}

/// A type a header field can have. `Option<T>` makes the field optional.
pub trait FieldValue<'a>: Sized {
    /// What the text should be, with its article, for error remarks.
    const EXPECTED: &'static str;

    /// Parses the text; gives it back if it is not such a value.
    fn from_text(text: Cow<'a, str>) -> Result<Self, Cow<'a, str>>;

    /// The value of a field that is absent: `None` for a required one.
    fn if_absent() -> Option<Self> {
        None
    }

    /// Appends the value, if there is one.
    fn push_to(&self, name: &str, out: &mut FieldBuffer);
}

/// Parses one field of a header; `header!` calls it.
#[doc(hidden)]
pub fn parse_field<'a, T: FieldValue<'a>>(name: &'static str, text: Cow<'a, str>) -> Result<T, FieldError> {
    T::from_text(text).map_err(|text| FieldError::Invalid {
        name,
        expected: T::EXPECTED,
        value: text.chars().take(64).collect(),
    })
}

/// The value of a field that did not occur; `header!` calls it.
#[doc(hidden)]
pub fn absent_field<'a, T: FieldValue<'a>>(name: &'static str) -> Result<T, FieldError> {
    T::if_absent().ok_or(FieldError::Missing { name })
}

impl<'a> FieldValue<'a> for Cow<'a, str> {
    const EXPECTED: &'static str = "a text";

    fn from_text(text: Cow<'a, str>) -> Result<Self, Cow<'a, str>> {
        Ok(text)
    }

    fn push_to(&self, name: &str, out: &mut FieldBuffer) {
        out.push_str(name, self);
    }
}

impl<'a> FieldValue<'a> for String {
    const EXPECTED: &'static str = "a text";

    fn from_text(text: Cow<'a, str>) -> Result<Self, Cow<'a, str>> {
        Ok(text.into_owned())
    }

    fn push_to(&self, name: &str, out: &mut FieldBuffer) {
        out.push_str(name, self);
    }
}

macro_rules! integer_field_value {
    ($($type:ty, $expected:literal;)*) => {$(
        impl<'a> FieldValue<'a> for $type {
            const EXPECTED: &'static str = $expected;

            fn from_text(text: Cow<'a, str>) -> Result<Self, Cow<'a, str>> {
                text.parse().map_err(|_| text)
            }

            fn push_to(&self, name: &str, out: &mut FieldBuffer) {
                out.push_integer(name, i64::from(*self));
            }
        }
    )*};
}

integer_field_value! {
    i32, "an int";
    i64, "a long";
    u32, "an unsigned int";
    u16, "an unsigned short";
}

impl<'a> FieldValue<'a> for bool {
    const EXPECTED: &'static str = "a boolean";

    /// Reference: Boolean.parseBoolean, so everything but "true" is false.
    fn from_text(text: Cow<'a, str>) -> Result<Self, Cow<'a, str>> {
        Ok(text.eq_ignore_ascii_case("true"))
    }

    fn push_to(&self, name: &str, out: &mut FieldBuffer) {
        out.push_str(name, if *self { "true" } else { "false" });
    }
}

impl<'a> FieldValue<'a> for f64 {
    const EXPECTED: &'static str = "a number";

    fn from_text(text: Cow<'a, str>) -> Result<Self, Cow<'a, str>> {
        text.trim().parse().map_err(|_| text)
    }

    /// `Debug` keeps the fraction of whole numbers ("1.0"), as Java's Double.toString does.
    fn push_to(&self, name: &str, out: &mut FieldBuffer) {
        out.push(name, format_args!("{self:?}"));
    }
}

impl<'a, T: FieldValue<'a>> FieldValue<'a> for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    /// Reference: RemotingCommand.decodeCommandCustomHeader leaves a field it cannot parse null.
    fn from_text(text: Cow<'a, str>) -> Result<Self, Cow<'a, str>> {
        Ok(T::from_text(text).ok())
    }

    fn if_absent() -> Option<Self> {
        Some(None)
    }

    fn push_to(&self, name: &str, out: &mut FieldBuffer) {
        if let Some(value) = self {
            value.push_to(name, out);
        }
    }
}

/// Declares a header: field, type, wire name, second wire name, default.
///
/// ```
/// use std::borrow::Cow;
/// use remoting::header;
///
/// header! {
///     /// What the offset query asks. Reference: QueryConsumerOffsetRequestHeader
///     pub struct QueryOffset<'a> {
///         /// Required: not an `Option`, no default.
///         consumer_group: Cow<'a, str> = "consumerGroup";
///         /// Also accepted under a second name, written under the first.
///         topic: Cow<'a, str> = "topic" | "b";
///         /// Optional.
///         set_zero_if_not_found: Option<bool> = "setZeroIfNotFound";
///         /// Absent means true.
///         committed: bool = "committed", default true;
///     }
/// }
/// ```
///
/// Yields the struct with public fields, `Clone`, `Debug`, `PartialEq`, `Default` (the declared defaults), and
/// [`DecodeHeader`] and [`EncodeHeader`]. A struct with one lifetime borrows from the frame; one without owns its text.
#[macro_export]
macro_rules! header {
    ($(#[$meta:meta])* $vis:vis struct $name:ident<$life:lifetime> { $($fields:tt)* }) => {
        $crate::header! { @struct [$(#[$meta])* $vis struct $name<$life>] $($fields)* }
        $crate::header! { @impls $name [<$life>] $life; $($fields)* }
    };
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($fields:tt)* }) => {
        $crate::header! { @struct [$(#[$meta])* $vis struct $name] $($fields)* }
        $crate::header! { @impls $name [] 'frame; $($fields)* }
    };
    (@struct [$($head:tt)*] $(
        $(#[$meta:meta])* $field:ident: $type:ty = $wire:literal $(| $alias:literal)* $(, default $default:expr)?;
    )*) => {
        #[derive(Clone, Debug, PartialEq)]
        $($head)* {
            $(
                $(#[$meta])*
                #[doc = concat!("Wire name: `", $wire, "`.")]
                pub $field: $type,
            )*
        }
    };
    (@impls $name:ident [$($generics:tt)*] $life:lifetime; $(
        $(#[$meta:meta])* $field:ident: $type:ty = $wire:literal $(| $alias:literal)* $(, default $default:expr)?;
    )*) => {
        impl<$life> $crate::fields::DecodeHeader<$life> for $name $($generics)* {
            fn decode(
                fields: $crate::fields::Fields<$life>,
            ) -> ::std::result::Result<Self, $crate::fields::FieldError> {
                $(let mut $field: ::std::option::Option<$type> = ::std::option::Option::None;)*
                for (name, value) in fields {
                    let ::std::option::Option::Some(value) = value else { continue };
                    match &*name {
                        $($wire $(| $alias)* => {
                            $field = ::std::option::Option::Some($crate::fields::parse_field($wire, value)?);
                        })*
                        _ => drop(value),
                    }
                }
                ::std::result::Result::Ok(Self {
                    $($field: match $field {
                        ::std::option::Option::Some(value) => value,
                        ::std::option::Option::None => $crate::header!(@absent $wire $(, $default)?),
                    },)*
                })
            }
        }

        $crate::header! { @encode $name [$($generics)*] $life; $($field = $wire;)* }

        impl $($generics)* ::std::default::Default for $name $($generics)* {
            fn default() -> Self {
                Self { $($field: $crate::header!(@default $($default)?),)* }
            }
        }
    };
    (@encode $name:ident [$($generics:tt)*] $life:lifetime; $($field:ident = $wire:literal;)*) => {
        impl $($generics)* $crate::fields::EncodeHeader for $name $($generics)* {
            fn encode(&self, out: &mut $crate::fields::FieldBuffer) {
                let _ = &out; // A header without fields uses it for nothing.
                $($crate::fields::FieldValue::push_to(&self.$field, $wire, out);)*
            }
        }
    };
    (@absent $wire:literal) => { $crate::fields::absent_field($wire)? };
    (@absent $wire:literal, $default:expr) => { $default };
    (@default) => { ::std::default::Default::default() };
    (@default $default:expr) => { $default };
}

#[cfg(test)]
mod tests {
    use super::*;

    header! {
        /// Borrows.
        pub struct Borrowing<'a> {
            /// Required text.
            topic: Cow<'a, str> = "topic" | "b";
            /// Required number.
            queue_id: i32 = "queueId" | "e";
            /// Optional.
            limit: Option<i64> = "limit";
            /// Defaulted.
            committed: bool = "committed", default true;
        }
    }

    header! {
        /// Owns.
        struct Owning {
            /// Text.
            name: String = "name";
            /// Fraction.
            ratio: Option<f64> = "ratio";
        }
    }

    header! {
        /// Nothing in it.
        struct Empty {}
    }

    fn fields(pairs: &[(&str, &str)]) -> FieldBuffer {
        let mut buffer = FieldBuffer::new();
        for (name, value) in pairs {
            buffer.push_str(name, value);
        }
        buffer
    }

    #[test]
    fn a_header_reads_either_wire_name_and_the_last_value_wins() {
        let sent = fields(&[
            ("b", "first"),
            ("unknown", "x"),
            ("e", "3"),
            ("topic", "second"),
            ("limit", "-5"),
        ]);
        let header = Borrowing::decode(sent.fields()).unwrap();
        assert_eq!(
            header,
            Borrowing {
                topic: "second".into(),
                queue_id: 3,
                limit: Some(-5),
                committed: true
            }
        );
        assert!(matches!(header.topic, Cow::Borrowed(_)), "no copy of plain text");
    }

    #[test]
    fn a_header_writes_its_first_wire_names_and_leaves_absent_values_out() {
        let mut out = FieldBuffer::new();
        Borrowing {
            topic: "t".into(),
            queue_id: -7,
            limit: None,
            committed: false,
        }
        .encode(&mut out);
        assert_eq!(
            out,
            fields(&[("topic", "t"), ("queueId", "-7"), ("committed", "false")])
        );
    }

    #[test]
    fn a_missing_or_null_required_field_is_named() {
        let missing = Borrowing::decode(fields(&[("queueId", "1")]).fields()).unwrap_err();
        assert_eq!(missing.to_string(), "field topic is missing");
        // The ROCKETMQ dialect cannot tell an empty string from null.
        let null = Owning::decode(fields(&[("name", "")]).fields()).unwrap_err();
        assert_eq!(null.to_string(), "field name is missing");
    }

    #[test]
    fn an_unparsable_required_field_is_quoted_and_an_optional_one_is_absent() {
        let error = Borrowing::decode(fields(&[("topic", "t"), ("queueId", "x")]).fields()).unwrap_err();
        assert_eq!(error.to_string(), "field queueId is not an int: 'x'");
        let lenient = fields(&[
            ("topic", "t"),
            ("queueId", "+1"),
            ("limit", "x"),
            ("committed", "yes"),
        ]);
        let header = Borrowing::decode(lenient.fields()).unwrap();
        assert_eq!(
            (header.queue_id, header.limit, header.committed),
            (1, None, false)
        );
    }

    #[test]
    fn defaults_are_those_declared() {
        assert!(Borrowing::default().committed);
        assert_eq!(
            Owning::default(),
            Owning {
                name: String::new(),
                ratio: None
            }
        );
        assert_eq!(Empty::decode(Fields::EMPTY), Ok(Empty {}));
    }

    #[test]
    fn whole_doubles_keep_their_fraction_digit() {
        let mut out = FieldBuffer::new();
        Owning {
            name: "n".into(),
            ratio: Some(75.0),
        }
        .encode(&mut out);
        assert_eq!(out.fields().get("ratio").as_deref(), Some("75.0"));
    }

    #[test]
    fn integers_are_written_as_java_writes_them() {
        for value in [0, 7, -1, 10, i64::from(i32::MIN), i64::MAX, i64::MIN] {
            let mut out = FieldBuffer::new();
            out.push_integer("n", value);
            assert_eq!(out.fields().get("n").as_deref(), Some(value.to_string().as_str()));
        }
    }

    #[test]
    fn values_beyond_the_inline_space_are_kept_whole() {
        let long = "x".repeat(10_000);
        let mut out = FieldBuffer::new();
        out.push("long", &long);
        out.push("after", 1);
        assert_eq!(out.fields().get("long").as_deref(), Some(long.as_str()));
        assert_eq!(out.fields().get("after").as_deref(), Some("1"));
    }

    #[test]
    fn a_name_too_long_for_the_map_is_left_out() {
        let mut out = FieldBuffer::new();
        out.push("n".repeat(40_000).as_str(), "v");
        assert!(out.is_empty() && !out.is_present());
    }
}

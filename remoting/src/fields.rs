//! Fields: the custom header of a frame, flattened to (name, text) pairs, and the `header!` structs made from them.
//!
//! ```text
//!   JSON extFields ──(unescaped)──┐                     ┌── header! struct (DecodeHeader)
//!                                 ├──> Fields iterator ─┤
//!   ROCKETMQ map ─────────────────┘                     └── get("name")
//!
//!   header! struct (EncodeHeader) ──> FieldBuffer ──> written in the dialect of the frame
//! ```
//!
//! Whatever the dialect of the frame, its fields are the bytes of a ROCKETMQ map, and names and values borrow from them.
//! No map of strings is built; a header is filled in one pass over the pairs. Where a name occurs twice, the last wins.
//!
//! A value is `None` when the sender wrote null, which is what an empty string is in the ROCKETMQ dialect.

use std::borrow::Cow;
use std::fmt::{self, Display};

use smallvec::SmallVec;
use thiserror::Error;

use crate::header_rocketmq::MapFields;

/// The pairs of one frame, in the order they were written.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    map: MapFields<'a>,
    empty_is_null: bool,
}

impl<'a> Fields<'a> {
    /// No fields at all.
    pub const EMPTY: Fields<'static> = Fields::map(&[], true);

    /// The pairs in the bytes of a ROCKETMQ map.
    pub(crate) const fn map(bytes: &'a [u8], empty_is_null: bool) -> Self {
        Fields {
            map: MapFields::new(bytes),
            empty_is_null,
        }
    }

    /// The next pair that is not null, as bytes; `header!` calls it.
    #[doc(hidden)]
    #[inline]
    pub fn next_bytes(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        loop {
            let (name, value) = self.map.next()?;
            if !(value.is_empty() && self.empty_is_null) {
                return Some((name, value));
            }
        }
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

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.map.next()?;
        let is_null = value.is_empty() && self.empty_is_null;
        Some((text_of(name), (!is_null).then(|| text_of(value))))
    }
}

/// The text; bytes that are not UTF-8 are replaced, as Java does.
#[inline]
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    // The plain check is faster than the lossy one on the short strings of a header.
    match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Fields up to this many bytes need no allocation; the header of a send answer takes about 180.
const INLINE_BYTES: usize = 256;

/// Outgoing fields, kept as the bytes of a ROCKETMQ map: `i16` name length, name, `i32` value length, value.
///
/// The binary dialect copies them as they are; the JSON dialect walks and quotes them.
#[derive(Clone)]
pub struct FieldBuffer {
    inline: [u8; INLINE_BYTES],
    inline_bytes: usize,
    /// Everything, once it does not fit inline.
    spilled: Vec<u8>,
    present: bool,
}

impl FieldBuffer {
    /// Empty, and absent from the frame until something is pushed or `mark_present` is called.
    pub fn new() -> Self {
        FieldBuffer {
            inline: [0; INLINE_BYTES],
            inline_bytes: 0,
            spilled: Vec::new(),
            present: false,
        }
    }

    /// Adds a field; the value is written with `Display`.
    ///
    /// A name longer than 32,767 bytes cannot be carried and the field is left out; names are constants of the
    /// protocol, so this concerns only echoed input.
    pub fn push(&mut self, name: &str, value: impl Display) {
        let mut text = TextWriter::default();
        // Writing into memory fails only if a Display impl reports an error of its own; what it wrote so far stays.
        let _ = fmt::write(&mut text, format_args!("{value}"));
        self.push_bytes(name, text.as_bytes());
    }

    /// Adds a text field.
    pub fn push_str(&mut self, name: &str, value: &str) {
        self.push_bytes(name, value.as_bytes());
    }

    /// Adds an integer field.
    pub fn push_integer(&mut self, name: &str, value: i64) {
        self.push_bytes(name, decimal(value, &mut [0; 20]));
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
        self.map_bytes().is_empty()
    }

    /// What was pushed, in order. An empty value reads as null here, as it does in the ROCKETMQ dialect.
    pub fn fields(&self) -> Fields<'_> {
        Fields::map(self.map_bytes(), true)
    }

    pub(crate) fn map_bytes(&self) -> &[u8] {
        if self.spilled.is_empty() {
            &self.inline[..self.inline_bytes]
        } else {
            &self.spilled
        }
    }

    fn push_bytes(&mut self, name: &str, value: &[u8]) {
        let Ok(name_length) = i16::try_from(name.len()) else {
            return;
        };
        self.present = true;
        let entry_bytes = 2 + name.len() + 4 + value.len();
        if self.spilled.is_empty()
            && let Some(room) = self.inline[self.inline_bytes..].get_mut(..entry_bytes)
        {
            let (length, room) = room.split_at_mut(2);
            length.copy_from_slice(&name_length.to_be_bytes());
            let (text, room) = room.split_at_mut(name.len());
            text.copy_from_slice(name.as_bytes());
            let (length, text) = room.split_at_mut(4);
            length.copy_from_slice(&(value.len() as u32).to_be_bytes());
            text.copy_from_slice(value);
            self.inline_bytes += entry_bytes;
            return;
        }
        if self.spilled.is_empty() {
            self.spilled.reserve(2 * INLINE_BYTES + entry_bytes);
            self.spilled.extend_from_slice(&self.inline[..self.inline_bytes]);
        }
        self.spilled.extend_from_slice(&name_length.to_be_bytes());
        self.spilled.extend_from_slice(name.as_bytes());
        self.spilled
            .extend_from_slice(&(value.len() as u32).to_be_bytes());
        self.spilled.extend_from_slice(value);
    }
}

impl Default for FieldBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for FieldBuffer {
    fn eq(&self, other: &Self) -> bool {
        self.present == other.present && self.map_bytes() == other.map_bytes()
    }
}

impl Eq for FieldBuffer {}

impl fmt::Debug for FieldBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.fields()).finish()
    }
}

/// The text of a value that is displayed.
#[derive(Default)]
struct TextWriter(SmallVec<[u8; 64]>);

impl TextWriter {
    fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Write for TextWriter {
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

/// Whether a field has this wire name of `N` bytes; `header!` calls it. Comparing arrays needs no call.
#[doc(hidden)]
#[inline(always)]
pub fn is_name<const N: usize>(name: &[u8], wire: &'static str) -> bool {
    name.len() == N && name.first_chunk::<N>() == wire.as_bytes().first_chunk::<N>()
}

/// Parses one field of a header; `header!` calls it.
#[doc(hidden)]
pub fn parse_field<'a, T: FieldValue<'a>>(name: &'static str, value: &'a [u8]) -> Result<T, FieldError> {
    T::from_text(text_of(value)).map_err(|text| FieldError::Invalid {
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
                let mut fields = fields;
                while let ::std::option::Option::Some((_name, _value)) = fields.next_bytes() {
                    $(if $crate::fields::is_name::<{ $wire.len() }>(_name, $wire)
                        $(|| $crate::fields::is_name::<{ $alias.len() }>(_name, $alias))*
                    {
                        $field = ::std::option::Option::Some($crate::fields::parse_field($wire, _value)?);
                        continue;
                    })*
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

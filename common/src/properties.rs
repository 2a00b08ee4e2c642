//! Configuration: Java `.properties` text, and one declaration per config struct.
//!
//! ```text
//!   properties! { pub struct StoreConfig { "flushDiskType" flush_disk_type: FlushDiskType = .., restart; } }
//!        │
//!        ├── the struct and its defaults          ├── set(key, text): parse at the border
//!        ├── KEYS: every key with its default     └── pairs(): the text that config queries answer
//! ```
//!
//! A key may change while the server runs (`live`) or only at the next start (`restart`). Readers
//! take snapshots from [`Live`], so a change is seen whole or not at all.

use std::sync::Arc;

use arc_swap::ArcSwap;
use thiserror::Error;

/// A value that a key cannot take.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{key}` cannot be `{value}`: expected {expected}")]
pub struct PropertyError {
    /// The key as written.
    pub key: String,
    /// The value as written.
    pub value: String,
    /// What the key takes.
    pub expected: String,
}

/// One key of a config struct.
#[derive(Clone, Copy, Debug)]
pub struct PropertyKey {
    /// The reference's name.
    pub name: &'static str,
    /// The default, as text.
    pub default: fn() -> String,
    /// Whether a running server follows a change.
    pub live: bool,
}

/// A type that a key can have.
pub trait PropertyValue: Sized {
    /// What an operator may write, for error messages.
    fn expected() -> String;
    /// Reads trimmed text.
    fn parse_property(text: &str) -> Option<Self>;
    /// Writes what [`Self::parse_property`] reads.
    fn format_property(&self) -> String;
}

macro_rules! number_values {
    ($($type:ty: $expected:literal),*) => {$(
        impl PropertyValue for $type {
            fn expected() -> String {
                $expected.to_owned()
            }
            fn parse_property(text: &str) -> Option<Self> {
                text.parse().ok()
            }
            fn format_property(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

number_values! {
    i32: "a whole number", i64: "a whole number",
    u16: "a number from 0 to 65535", u32: "a whole number, not negative", u64: "a whole number, not negative",
    usize: "a whole number, not negative"
}

impl PropertyValue for f64 {
    fn expected() -> String {
        "a number".to_owned()
    }
    fn parse_property(text: &str) -> Option<Self> {
        text.parse().ok()
    }
    fn format_property(&self) -> String {
        // Java prints a whole double with ".0"; so does Debug.
        format!("{self:?}")
    }
}

impl PropertyValue for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }
    /// Stricter than the reference, which reads every other word as false: a mistyped switch is an error here.
    fn parse_property(text: &str) -> Option<Self> {
        match text {
            _ if text.eq_ignore_ascii_case("true") => Some(true),
            _ if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }
    fn format_property(&self) -> String {
        self.to_string()
    }
}

impl PropertyValue for String {
    fn expected() -> String {
        "text".to_owned()
    }
    fn parse_property(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
    fn format_property(&self) -> String {
        self.clone()
    }
}

/// Declares an enum that a key can have, with the reference's spelling of each value.
#[macro_export]
macro_rules! property_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_meta])* $variant),+ }

        impl $crate::properties::PropertyValue for $name {
            fn expected() -> String {
                [$($text),+].join(" or ")
            }
            fn parse_property(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
            fn format_property(&self) -> String {
                match self { $(Self::$variant => $text.to_owned()),+ }
            }
        }
    };
}

/// Declares a config struct: `"javaKey" field: Type = default, live;` (or `restart`).
#[macro_export]
macro_rules! properties {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* $key:literal $field:ident: $type:ty = $default:expr, $when:ident;)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[$field_meta])* #[doc = concat!("\n\nKey: `", $key, "`.")] pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            /// Every key, in declaration order.
            pub const KEYS: &'static [$crate::properties::PropertyKey] = &[
                $($crate::properties::PropertyKey {
                    name: $key,
                    default: || $crate::properties::PropertyValue::format_property(&{ let value: $type = $default; value }),
                    live: $crate::properties!(@live $when),
                },)*
            ];

            /// Sets one key from text; `Ok(false)` when the key is not of this struct.
            pub fn set(&mut self, key: &str, value: &str) -> Result<bool, $crate::properties::PropertyError> {
                match key {
                    $($key => self.$field = $crate::properties::parse_value::<$type>(key, value)?,)*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// The value of a key as text; `None` when the key is not of this struct.
            pub fn get(&self, key: &str) -> Option<String> {
                match key {
                    $($key => Some($crate::properties::PropertyValue::format_property(&self.$field)),)*
                    _ => None,
                }
            }

            /// Every key with its value as text, in declaration order.
            pub fn pairs(&self) -> Vec<(&'static str, String)> {
                vec![$(($key, $crate::properties::PropertyValue::format_property(&self.$field)),)*]
            }
        }
    };
    (@live live) => { true };
    (@live restart) => { false };
}

/// Parses one value or says what the key takes. Used by [`properties!`].
pub fn parse_value<T: PropertyValue>(key: &str, value: &str) -> Result<T, PropertyError> {
    T::parse_property(value.trim()).ok_or_else(|| PropertyError {
        key: key.to_owned(),
        value: value.to_owned(),
        expected: T::expected(),
    })
}

/// A config struct that may change while the server runs.
#[derive(Debug)]
pub struct Live<T> {
    current: ArcSwap<T>,
}

impl<T: Clone> Live<T> {
    /// Starts with `value`.
    pub fn new(value: T) -> Self {
        Self {
            current: ArcSwap::from_pointee(value),
        }
    }

    /// The values as they are now.
    pub fn get(&self) -> arc_swap::Guard<Arc<T>> {
        self.current.load()
    }

    /// Replaces the values by a changed copy. Concurrent updates are all kept.
    pub fn update(&self, change: impl Fn(&mut T)) {
        self.current.rcu(|current| {
            let mut next = T::clone(current);
            change(&mut next);
            next
        });
    }
}

/// Reads `.properties` text: `key=value`, `key:value` or `key value`, `#` and `!` comments, `\` continuations
/// and escapes. Of a repeated key the last counts. Reference: `java.util.Properties.load`.
pub fn parse_properties(text: &str) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for PropertyLine { key, value, .. } in property_lines(text) {
        match pairs.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => pairs.push((key, value)),
        }
    }
    pairs
}

/// One pair of a `.properties` file, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyLine {
    /// Of its first line, from 1.
    pub line: usize,
    /// The key, unescaped.
    pub key: String,
    /// The value, unescaped.
    pub value: String,
}

/// Reads `.properties` text as [`parse_properties`] does, repeated keys included.
pub fn property_lines(text: &str) -> Vec<PropertyLine> {
    logical_lines(text)
        .into_iter()
        .map(|(line, pair)| {
            let (key, value) = split_pair(&pair);
            PropertyLine { line, key, value }
        })
        .collect()
}

/// Writes `key=value` lines, keys sorted, with the escapes that [`parse_properties`] undoes.
pub fn format_properties<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)]) -> String {
    let mut pairs: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(key, value)| (key.as_ref(), value.as_ref()))
        .collect();
    pairs.sort_unstable();
    let mut text = String::new();
    for (key, value) in pairs {
        push_escaped(&mut text, key, true);
        text.push('=');
        push_escaped(&mut text, value, false);
        text.push('\n');
    }
    text
}

/// The known key nearest to an unknown one, if any is near enough to be what was meant.
pub fn nearest_key<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (unknown.chars().count() / 3).max(2);
    known
        .map(|key| {
            (
                edit_distance(&unknown.to_ascii_lowercase(), &key.to_ascii_lowercase()),
                key,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, key)| key)
}

fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, left_char) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right_char) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(left_char != *right_char);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

/// Lines without comments and blank ones, continuations joined, each with the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut pending: Option<(usize, String)> = None;
    for (number, natural) in text.lines().enumerate() {
        let trimmed = natural.trim_start_matches([' ', '\t', '\u{c}']);
        if pending.is_none() && (trimmed.is_empty() || trimmed.starts_with(['#', '!'])) {
            continue;
        }
        let (first, mut line) = pending.take().unwrap_or((number + 1, String::new()));
        let backslashes = trimmed.chars().rev().take_while(|c| *c == '\\').count();
        if backslashes % 2 == 1 {
            line.push_str(&trimmed[..trimmed.len() - 1]);
            pending = Some((first, line));
        } else {
            line.push_str(trimmed);
            lines.push((first, line));
        }
    }
    lines.extend(pending);
    lines
}

fn split_pair(line: &str) -> (String, String) {
    let blank = |c: char| matches!(c, ' ' | '\t' | '\u{c}');
    let mut escaped = false;
    let key_end = line
        .char_indices()
        .find(|(_, c)| {
            let ends = !escaped && (blank(*c) || matches!(c, '=' | ':'));
            escaped = !escaped && *c == '\\';
            ends
        })
        .map_or(line.len(), |(index, _)| index);
    let rest = line[key_end..].trim_start_matches(blank);
    let value = rest
        .strip_prefix(['=', ':'])
        .map_or(rest, |value| value.trim_start_matches(blank));
    (unescape(&line[..key_end]), unescape(value))
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.clone().take(4).collect();
                match u32::from_str_radix(&digits, 16)
                    .ok()
                    .filter(|_| digits.len() == 4)
                    .and_then(char::from_u32)
                {
                    Some(decoded) => {
                        plain.push(decoded);
                        chars.nth(3);
                    }
                    None => plain.push('u'),
                }
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

fn push_escaped(text: &mut String, part: &str, is_key: bool) {
    for (index, c) in part.char_indices() {
        match c {
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{c}' => text.push_str("\\f"),
            '\\' => text.push_str("\\\\"),
            ' ' if index == 0 || is_key => text.push_str("\\ "),
            '=' | ':' if is_key => text.extend(['\\', c]),
            '#' | '!' if is_key && index == 0 => text.extend(['\\', c]),
            _ => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    property_enum! {
        /// How the log reaches the disk.
        pub enum Flush { /// In groups.
            Sync = "SYNC_FLUSH", /// Later.
            Async = "ASYNC_FLUSH" }
    }

    properties! {
        /// A config.
        pub struct Sample {
            /// The port.
            "listenPort" listen_port: u16 = 10911, restart;
            /// The ratio.
            "ratio" ratio: f64 = 1.0, live;
            /// The flush.
            "flushDiskType" flush: Flush = Flush::Async, restart;
            /// The name.
            "brokerName" broker_name: String = "b".to_owned(), live;
        }
    }

    #[test]
    fn a_declaration_reads_writes_and_lists_its_keys() {
        let mut sample = Sample::default();
        assert_eq!(sample.set("flushDiskType", " SYNC_FLUSH "), Ok(true));
        assert_eq!(sample.flush, Flush::Sync);
        assert_eq!(sample.set("unknown", "1"), Ok(false));
        assert_eq!(sample.get("ratio").as_deref(), Some("1.0"));
        assert_eq!(
            Sample::KEYS.iter().map(|key| key.live).collect::<Vec<_>>(),
            [false, true, false, true]
        );
        assert_eq!((Sample::KEYS[0].default)(), "10911");
        assert_eq!(sample.pairs()[2], ("flushDiskType", "SYNC_FLUSH".to_owned()));
        let error = sample.set("listenPort", "x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`listenPort` cannot be `x`: expected a number from 0 to 65535"
        );
    }

    #[test]
    fn property_files_are_read_as_java_reads_them() {
        let text = "# c\n! c\n\nbrokerName = a b \nlistenPort:1\nbare\npath /x\\\n   /y\nu=\\u0041\\tz\\\\\nk\\=ey=v\nlistenPort=2\nblank=\\ffirst\n";
        let expected: Vec<(String, String)> = [
            ("brokerName", "a b "),
            ("listenPort", "2"),
            ("bare", ""),
            ("path", "/x/y"),
            ("u", "A\tz\\"),
            ("k=ey", "v"),
            ("blank", "\u{c}first"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        assert_eq!(parse_properties(text), expected);
        let mut sorted = expected.clone();
        sorted.sort();
        assert_eq!(parse_properties(&format_properties(&expected)), sorted);
    }

    #[test]
    fn a_pair_knows_its_line() {
        let lines = property_lines("# c\na=1\n\nb=x\\\n  y\na=2\n");
        let places: Vec<(usize, &str, &str)> = lines
            .iter()
            .map(|line| (line.line, line.key.as_str(), line.value.as_str()))
            .collect();
        assert_eq!(places, [(2, "a", "1"), (4, "b", "xy"), (6, "a", "2")]);
    }

    #[test]
    fn hostile_escapes_do_no_harm() {
        assert_eq!(parse_properties("a=\\u00"), [("a".to_owned(), "u00".to_owned())]);
        assert_eq!(
            parse_properties("a=\\ud800x\\"),
            [("a".to_owned(), "ud800x".to_owned())]
        );
    }

    #[test]
    fn the_nearest_key_is_found_or_none_is_near() {
        let known = ["mappedFileSizeCommitLog", "brokerName"];
        assert_eq!(
            nearest_key("mapedFileSizeCommitLog", known.into_iter()),
            Some("mappedFileSizeCommitLog")
        );
        assert_eq!(nearest_key("zzz", known.into_iter()), None);
    }

    #[test]
    fn updates_replace_the_snapshot() {
        let live = Live::new(Sample::default());
        let before = live.get().clone();
        live.update(|sample| sample.listen_port = 1);
        assert_eq!((before.listen_port, live.get().listen_port), (10911, 1));
    }
}

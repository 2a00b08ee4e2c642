//! The JSON dialect of Java peers (fastjson2) as a serde format.
//!
//! What goes out is standard JSON but for one thing the Java classes insist on: a map keyed by an object has that object,
//! raw, at the key position.
//!
//! ```text
//! {"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:5}}
//! ```
//!
//! - Integer keys are quoted, although Java writes them bare: every Java class reads them quoted, and some read only that.
//! - `None` is left out, as a field and as a map entry. At the top it is no body at all.
//! - Doubles look as `Double.toString` prints them, NaN becomes `null`.
//!
//! What comes in is read as leniently as fastjson2 does (see [`parse`](Value::parse) for the syntax and `de.rs` for the
//! coercions), because config files and peers were written by it. Input never panics and never recurses deeper than
//! [`MAX_DEPTH`].

mod de;
mod parse;
mod ser;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use de::or_default;
pub use parse::{MAX_DEPTH, Value};

/// Writes compact JSON, the form of bodies.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    ser::Writer::compact().write(value)
}

/// Writes one field per line, indented with tabs: the form of config files.
pub fn to_pretty<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    ser::Writer::pretty().write(value)
}

/// Reads a body or a config file. Bytes that are no UTF-8 are read as replacement characters, as Java does.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    from_str(&String::from_utf8_lossy(bytes))
}

/// Reads a text, for JSON that travels inside a header field.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    T::deserialize(&Value::parse(text)?)
}

/// Why a text could not be read, or a value not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not JSON, even by fastjson's standards.
    #[error("invalid JSON at byte {offset}: {expected} expected")]
    Syntax {
        /// Where the text stops making sense.
        offset: usize,
        /// What would have made sense there.
        expected: &'static str,
    },
    /// Objects or arrays lie inside each other more than [`MAX_DEPTH`] times.
    #[error("JSON is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The JSON does not fit the type, or the type does not fit JSON.
    #[error("{0}")]
    Mismatch(String),
}

impl serde::ser::Error for Error {
    fn custom<M: std::fmt::Display>(message: M) -> Self {
        Error::Mismatch(message.to_string())
    }
}

impl serde::de::Error for Error {
    fn custom<M: std::fmt::Display>(message: M) -> Self {
        Error::Mismatch(message.to_string())
    }
}

#[cfg(test)]
mod tests;

//! JSON bodies: from request to struct and from struct to answer, with the refusals that may come of it.

use bytes::Bytes;
use remoting::body::fastjson;
use remoting::request::Refusal;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The body of a request.
pub(crate) fn parse_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    fastjson::from_slice(body)
        .map_err(|error| Refusal::system_error(format!("request body cannot be read: {error}")))
}

/// The body of an answer.
pub(crate) fn to_body<T: Serialize>(value: &T) -> Result<Bytes, Refusal> {
    fastjson::to_vec(value)
        .map(Bytes::from)
        .map_err(|error| Refusal::system_error(format!("response body cannot be written: {error}")))
}

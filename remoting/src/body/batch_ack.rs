//! BATCH_ACK_MESSAGE: many acks in one request, each a bit set relative to a start offset.

use base64_bits::{decode, encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Acks of several queues.
///
/// Reference: BatchAckMessageRequestBody
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BatchAckMessageRequestBody {
    /// One per queue and pop
    pub acks: Vec<BatchAck>,
    /// Broker name
    pub broker_name: String,
}

/// Acks of messages of one pop from one queue.
///
/// Reference: BatchAck
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchAck {
    /// Bit n: the message at `start_offset + n` is acknowledged
    #[serde(rename = "b")]
    pub bit_set: BitSet,
    /// Consumer group
    #[serde(rename = "c")]
    pub consumer_group: String,
    /// Invisible time of the pop, ms
    #[serde(rename = "it")]
    pub invisible_time_ms: i64,
    /// When the messages were popped, ms
    #[serde(rename = "pt")]
    pub pop_time_ms: i64,
    /// Queue id
    #[serde(rename = "q")]
    pub queue_id: i32,
    /// `0` normal topic, `1` retry topic, `2` retry topic V2
    #[serde(rename = "r")]
    pub retry: String,
    /// Queue of the revive topic
    #[serde(rename = "rq")]
    pub revive_queue_id: i32,
    /// Queue offset of bit 0
    #[serde(rename = "so")]
    pub start_offset: i64,
    /// Topic
    #[serde(rename = "t")]
    pub topic: String,
}

/// Bits as Java writes a `java.util.BitSet`: base64 of its bytes, least significant first, without trailing zeros.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BitSet(Vec<u8>);

impl BitSet {
    /// Sets a bit.
    pub fn set(&mut self, bit: usize) {
        if self.0.len() <= bit / 8 {
            self.0.resize(bit / 8 + 1, 0);
        }
        self.0[bit / 8] |= 1 << (bit % 8);
    }

    /// Whether a bit is set.
    pub fn contains(&self, bit: usize) -> bool {
        self.0
            .get(bit / 8)
            .is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
    }

    /// The bits that are set, rising.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let bytes = self.0.iter().enumerate().filter(|(_, byte)| **byte != 0);
        bytes.flat_map(|(at, byte)| {
            (0..8)
                .filter(move |bit| byte & (1 << bit) != 0)
                .map(move |bit| at * 8 + bit)
        })
    }
}

impl FromIterator<usize> for BitSet {
    fn from_iter<I: IntoIterator<Item = usize>>(bits: I) -> Self {
        let mut set = BitSet::default();
        bits.into_iter().for_each(|bit| set.set(bit));
        set
    }
}

impl Serialize for BitSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for BitSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = decode(&text).ok_or_else(|| de::Error::custom("bit set is not base64"))?;
        bytes.truncate(
            bytes
                .iter()
                .rposition(|&byte| byte != 0)
                .map_or(0, |last| last + 1),
        );
        Ok(BitSet(bytes))
    }
}

/// Standard base64 with padding.
mod base64_bits {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    pub fn encode(bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
        for chunk in bytes.chunks(3) {
            let group = chunk
                .iter()
                .enumerate()
                .fold(0u32, |group, (i, &byte)| group | u32::from(byte) << (16 - 8 * i));
            for i in 0..4 {
                let sextet = (group >> (18 - 6 * i)) as usize & 63;
                text.push(if i <= chunk.len() {
                    ALPHABET[sextet] as char
                } else {
                    '='
                });
            }
        }
        text
    }

    pub fn decode(text: &str) -> Option<Vec<u8>> {
        let digits = text.trim_end_matches('=');
        let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
        let (mut pending, mut pending_bits) = (0u32, 0);
        for digit in digits.bytes() {
            let sextet = ALPHABET.iter().position(|&letter| letter == digit)?;
            pending = (pending << 6 | sextet as u32) & 0xffff;
            pending_bits += 6;
            if pending_bits >= 8 {
                pending_bits -= 8;
                bytes.push((pending >> pending_bits) as u8);
            }
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::fastjson;

    #[test]
    fn bit_sets_are_base64_of_little_endian_bytes() {
        let bits: BitSet = [0, 3, 9].into_iter().collect();
        assert_eq!(fastjson::to_vec(&bits).unwrap(), b"\"CQI=\"");
        let back: BitSet = fastjson::from_slice(b"\"CQI=\"").unwrap();
        assert_eq!(back.iter().collect::<Vec<_>>(), [0, 3, 9]);
    }

    #[test]
    fn bit_sets_of_every_length_survive() {
        for length in 0..70 {
            let bits: BitSet = (0..length).filter(|bit| bit % 3 != 1).collect();
            let text = fastjson::to_vec(&bits).unwrap();
            assert_eq!(fastjson::from_slice::<BitSet>(&text).unwrap(), bits);
        }
    }

    #[test]
    fn a_bit_set_that_is_no_base64_is_refused() {
        assert!(fastjson::from_slice::<BitSet>(b"\"C*I=\"").is_err());
        assert!(fastjson::from_slice::<BitSet>(b"[0,3]").is_err());
    }
}

//! RegisterBrokerBody: all topics of a broker, as REGISTER_BROKER carries them, plain or compressed.
//!
//! The plain form is JSON. The compressed form is one zlib stream of length-prefixed parts, lengths and counts as
//! big-endian `int`:
//!
//! ```text
//! | length | DataVersion JSON |
//! | topics | then per topic:   length | name readQueueNums writeQueueNums perm filterType attributesJson |
//! | length | JSON array of filter servers |
//! | count  | then per mapping: length | TopicQueueMappingInfo JSON |       versions from V5_0_0 on
//! ```
//!
//! The compressed form loses `order`, `topicSysFlag` and the static-topic details.
//!
//! Reference: RegisterBrokerBody

use std::collections::BTreeMap;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use super::fastjson;
use super::static_topic::TopicQueueMappingInfo;
use super::topic::{TopicConfig, TopicConfigAndMappingSerializeWrapper, TopicFilterType};

/// Longest decompressed body read: about 500,000 topics, and the most a hostile stream can make us allocate.
pub const MAX_INFLATED_BYTES: u64 = 64 * 1024 * 1024;

/// First protocol version whose compressed body ends with the mapping section.
const V5_0_0: i32 = 413;

/// Topics of a broker on their way to the name server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RegisterBrokerBody {
    /// Always empty since filter servers are gone
    pub filter_server_list: Vec<String>,
    /// The topics
    pub topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper,
}

/// Why a body is refused.
#[derive(Debug, thiserror::Error)]
pub enum RegisterBrokerBodyError {
    /// JSON that does not fit
    #[error("register broker body: {0}")]
    Json(#[from] fastjson::Error),
    /// The stream does not decompress
    #[error("register broker body: inflate: {0}")]
    Inflate(#[from] std::io::Error),
    /// The stream decompresses to more than is read
    #[error("register broker body: inflates to more than {limit_bytes} bytes")]
    TooLarge {
        /// [`MAX_INFLATED_BYTES`]
        limit_bytes: u64,
    },
    /// A part is missing or shorter than it says
    #[error("register broker body: ends within {0}")]
    Truncated(&'static str),
    /// A topic's text lacks fields, or they are no numbers
    #[error("register broker body: malformed topic {0:?}")]
    Topic(String),
}

impl RegisterBrokerBody {
    /// Writes the JSON form, or the compressed one.
    pub fn encode(&self, compressed: bool) -> Result<Vec<u8>, RegisterBrokerBodyError> {
        let parts = if compressed {
            self.parts()?
        } else {
            return Ok(fastjson::to_vec(self)?);
        };
        let mut stream = ZlibEncoder::new(Vec::new(), Compression::best());
        stream.write_all(&parts)?;
        Ok(stream.finish()?)
    }

    /// Reads either form. `version` is that of the frame it came in.
    pub fn decode(bytes: &[u8], compressed: bool, version: i32) -> Result<Self, RegisterBrokerBodyError> {
        if !compressed {
            return Ok(fastjson::from_slice(bytes)?);
        }
        Self::from_parts(&inflate(bytes, MAX_INFLATED_BYTES)?, version)
    }

    fn parts(&self) -> Result<Vec<u8>, fastjson::Error> {
        let wrapper = &self.topic_config_serialize_wrapper;
        let mut parts = Vec::new();
        push_part(&mut parts, &fastjson::to_vec(&wrapper.data_version)?);
        push_count(&mut parts, wrapper.topic_config_table.len());
        for config in wrapper.topic_config_table.values() {
            push_part(&mut parts, topic_text(config)?.as_bytes());
        }
        push_part(&mut parts, &fastjson::to_vec(&self.filter_server_list)?);
        push_count(&mut parts, wrapper.topic_queue_mapping_info_map.len());
        for info in wrapper.topic_queue_mapping_info_map.values() {
            push_part(&mut parts, &fastjson::to_vec(info)?);
        }
        Ok(parts)
    }

    fn from_parts(bytes: &[u8], version: i32) -> Result<Self, RegisterBrokerBodyError> {
        let mut parts = Parts { rest: bytes };
        let mut body = RegisterBrokerBody::default();
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.data_version = fastjson::from_slice(parts.part("data version")?)?;
        for _ in 0..parts.int("topic count")? {
            let config = parse_topic_text(&String::from_utf8_lossy(parts.part("topic")?))?;
            wrapper
                .topic_config_table
                .insert(config.topic_name.clone(), config);
        }
        body.filter_server_list = fastjson::from_slice(parts.part("filter servers")?)?;
        if version >= V5_0_0 {
            for _ in 0..parts.int("mapping count")? {
                let info: TopicQueueMappingInfo = fastjson::from_slice(parts.part("mapping")?)?;
                wrapper
                    .topic_queue_mapping_info_map
                    .insert(info.topic.clone(), info);
            }
        }
        Ok(body)
    }
}

fn inflate(bytes: &[u8], limit_bytes: u64) -> Result<Vec<u8>, RegisterBrokerBodyError> {
    let mut inflated = Vec::new();
    ZlibDecoder::new(bytes)
        .take(limit_bytes + 1)
        .read_to_end(&mut inflated)?;
    if inflated.len() as u64 > limit_bytes {
        return Err(RegisterBrokerBodyError::TooLarge { limit_bytes });
    }
    Ok(inflated)
}

/// Reference: TopicConfig.encode
fn topic_text(config: &TopicConfig) -> Result<String, fastjson::Error> {
    let TopicConfig {
        topic_name,
        read_queue_nums,
        write_queue_nums,
        perm,
        topic_filter_type,
        ..
    } = config;
    let attributes = fastjson::to_vec(&config.attributes)?;
    let attributes = String::from_utf8_lossy(&attributes);
    let filter_type = topic_filter_type.name();
    Ok(format!(
        "{topic_name} {read_queue_nums} {write_queue_nums} {perm} {filter_type} {attributes}"
    ))
}

/// Reads what [`topic_text`] writes. Attributes are the rest of the text, blanks in their values included, while Java
/// drops them then; attributes that are no JSON are dropped here too.
fn parse_topic_text(text: &str) -> Result<TopicConfig, RegisterBrokerBodyError> {
    let mut fields = text.splitn(6, ' ');
    let mut field = || fields.next().unwrap_or_default();
    let config = (|| {
        Some(TopicConfig {
            topic_name: field().to_owned(),
            read_queue_nums: field().parse().ok()?,
            write_queue_nums: field().parse().ok()?,
            perm: field().parse().ok()?,
            topic_filter_type: TopicFilterType::from_name(field())?,
            attributes: fastjson::from_str::<BTreeMap<_, _>>(field()).unwrap_or_default(),
            ..TopicConfig::default()
        })
    })();
    config.ok_or_else(|| RegisterBrokerBodyError::Topic(text.chars().take(200).collect()))
}

fn push_count(parts: &mut Vec<u8>, count: usize) {
    let count = i32::try_from(count).expect("tables in memory have fewer than 2^31 entries");
    parts.extend_from_slice(&count.to_be_bytes());
}

fn push_part(parts: &mut Vec<u8>, part: &[u8]) {
    push_count(parts, part.len());
    parts.extend_from_slice(part);
}

struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    fn int(&mut self, what: &'static str) -> Result<i32, RegisterBrokerBodyError> {
        let (int, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(RegisterBrokerBodyError::Truncated(what))?;
        self.rest = rest;
        Ok(i32::from_be_bytes(*int))
    }

    fn part(&mut self, what: &'static str) -> Result<&'a [u8], RegisterBrokerBodyError> {
        let length = usize::try_from(self.int(what)?).ok();
        let (part, rest) = length
            .and_then(|length| self.rest.split_at_checked(length))
            .ok_or(RegisterBrokerBodyError::Truncated(what))?;
        self.rest = rest;
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> RegisterBrokerBody {
        let mut body = RegisterBrokerBody::default();
        let mut config = TopicConfig::new("TopicTest", 4);
        config.attributes.insert("message.type".into(), "NORMAL".into());
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.topic_config_table.insert("TopicTest".into(), config);
        wrapper.data_version.next(1_700_000_000_000);
        body
    }

    #[test]
    fn both_forms_survive_a_round_trip() {
        let mut body = body();
        let info = TopicQueueMappingInfo {
            topic: "Static".into(),
            curr_id_map: [(0, 3)].into(),
            ..Default::default()
        };
        let infos = &mut body.topic_config_serialize_wrapper.topic_queue_mapping_info_map;
        infos.insert("Static".into(), info);
        for compressed in [false, true] {
            let bytes = body.encode(compressed).unwrap();
            assert_eq!(RegisterBrokerBody::decode(&bytes, compressed, 513).unwrap(), body);
        }
    }

    #[test]
    fn blanks_in_attribute_values_survive_the_compressed_form() {
        let mut body = body();
        let table = &mut body.topic_config_serialize_wrapper.topic_config_table;
        table
            .get_mut("TopicTest")
            .unwrap()
            .attributes
            .insert("note".into(), "two words".into());
        let bytes = body.encode(true).unwrap();
        assert_eq!(RegisterBrokerBody::decode(&bytes, true, 513).unwrap(), body);
    }

    #[test]
    fn brokers_before_5_0_send_no_mapping_section() {
        let mut parts = body().parts().unwrap();
        parts.truncate(parts.len() - 4);
        assert_eq!(RegisterBrokerBody::from_parts(&parts, 412).unwrap(), body());
        assert!(matches!(
            RegisterBrokerBody::from_parts(&parts, 413),
            Err(RegisterBrokerBodyError::Truncated("mapping count"))
        ));
    }

    #[test]
    fn a_body_cut_anywhere_is_an_error() {
        let parts = body().parts().unwrap();
        for end in 0..parts.len() {
            assert!(
                RegisterBrokerBody::from_parts(&parts[..end], 513).is_err(),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn a_stream_that_inflates_beyond_the_limit_is_refused() {
        let mut stream = ZlibEncoder::new(Vec::new(), Compression::best());
        stream.write_all(&[0; 1000]).unwrap();
        let stream = stream.finish().unwrap();
        assert_eq!(inflate(&stream, 1000).unwrap().len(), 1000);
        assert!(matches!(
            inflate(&stream, 999),
            Err(RegisterBrokerBodyError::TooLarge { limit_bytes: 999 })
        ));
    }

    #[test]
    fn a_topic_without_numbers_is_refused() {
        for text in ["", "T", "T 4 4", "T four 4 6 SINGLE_TAG {}", "T 4 4 6 NO_TAG {}"] {
            assert!(parse_topic_text(text).is_err(), "{text:?}");
        }
        assert_eq!(
            parse_topic_text("T 4 4 6 SINGLE_TAG").unwrap(),
            TopicConfig::new("T", 4)
        );
        assert_eq!(
            parse_topic_text("T 4 4 6 SINGLE_TAG {broken").unwrap(),
            TopicConfig::new("T", 4)
        );
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, cut in 0usize..200, byte: u8) {
            let mut parts = body().parts().unwrap();
            let at = cut % parts.len();
            parts[at] = byte;
            // Only a panic would be wrong.
            let _ = RegisterBrokerBody::from_parts(&parts, 513);
            let _ = RegisterBrokerBody::from_parts(&bytes, 513);
            let _ = RegisterBrokerBody::decode(&bytes, true, 513);
        }
    }
}

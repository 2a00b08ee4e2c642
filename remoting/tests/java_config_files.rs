//! Config files a Java 5.5.0 broker wrote (`data/java-config`) are read as it meant them, and lose nothing when written.

use remoting::body::fastjson::{self, Value};
use remoting::body::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

macro_rules! java_config {
    ($name:literal) => {
        include_bytes!(concat!("data/java-config/", $name))
    };
}

fn read<T: DeserializeOwned>(file: &[u8]) -> T {
    fastjson::from_slice(file).unwrap()
}

/// Tables without order: entries and text lists sorted, keys as text.
fn canonical(value: &Value<'_>) -> serde_json::Value {
    match value {
        Value::Object(entries) => {
            let key_text = |key: &Value<'_>| match key {
                Value::String(text) => text.to_string(),
                other => String::from_utf8(fastjson::to_vec(other).unwrap()).unwrap(),
            };
            entries
                .iter()
                .map(|(key, value)| (key_text(key), canonical(value)))
                .collect()
        }
        Value::Array(elements) => {
            let mut elements: Vec<serde_json::Value> = elements.iter().map(canonical).collect();
            elements.sort_by_key(|element| element.as_str().map(str::to_owned));
            elements.into()
        }
        scalar => serde_json::from_slice(&fastjson::to_vec(scalar).unwrap()).unwrap(),
    }
}

/// Writes the file again and compares it with what Java wrote.
fn assert_lossless<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    java: &[u8],
    derived: &[&str],
) {
    let contents: T = read(java);
    let rewritten = fastjson::to_pretty(&contents).unwrap();
    assert_eq!(read::<T>(&rewritten), contents);
    let mut expected = canonical(&Value::parse(std::str::from_utf8(java).unwrap()).unwrap());
    derived.iter().for_each(|pointer| remove(&mut expected, pointer));
    assert_eq!(
        canonical(&Value::parse(std::str::from_utf8(&rewritten).unwrap()).unwrap()),
        expected
    );
}

fn remove(value: &mut serde_json::Value, pointer: &str) {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
    let object = value
        .pointer_mut(parent)
        .and_then(serde_json::Value::as_object_mut)
        .expect("the parent is an object");
    assert!(object.remove(field).is_some(), "{pointer} is there");
}

#[test]
fn topics() {
    let file = java_config!("topics.json");
    let topics: TopicConfigSerializeWrapper = read(file);
    assert_eq!(
        topics.data_version,
        DataVersion {
            counter: 22,
            state_version: 0,
            timestamp: 1_795_377_561_730
        }
    );
    let delay = &topics.topic_config_table["FxDelay"];
    assert_eq!(
        delay.attributes,
        [("message.type".to_owned(), "DELAY".to_owned())].into()
    );
    assert_eq!(
        (delay.perm, delay.read_queue_nums, delay.write_queue_nums),
        (6, 1, 1)
    );
    assert_eq!(
        topics.topic_config_table["SCHEDULE_TOPIC_XXXX"].write_queue_nums,
        18
    );
    assert_lossless::<TopicConfigSerializeWrapper>(file, &[]);
}

#[test]
fn message_request_modes() {
    let file = java_config!("messageRequestMode.json");
    let modes: MessageRequestModeSerializeWrapper = read(file);
    let of_tags = &modes.message_request_mode_map["FxTags"];
    assert_eq!(of_tags["FxPopCG"].pop_share_queue_num, 8);
    assert_eq!(of_tags["FxCG"].mode, MessageRequestMode::Pull);
    assert_lossless::<MessageRequestModeSerializeWrapper>(file, &[]);
}

#[test]
fn subscription_groups() {
    let file = java_config!("subscriptionGroup.json");
    let groups: SubscriptionGroupWrapper = read(file);
    assert_eq!(groups.data_version.counter, 6);
    let pop = &groups.subscription_group_table["FxPopCG"];
    assert_eq!(
        *pop,
        SubscriptionGroupConfig {
            retry_max_times: 2,
            ..SubscriptionGroupConfig::new("FxPopCG")
        }
    );
    assert!(groups.subscription_group_table["FxFifoCG"].consume_message_orderly);
    assert_lossless::<SubscriptionGroupWrapper>(file, &[]);
}

#[test]
fn consumer_offsets() {
    let file = java_config!("consumerOffset.json");
    let offsets: ConsumerOffsetFile = read(file);
    assert_eq!(offsets.offset_table["FxTags@FxCG"], [(0, 30), (1, 30)].into());
    assert_eq!(
        offsets.pull_offset_table["FxPlain@TOOLS_CONSUMER"],
        [(0, 51), (1, 50), (2, 50), (3, 50)].into()
    );
    assert_eq!(
        offsets.group_topic_map["FxFifoCG"],
        ["FxPopFifo".to_owned()].into()
    );
    assert!(offsets.reset_offset_table.is_empty() && offsets.lmq_offset_table.is_none());
    assert_lossless::<ConsumerOffsetFile>(file, &[]);

    let as_slaves_read_it: ConsumerOffsetSerializeWrapper = read(file);
    assert_eq!(as_slaves_read_it.offset_table, offsets.offset_table);
}

#[test]
fn delay_offsets() {
    let file = java_config!("delayOffset.json");
    let delays: DelayOffsetSerializeWrapper = read(file);
    assert_eq!(
        delays.offset_table,
        [(1, 1), (2, 2), (3, 3), (17, 0), (18, 0)].into()
    );
    assert_lossless::<DelayOffsetSerializeWrapper>(file, &[]);
}

#[test]
fn consumer_filters() {
    let file = java_config!("consumerFilter.json");
    let filters: ConsumerFilterFile = read(file);
    let filter = &filters.filter_data_by_topic["FxSql"].group_filter_data["FxSqlCG"];
    assert_eq!(filter.expression, "a > 5 AND region = 'hz'");
    let bloom = filter.bloom_filter_data.as_ref().unwrap();
    assert_eq!(
        (bloom.bit_num, bloom.bit_pos.as_slice()),
        (112, [47, 37, 4].as_slice())
    );
    assert_lossless::<ConsumerFilterFile>(file, &["/filterDataByTopic/FxSql/groupFilterData/FxSqlCG/dead"]);
}

#[test]
fn orderly_pop_state() {
    let file = java_config!("consumerOrderInfo.json");
    let orders: ConsumerOrderInfoFile = read(file);
    let order = &orders.table["FxPopFifo@FxFifoCG"][&0];
    assert_eq!(
        (order.offset_list.as_slice(), order.commit_offset_bit),
        ([0, 1, 2].as_slice(), 1)
    );
    assert_eq!(
        (order.attempt_id.as_deref(), order.invisible_time_ms),
        (Some("attempt-1"), Some(600_000))
    );
    assert_lossless::<ConsumerOrderInfoFile>(file, &["/orderInfoCount", "/orderedConsumptionLevel"]);
}

#[test]
fn timer_and_transaction_metrics() {
    let timers = java_config!("timermetrics");
    assert_eq!(
        read::<TimerMetricsSerializeWrapper>(timers).timing_count["FxTimer"].count,
        2
    );
    assert_lossless::<TimerMetricsSerializeWrapper>(timers, &[]);
    let transactions = java_config!("transactionMetrics");
    assert_eq!(
        read::<TransactionMetricsSerializeWrapper>(transactions)
            .data_version
            .counter,
        8
    );
    assert_lossless::<TransactionMetricsSerializeWrapper>(transactions, &[]);
}

//! Names that the protocol reserves, and which names users may give.
//!
//! Reference: `TopicValidator`, `MixAll`, `KeyBuilder`.

use thiserror::Error;

/// The template that new topics inherit from when topics are created on first use.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Where delayed messages wait, one queue a level.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// For benchmark tools.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Half messages.
pub const TRANS_HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Which half messages are done.
pub const TRANS_OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages of the RocksDB variant; exists on every 5.5.0 broker.
pub const ROCKSDB_TRANS_HALF_TOPIC: &str = "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC";
/// Which of those are done.
pub const ROCKSDB_TRANS_OP_HALF_TOPIC: &str = "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC";
/// Half messages that nobody decided.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Message traces.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Self test of the broker.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Events of consumers whose offset was out of range.
pub const OFFSET_MOVED_EVENT: &str = "OFFSET_MOVED_EVENT";
/// Reserved by the reference for checkpoints of its timer in RocksDB.
pub const CHECKPOINT_TOPIC: &str = "CHECKPOINT_TOPIC";
/// Messages with an arbitrary delivery time.
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// The tag of a message that takes another one of the timer back.
pub const RECALL_MESSAGE_TAG: &str = "_RECALL_TAG_";
/// Topics that start with it belong to the broker.
pub const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";
/// Before the name of the pop revive log's cluster.
pub const REVIVE_LOG_PREFIX: &str = "rmq_sys_REVIVE_LOG_";
/// The group by which the pop revive keeps its progress.
pub const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";
/// Before the broker name in the topic by which brokers of a group are kept in step.
pub const SYNC_BROKER_MEMBER_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";
/// After the cluster name in the topic that keeps replies.
pub const REPLY_TOPIC_SUFFIX: &str = "_REPLY_TOPIC";
/// Before the group in its retry topic.
pub const RETRY_TOPIC_PREFIX: &str = "%RETRY%";
/// Before the group in its dead-letter topic.
pub const DLQ_TOPIC_PREFIX: &str = "%DLQ%";
/// Before the name of a light message queue.
pub const LMQ_PREFIX: &str = "%LMQ%";
/// A light message queue has one queue.
pub const LMQ_QUEUE_ID: i32 = 0;
/// The longest name of a light message queue, in bytes: that of a directory.
pub const LMQ_MAX_BYTES: usize = 255;
/// Groups that start with it belong to the broker.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
/// Whoever takes delayed messages out of the schedule topic, in statistics.
pub const SCHEDULE_CONSUMER_GROUP: &str = "SCHEDULE_CONSUMER";
/// The group in which mqadmin reads messages.
pub const TOOLS_CONSUMER_GROUP: &str = "TOOLS_CONSUMER";
/// The group by which the transaction check keeps its progress.
pub const TRANSACTION_GROUP: &str = "CID_RMQ_SYS_TRANS";
/// The producer group that every client registers for its own use.
pub const CLIENT_INNER_PRODUCER_GROUP: &str = "CLIENT_INNER_PRODUCER";
/// NameServer KV namespace of the order configs.
pub const ORDER_TOPIC_CONFIG_NAMESPACE: &str = "ORDER_TOPIC_CONFIG";
/// The region that sends are answered with.
pub const DEFAULT_REGION: &str = "DefaultRegion";

/// Groups that exist on every broker without being created. Reference: `SubscriptionGroupManager.init`.
pub const BUILT_IN_GROUPS: [&str; 9] = [
    TOOLS_CONSUMER_GROUP,
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    TRANSACTION_GROUP,
    "__MONITOR_CONSUMER",
];

/// The longest topic name a user may create, in characters.
pub const TOPIC_MAX_LENGTH: usize = 127;
/// The longest topic name a record can hold; only retry topics may exceed [`TOPIC_MAX_LENGTH`].
pub const RETRY_TOPIC_MAX_LENGTH: usize = 255;
/// The longest group name. Reference: `TopicValidator.GROUP_MAX_LENGTH`.
pub const GROUP_MAX_LENGTH: usize = 120;

/// The topics of the broker that have fixed names.
pub const SYSTEM_TOPICS: [&str; 11] = [
    CHECKPOINT_TOPIC,
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    TRANS_HALF_TOPIC,
    TRACE_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
    TIMER_TOPIC,
];

const NOT_ALLOWED_SEND_TOPICS: [&str; 6] = [
    SCHEDULE_TOPIC,
    TRANS_HALF_TOPIC,
    TRANS_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_EVENT,
];

/// Why a topic or group name is refused; the words are the reference's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// Empty or only blanks.
    #[error("The specified {0} is blank.")]
    Blank(&'static str),
    /// A character outside `%|a-zA-Z0-9_-`.
    #[error("The specified {what}: {name}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    IllegalCharacter {
        /// A topic or a group.
        what: &'static str,
        /// It, or its beginning.
        name: String,
    },
    /// Longer than the limit.
    #[error("The specified {what}: {name}, is longer than {what} max length: {max_length}")]
    TooLong {
        /// A topic or a group.
        what: &'static str,
        /// It, or its beginning.
        name: String,
        /// In bytes.
        max_length: usize,
    },
    /// A retry or dead-letter topic longer than the limit.
    #[error(
        "The specified topic is DLQ or Retry topic: {name}, and it's longer than topic max length: {RETRY_TOPIC_MAX_LENGTH}"
    )]
    TooLongOfGroup {
        /// It, or its beginning.
        name: String,
    },
}

/// Characters of a refused name that are told, at most.
const TOLD_CHARACTERS: usize = 1_024;

/// The retry topic of a consumer group.
pub fn retry_topic(group: &str) -> String {
    [RETRY_TOPIC_PREFIX, group].concat()
}

/// The dead-letter topic of a consumer group.
pub fn dlq_topic(group: &str) -> String {
    [DLQ_TOPIC_PREFIX, group].concat()
}

/// The group of a retry topic; `None` for other topics.
pub fn group_of_retry_topic(topic: &str) -> Option<&str> {
    topic.strip_prefix(RETRY_TOPIC_PREFIX)
}

/// Where the checkpoints and acks of pops wait for their time. Reference: `PopAckConstants.buildClusterReviveTopic`.
pub fn revive_topic(cluster: &str) -> String {
    [REVIVE_LOG_PREFIX, cluster].concat()
}

/// How the retry topic of a group that pops a topic is called; both spellings may exist side by side.
///
/// Reference: `KeyBuilder.buildPopRetryTopicV1`, `buildPopRetryTopicV2`, `ExtraInfoUtil.getRetry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PopRetryNaming {
    /// `%RETRY%group_topic`, which is ambiguous: both names may hold an underscore.
    V1,
    /// `%RETRY%group+topic`.
    V2,
}

impl PopRetryNaming {
    /// The naming that `enableRetryTopicV2` asks for.
    pub fn configured(enable_retry_topic_v2: bool) -> Self {
        if enable_retry_topic_v2 {
            PopRetryNaming::V2
        } else {
            PopRetryNaming::V1
        }
    }

    fn separator(self) -> char {
        match self {
            PopRetryNaming::V1 => '_',
            PopRetryNaming::V2 => '+',
        }
    }

    /// The retry topic of a group for a topic.
    pub fn topic(self, topic: &str, group: &str) -> String {
        format!("{RETRY_TOPIC_PREFIX}{group}{}{topic}", self.separator())
    }

    /// Which of the namings a topic follows; `None` for one that is no retry topic.
    pub fn of(topic: &str) -> Option<Self> {
        let rest = topic.strip_prefix(RETRY_TOPIC_PREFIX)?;
        Some(if rest.contains('+') {
            PopRetryNaming::V2
        } else {
            PopRetryNaming::V1
        })
    }
}

/// The topic that a pop retry topic of this group is for; a topic that is none is its own.
///
/// Reference: `KeyBuilder.parseNormalTopic`.
pub fn popped_topic<'a>(topic: &'a str, group: &str) -> &'a str {
    topic
        .strip_prefix(RETRY_TOPIC_PREFIX)
        .and_then(|rest| rest.strip_prefix(group))
        .and_then(|rest| rest.strip_prefix(['_', '+']))
        .unwrap_or(topic)
}

/// Whether the topic belongs to the broker.
pub fn is_system_topic(topic: &str) -> bool {
    topic.starts_with(SYSTEM_TOPIC_PREFIX) || SYSTEM_TOPICS.contains(&topic)
}

/// Whether clients may not send to the topic.
pub fn is_not_allowed_send_topic(topic: &str) -> bool {
    NOT_ALLOWED_SEND_TOPICS.contains(&topic)
}

/// Whether the group belongs to the broker or to a tool.
pub fn is_system_group(group: &str) -> bool {
    group.starts_with(SYSTEM_GROUP_PREFIX) || BUILT_IN_GROUPS.contains(&group)
}

/// The light message queue of a light topic inside its topic. Reference: `LiteUtil.toLmqName`.
pub fn lmq_of_lite_topic(topic: &str, lite_topic: &str) -> String {
    [LMQ_PREFIX, "$", topic, "$", lite_topic].concat()
}

/// Whether a light message queue is that of a light topic. Reference: `LiteUtil.isLiteTopicQueue`.
pub fn is_lite_lmq(lmq: &str) -> bool {
    let rest = lmq.strip_prefix(LMQ_PREFIX);
    rest.is_some_and(|rest| rest.starts_with('$'))
}

/// Whether a light message queue may have this name: it becomes that of a directory, and one of a list.
pub fn is_possible_lmq(lmq: &str) -> bool {
    lmq.len() <= LMQ_MAX_BYTES && !lmq.contains(['/', '\0', ','])
}

/// The topic and the light topic inside it that a light message queue is of; `None` for any other name.
/// Reference: `LiteUtil.getParentTopic`, `getLiteTopic`.
pub fn lite_topic_of_lmq(lmq: &str) -> Option<(&str, &str)> {
    let (topic, lite_topic) = lmq.strip_prefix(LMQ_PREFIX)?.strip_prefix('$')?.split_once('$')?;
    let is_lite = !topic.is_empty() && !lite_topic.is_empty() && !lite_topic.contains('$');
    is_lite.then_some((topic, lite_topic))
}

/// Whether a topic may have this name; the limit counts characters. Retry and dead-letter topics may be longer, since
/// they carry the name of a group.
pub fn validate_topic(topic: &str) -> Result<(), NameError> {
    let of_group = topic.starts_with(RETRY_TOPIC_PREFIX) || topic.starts_with(DLQ_TOPIC_PREFIX);
    let max_length = if of_group {
        RETRY_TOPIC_MAX_LENGTH
    } else {
        TOPIC_MAX_LENGTH
    };
    match validate("topic", topic, max_length) {
        Err(NameError::TooLong { name, .. }) if of_group => Err(NameError::TooLongOfGroup { name }),
        result => result,
    }
}

/// Whether a user may create a group of this name.
pub fn validate_group(group: &str) -> Result<(), NameError> {
    validate("group", group, GROUP_MAX_LENGTH)
}

fn validate(what: &'static str, name: &str, max_length: usize) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank(what));
    }
    // Names become directory names: this is also what keeps `/` and `..` out of paths.
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"%|_-".contains(&byte))
    {
        let name = told(name);
        return Err(NameError::IllegalCharacter { what, name });
    }
    if name.len() > max_length {
        return Err(NameError::TooLong {
            what,
            name: told(name),
            max_length,
        });
    }
    Ok(())
}

fn told(name: &str) -> String {
    name.chars().take(TOLD_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_the_reference_does() {
        assert_eq!(validate_topic("TopicTest-1_%|"), Ok(()));
        assert_eq!(validate_topic(" "), Err(NameError::Blank("topic")));
        for name in ["a/../b", "tópico"] {
            assert_eq!(
                validate_topic(name).unwrap_err().to_string(),
                format!(
                    "The specified topic: {name}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
                )
            );
        }
        assert_eq!(validate_topic(&"a".repeat(127)), Ok(()));
        assert_eq!(validate_topic(&retry_topic(&"a".repeat(248))), Ok(()));
        let long = retry_topic(&"a".repeat(249));
        assert_eq!(
            validate_topic(&long).unwrap_err().to_string(),
            format!(
                "The specified topic is DLQ or Retry topic: {long}, and it's longer than topic max length: 255"
            )
        );
        let long = "a".repeat(128);
        assert_eq!(
            validate_topic(&long).unwrap_err().to_string(),
            format!("The specified topic: {long}, is longer than topic max length: 127")
        );
        let endless = validate_group(&"a".repeat(100_000)).unwrap_err().to_string();
        assert!(
            endless.len() < 1_200 && endless.ends_with("max length: 120"),
            "{endless}"
        );
    }

    #[test]
    fn retry_topics_name_their_group() {
        assert_eq!(retry_topic("g"), "%RETRY%g");
        assert_eq!(group_of_retry_topic("%RETRY%g"), Some("g"));
        assert_eq!(group_of_retry_topic("g"), None);
        assert_eq!(lmq_of_lite_topic("parent", "child"), "%LMQ%$parent$child");
        assert_eq!(lite_topic_of_lmq("%LMQ%$parent$child"), Some(("parent", "child")));
        assert!(is_lite_lmq("%LMQ%$a$b$c") && !is_lite_lmq("%LMQ%a") && !is_lite_lmq("a$b"));
        for impossible in [
            "%LMQ%$a$b/c",
            "%LMQ%$a$b,c",
            &lmq_of_lite_topic("a", &"x".repeat(255)),
        ] {
            assert!(!is_possible_lmq(impossible), "{impossible}");
        }
        assert!(is_possible_lmq("%LMQ%$a$b"));
        for other in [
            "%LMQ%a",
            "%LMQ%$a",
            "%LMQ%$$a",
            "%LMQ%$a$",
            "%LMQ%$a$b$c",
            "a$b$c",
        ] {
            assert_eq!(lite_topic_of_lmq(other), None, "{other}");
        }
        assert!(is_system_topic("rmq_sys_anything") && !is_system_topic("Orders"));
    }

    #[test]
    fn pop_retry_topics_are_named_in_two_ways_and_lead_back_to_their_topic() {
        let (v1, v2) = (
            PopRetryNaming::configured(false),
            PopRetryNaming::configured(true),
        );
        assert_eq!(v1.topic("Orders", "g_1"), "%RETRY%g_1_Orders");
        assert_eq!(v2.topic("Orders", "g_1"), "%RETRY%g_1+Orders");
        for naming in [v1, v2] {
            let retry = naming.topic("a_b", "g_1");
            assert_eq!(PopRetryNaming::of(&retry), Some(naming));
            assert_eq!(popped_topic(&retry, "g_1"), "a_b");
        }
        assert_eq!(PopRetryNaming::of("Orders"), None);
        assert_eq!(popped_topic("Orders", "g_1"), "Orders");
        assert_eq!(revive_topic("c"), "rmq_sys_REVIVE_LOG_c");
    }
}

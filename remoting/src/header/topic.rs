//! Topic administration on the broker.

use crate::header;

header! {
    /// UPDATE_AND_CREATE_TOPIC and UPDATE_AND_CREATE_STATIC_TOPIC.
    ///
    /// Reference: CreateTopicRequestHeader
    pub struct CreateTopicRequestHeader {
        topic: String = "topic";
        default_topic: Option<String> = "defaultTopic";
        read_queue_nums: i32 = "readQueueNums";
        write_queue_nums: i32 = "writeQueueNums";
        perm: i32 = "perm";
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: String = "topicFilterType", default "SINGLE_TAG".to_owned();
        topic_sys_flag: i32 = "topicSysFlag", default 0;
        order: bool = "order", default false;
        /// Changes: `+name=value` and `-name`, joined with commas.
        attributes: Option<String> = "attributes";
        force: bool = "force", default false;
    }
}

header! {
    /// DELETE_TOPIC_IN_BROKER.
    ///
    /// Reference: DeleteTopicRequestHeader
    pub struct DeleteTopicRequestHeader {
        topic: String = "topic";
    }
}

header! {
    /// GET_TOPIC_CONFIG.
    ///
    /// Reference: GetTopicConfigRequestHeader
    pub struct GetTopicConfigRequestHeader {
        topic: String = "topic";
        /// Whether the mapping of a static topic is wanted too.
        logical: Option<bool> = "lo";
    }
}

header! {
    /// GET_ALL_TOPIC_CONFIG, whole or in pages.
    ///
    /// Reference: GetAllTopicConfigRequestHeader
    pub struct GetAllTopicConfigRequestHeader {
        /// First entry of the page; absent: no pages.
        topic_seq: Option<i32> = "topicSeq";
        /// DataVersion JSON of the first page; another version starts over.
        data_version: Option<String> = "dataVersion";
        max_topic_num: Option<i32> = "maxTopicNum";
    }
}

header! {
    /// Answer to GET_ALL_TOPIC_CONFIG.
    ///
    /// Reference: GetAllTopicConfigResponseHeader
    pub struct GetAllTopicConfigResponseHeader {
        total_topic_num: Option<i32> = "totalTopicNum";
    }
}

header! {
    /// GET_TOPIC_STATS_INFO.
    ///
    /// Reference: GetTopicStatsInfoRequestHeader
    pub struct GetTopicStatsInfoRequestHeader {
        topic: String = "topic";
        logical: Option<bool> = "lo";
    }
}

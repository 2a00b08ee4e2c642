//! Consumer groups: configuration, connections, progress.

use crate::header;

header! {
    /// GET_ALL_SUBSCRIPTIONGROUP_CONFIG, whole or in pages.
    ///
    /// Reference: GetAllSubscriptionGroupRequestHeader
    pub struct GetAllSubscriptionGroupRequestHeader {
        /// First entry of the page; absent: no pages.
        group_seq: Option<i32> = "groupSeq";
        /// DataVersion JSON of the first page; another version starts over.
        data_version: Option<String> = "dataVersion";
        max_group_num: Option<i32> = "maxGroupNum";
    }
}

header! {
    /// Answer to GET_ALL_SUBSCRIPTIONGROUP_CONFIG.
    ///
    /// Reference: GetAllSubscriptionGroupResponseHeader
    pub struct GetAllSubscriptionGroupResponseHeader {
        total_group_num: Option<i32> = "totalGroupNum";
    }
}

header! {
    /// DELETE_SUBSCRIPTIONGROUP.
    ///
    /// Reference: DeleteSubscriptionGroupRequestHeader
    pub struct DeleteSubscriptionGroupRequestHeader {
        group_name: String = "groupName";
        /// Whether its offsets go too.
        clean_offset: bool = "cleanOffset", default false;
    }
}

header! {
    /// GET_SUBSCRIPTIONGROUP_CONFIG.
    ///
    /// Reference: GetSubscriptionGroupConfigRequestHeader
    pub struct GetSubscriptionGroupConfigRequestHeader {
        group: String = "group";
    }
}

header! {
    /// UPDATE_AND_GET_GROUP_FORBIDDEN.
    ///
    /// Reference: UpdateGroupForbiddenRequestHeader
    pub struct UpdateGroupForbiddenRequestHeader {
        group: String = "group";
        topic: String = "topic";
        /// Absent: only ask.
        readable: Option<bool> = "readable";
    }
}

header! {
    /// GET_CONSUMER_CONNECTION_LIST.
    ///
    /// Reference: GetConsumerConnectionListRequestHeader
    pub struct GetConsumerConnectionListRequestHeader {
        consumer_group: String = "consumerGroup";
    }
}

header! {
    /// GET_PRODUCER_CONNECTION_LIST.
    ///
    /// Reference: GetProducerConnectionListRequestHeader
    pub struct GetProducerConnectionListRequestHeader {
        producer_group: String = "producerGroup";
    }
}

header! {
    /// GET_CONSUME_STATS: progress of a group, on one topic, some, or all.
    ///
    /// Reference: GetConsumeStatsRequestHeader
    pub struct GetConsumeStatsRequestHeader {
        consumer_group: String = "consumerGroup";
        topic: Option<String> = "topic";
        /// Joined with semicolons.
        topic_list: Option<String> = "topicList";
    }
}

header! {
    /// GET_BROKER_CONSUME_STATS: progress of all groups.
    ///
    /// Reference: GetConsumeStatsInBrokerHeader
    pub struct GetConsumeStatsInBrokerHeader {
        is_order: bool = "isOrder", default false;
    }
}

header! {
    /// QUERY_TOPIC_CONSUME_BY_WHO: groups of a topic.
    ///
    /// Reference: QueryTopicConsumeByWhoRequestHeader
    pub struct QueryTopicConsumeByWhoRequestHeader {
        topic: String = "topic";
    }
}

header! {
    /// QUERY_TOPICS_BY_CONSUMER: topics of a group.
    ///
    /// Reference: QueryTopicsByConsumerRequestHeader
    pub struct QueryTopicsByConsumerRequestHeader {
        group: String = "group";
    }
}

header! {
    /// QUERY_SUBSCRIPTION_BY_CONSUMER.
    ///
    /// Reference: QuerySubscriptionByConsumerRequestHeader
    pub struct QuerySubscriptionByConsumerRequestHeader {
        group: String = "group";
        topic: Option<String> = "topic";
    }
}

header! {
    /// QUERY_CONSUME_TIME_SPAN.
    ///
    /// Reference: QueryConsumeTimeSpanRequestHeader
    pub struct QueryConsumeTimeSpanRequestHeader {
        topic: String = "topic";
        group: String = "group";
    }
}

header! {
    /// QUERY_CORRECTION_OFFSET: the smallest offset over groups.
    ///
    /// Reference: QueryCorrectionOffsetHeader
    pub struct QueryCorrectionOffsetHeader {
        /// Groups to leave out, joined with commas.
        filter_groups: Option<String> = "filterGroups";
        compare_group: String = "compareGroup";
        topic: String = "topic";
    }
}

header! {
    /// CLONE_GROUP_OFFSET.
    ///
    /// Reference: CloneGroupOffsetRequestHeader
    pub struct CloneGroupOffsetRequestHeader {
        src_group: String = "srcGroup";
        dest_group: String = "destGroup";
        /// Absent: all topics of the group.
        topic: Option<String> = "topic";
        offline: bool = "offline", default false;
    }
}

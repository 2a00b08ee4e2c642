//! Lite topics: what mqadmin asks about them.

use crate::header;

header! {
    /// GET_PARENT_TOPIC_INFO.
    ///
    /// Reference: GetParentTopicInfoRequestHeader
    pub struct GetParentTopicInfoRequestHeader {
        topic: String = "topic";
    }
}

header! {
    /// GET_LITE_TOPIC_INFO.
    ///
    /// Reference: GetLiteTopicInfoRequestHeader
    pub struct GetLiteTopicInfoRequestHeader {
        parent_topic: Option<String> = "parentTopic";
        lite_topic: Option<String> = "liteTopic";
    }
}

header! {
    /// GET_LITE_CLIENT_INFO.
    ///
    /// Reference: GetLiteClientInfoRequestHeader
    pub struct GetLiteClientInfoRequestHeader {
        parent_topic: Option<String> = "parentTopic";
        group: Option<String> = "group";
        client_id: Option<String> = "clientId";
        max_count: Option<i32> = "maxCount";
    }
}

header! {
    /// GET_LITE_GROUP_INFO.
    ///
    /// Reference: GetLiteGroupInfoRequestHeader
    pub struct GetLiteGroupInfoRequestHeader {
        group: String = "group";
        lite_topic: Option<String> = "liteTopic";
        top_k: Option<i32> = "topK";
    }
}

header! {
    /// TRIGGER_LITE_DISPATCH.
    ///
    /// Reference: TriggerLiteDispatchRequestHeader
    pub struct TriggerLiteDispatchRequestHeader {
        group: String = "group";
        client_id: Option<String> = "clientId";
    }
}

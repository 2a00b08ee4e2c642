//! Finding messages by key or place.

use crate::header;

header! {
    /// QUERY_MESSAGE: messages by key. The field `_UNIQUE_KEY_QUERY` beside the header asks by unique key.
    ///
    /// Reference: QueryMessageRequestHeader
    pub struct QueryMessageRequestHeader {
        topic: String = "topic";
        key: String = "key";
        max_num: i32 = "maxNum";
        begin_timestamp: i64 = "beginTimestamp";
        end_timestamp: i64 = "endTimestamp";
        /// `K` key, `U` unique key, `T` tag.
        index_type: Option<String> = "indexType";
        last_key: Option<String> = "lastKey";
        /// Sent beside the Java header.
        unique_key_query: Option<bool> = "_UNIQUE_KEY_QUERY";
    }
}

header! {
    /// Answer to QUERY_MESSAGE.
    ///
    /// Reference: QueryMessageResponseHeader
    pub struct QueryMessageResponseHeader {
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp";
        index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset";
    }
}

header! {
    /// VIEW_MESSAGE_BY_ID: the message at a place in the CommitLog.
    ///
    /// Reference: ViewMessageRequestHeader
    pub struct ViewMessageRequestHeader {
        topic: Option<String> = "topic";
        offset: i64 = "offset";
    }
}

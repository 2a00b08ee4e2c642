//! Request and response codes: every one the reference defines, name = number.
//!
//! The tables are the whole truth: constants, name look-up and the list that tests walk come from the same line.
//! Names are the constants of the reference.
//!
//! Reference: RequestCode, ResponseCode, ControllerResponseCode

macro_rules! codes {
    ($what:literal, $all:ident, $name_of:ident, $module:ident { $($name:ident = $value:expr;)* }) => {
        #[doc = concat!("The ", $what, " codes as constants.")]
        pub mod $module {
            $(
                #[doc = concat!("The ", $what, " code ", stringify!($value), ".")]
                pub const $name: i32 = $value;
            )*
        }

        #[doc = concat!("Every ", $what, " code with its name, in the order of the table.")]
        pub const $all: &[(&str, i32)] = &[$((stringify!($name), $value)),*];

        #[doc = concat!("The name of a ", $what, " code, if it is known.")]
        pub fn $name_of(code: i32) -> Option<&'static str> {
            match code {
                $($module::$name => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

macro_rules! request_codes {
    ($($table:tt)*) => { codes! { "request", ALL_REQUESTS, request_name, request_code { $($table)* } } };
}

macro_rules! response_codes {
    ($($table:tt)*) => { codes! { "response", ALL_RESPONSES, response_name, response_code { $($table)* } } };
}

request_codes! {
    // Producer and transaction
    SEND_MESSAGE_V2 = 310;
    SEND_BATCH_MESSAGE = 320;
    SEND_REPLY_MESSAGE_V2 = 325;
    RECALL_MESSAGE = 370;
    END_TRANSACTION = 37;
    SEND_MESSAGE = 10;
    SEND_REPLY_MESSAGE = 324;

    // Consumer: pull, offsets, membership
    HEART_BEAT = 34;
    UNREGISTER_CLIENT = 35;
    PULL_MESSAGE = 11;
    LITE_PULL_MESSAGE = 361;
    QUERY_CONSUMER_OFFSET = 14;
    UPDATE_CONSUMER_OFFSET = 15;
    GET_MAX_OFFSET = 30;
    GET_MIN_OFFSET = 31;
    SEARCH_OFFSET_BY_TIMESTAMP = 29;
    GET_EARLIEST_MSG_STORETIME = 32;
    GET_CONSUMER_LIST_BY_GROUP = 38;
    LOCK_BATCH_MQ = 41;
    UNLOCK_BATCH_MQ = 42;
    CONSUMER_SEND_MSG_BACK = 36;
    CHECK_CLIENT_CONFIG = 46;
    QUERY_ASSIGNMENT = 400;

    // POP
    POP_MESSAGE = 200050;
    ACK_MESSAGE = 200051;
    CHANGE_MESSAGE_INVISIBLETIME = 200053;
    BATCH_ACK_MESSAGE = 200151;
    PEEK_MESSAGE = 200052;
    NOTIFICATION = 200054;
    POLLING_INFO = 200055;

    // Broker→client callbacks
    CHECK_TRANSACTION_STATE = 39;
    NOTIFY_CONSUMER_IDS_CHANGED = 40;
    PUSH_REPLY_MESSAGE_TO_CLIENT = 326;
    RESET_CONSUMER_CLIENT_OFFSET = 220;
    GET_CONSUMER_STATUS_FROM_CLIENT = 221;
    GET_CONSUMER_RUNNING_INFO = 307;
    CONSUME_MESSAGE_DIRECTLY = 309;
    NOTIFY_UNSUBSCRIBE_LITE = 200073;

    // NameServer
    GET_ROUTEINFO_BY_TOPIC = 105;
    REGISTER_BROKER = 103;
    UNREGISTER_BROKER = 104;
    GET_BROKER_CLUSTER_INFO = 106;
    GET_ALL_TOPIC_LIST_FROM_NAMESERVER = 206;
    GET_TOPICS_BY_CLUSTER = 224;
    GET_SYSTEM_TOPIC_LIST_FROM_NS = 304;
    GET_UNIT_TOPIC_LIST = 311;
    GET_HAS_UNIT_SUB_TOPIC_LIST = 312;
    GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST = 313;
    WIPE_WRITE_PERM_OF_BROKER = 205;
    ADD_WRITE_PERM_OF_BROKER = 327;
    DELETE_TOPIC_IN_NAMESRV = 216;
    REGISTER_TOPIC_IN_NAMESRV = 217;
    PUT_KV_CONFIG = 100;
    GET_KV_CONFIG = 101;
    DELETE_KV_CONFIG = 102;
    GET_KVLIST_BY_NAMESPACE = 219;
    UPDATE_NAMESRV_CONFIG = 318;
    GET_NAMESRV_CONFIG = 319;
    QUERY_DATA_VERSION = 322;
    GET_BROKER_MEMBER_GROUP = 901;
    BROKER_HEARTBEAT = 904;

    // Message query
    QUERY_MESSAGE = 12;
    VIEW_MESSAGE_BY_ID = 33;

    // Topic administration on the broker
    UPDATE_AND_CREATE_TOPIC = 17;
    UPDATE_AND_CREATE_TOPIC_LIST = 18;
    DELETE_TOPIC_IN_BROKER = 215;
    GET_TOPIC_CONFIG = 351;
    GET_ALL_TOPIC_CONFIG = 21;
    GET_TOPIC_STATS_INFO = 202;
    GET_SYSTEM_TOPIC_LIST_FROM_BROKER = 305;
    CLEAN_UNUSED_TOPIC = 316;
    CLEAN_EXPIRED_CONSUMEQUEUE = 306;
    DELETE_EXPIRED_COMMITLOG = 329;
    UPDATE_AND_CREATE_STATIC_TOPIC = 513;

    // Group, offset and connection administration
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP = 200;
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST = 225;
    GET_ALL_SUBSCRIPTIONGROUP_CONFIG = 201;
    DELETE_SUBSCRIPTIONGROUP = 207;
    GET_SUBSCRIPTIONGROUP_CONFIG = 352;
    UPDATE_AND_GET_GROUP_FORBIDDEN = 353;
    GET_CONSUMER_CONNECTION_LIST = 203;
    GET_PRODUCER_CONNECTION_LIST = 204;
    GET_ALL_PRODUCER_INFO = 328;
    GET_CONSUME_STATS = 208;
    GET_BROKER_CONSUME_STATS = 317;
    QUERY_TOPIC_CONSUME_BY_WHO = 300;
    QUERY_TOPICS_BY_CONSUMER = 343;
    QUERY_SUBSCRIPTION_BY_CONSUMER = 345;
    QUERY_CONSUME_TIME_SPAN = 303;
    QUERY_CORRECTION_OFFSET = 308;
    CLONE_GROUP_OFFSET = 314;
    INVOKE_BROKER_TO_RESET_OFFSET = 222;
    INVOKE_BROKER_TO_GET_CONSUMER_STATUS = 223;
    SET_MESSAGE_REQUEST_MODE = 401;

    // Broker administration
    UPDATE_BROKER_CONFIG = 25;
    GET_BROKER_CONFIG = 26;
    GET_BROKER_RUNTIME_INFO = 28;
    VIEW_BROKER_STATS_DATA = 315;
    QUERY_CONSUME_QUEUE = 321;
    RESUME_CHECK_HALF_MESSAGE = 323;
    CHECK_ROCKSDB_CQ_WRITE_PROGRESS = 354;
    EXPORT_ROCKSDB_CONFIG_TO_JSON = 355;
    UPDATE_COLD_DATA_FLOW_CTR_CONFIG = 2001;
    REMOVE_COLD_DATA_FLOW_CTR_CONFIG = 2002;
    GET_COLD_DATA_FLOW_CTR_INFO = 2003;
    SET_COMMITLOG_READ_MODE = 2004;
    SWITCH_TIMER_ENGINE = 5001;
    POP_ROLLBACK = 200056;

    // Users and ACL
    AUTH_CREATE_USER = 3001;
    AUTH_UPDATE_USER = 3002;
    AUTH_DELETE_USER = 3003;
    AUTH_GET_USER = 3004;
    AUTH_LIST_USER = 3005;
    AUTH_CREATE_ACL = 3006;
    AUTH_UPDATE_ACL = 3007;
    AUTH_DELETE_ACL = 3008;
    AUTH_GET_ACL = 3009;
    AUTH_LIST_ACL = 3010;

    // Lite topics (5.5)
    POP_LITE_MESSAGE = 200070;
    LITE_SUBSCRIPTION_CTL = 200071;
    GET_BROKER_LITE_INFO = 200074;
    GET_PARENT_TOPIC_INFO = 200075;
    GET_LITE_TOPIC_INFO = 200076;
    GET_LITE_CLIENT_INFO = 200077;
    GET_LITE_GROUP_INFO = 200078;
    TRIGGER_LITE_DISPATCH = 200079;
    ACK_LITE_MESSAGE = 200072;

    // HA, slave sync, container
    GET_ALL_CONSUMER_OFFSET = 43;
    GET_ALL_DELAY_OFFSET = 45;
    GET_TIMER_CHECK_POINT = 60;
    GET_TIMER_METRICS = 61;
    GET_ALL_MESSAGE_REQUEST_MODE = 402;
    EXCHANGE_BROKER_HA_INFO = 906;
    GET_BROKER_HA_STATUS = 907;
    RESET_MASTER_FLUSH_OFFSET = 908;
    NOTIFY_MIN_BROKER_ID_CHANGE = 905;
    ADD_BROKER = 902;
    REMOVE_BROKER = 903;
    GET_BROKER_EPOCH_CACHE = 1007;
    NOTIFY_BROKER_ROLE_CHANGED = 1008;

    // Controller
    CONTROLLER_ALTER_SYNC_STATE_SET = 1001;
    CONTROLLER_ELECT_MASTER = 1002;
    CONTROLLER_REGISTER_BROKER = 1003;
    CONTROLLER_GET_REPLICA_INFO = 1004;
    CONTROLLER_GET_METADATA_INFO = 1005;
    CONTROLLER_GET_SYNC_STATE_DATA = 1006;
    UPDATE_CONTROLLER_CONFIG = 1009;
    GET_CONTROLLER_CONFIG = 1010;
    CLEAN_BROKER_DATA = 1011;
    CONTROLLER_GET_NEXT_BROKER_ID = 1012;
    CONTROLLER_APPLY_BROKER_ID = 1013;
    BROKER_CLOSE_CHANNEL_REQUEST = 1014;
    CHECK_NOT_ACTIVE_BROKER_REQUEST = 1015;
    GET_BROKER_LIVE_INFO_REQUEST = 1016;
    GET_SYNC_STATE_DATA_REQUEST = 1017;
    RAFT_BROKER_HEART_BEAT_EVENT_REQUEST = 1018;

    // Defined but unused
    QUERY_BROKER_OFFSET = 13;
    GET_TOPIC_CONFIG_LIST = 22;
    GET_TOPIC_NAME_LIST = 23;
    TRIGGER_DELETE_FILES = 27;
    GET_CLIENT_CONFIG = 47;
    SUSPEND_CONSUMER = 209;
    RESUME_CONSUMER = 210;
    RESET_CONSUMER_OFFSET_IN_CONSUMER = 211;
    RESET_CONSUMER_OFFSET_IN_BROKER = 212;
    ADJUST_CONSUMER_THREAD_POOL = 213;
    WHO_CONSUME_THE_MESSAGE = 214;
    REGISTER_FILTER_SERVER = 301;
    REGISTER_MESSAGE_FILTER_CLASS = 302;
}

response_codes! {
    SUCCESS = 0;
    SYSTEM_ERROR = 1;
    SYSTEM_BUSY = 2;
    REQUEST_CODE_NOT_SUPPORTED = 3;
    TRANSACTION_FAILED = 4;

    // Store and send
    FLUSH_DISK_TIMEOUT = 10;
    SLAVE_NOT_AVAILABLE = 11;
    FLUSH_SLAVE_TIMEOUT = 12;
    MESSAGE_ILLEGAL = 13;
    SERVICE_NOT_AVAILABLE = 14;
    VERSION_NOT_SUPPORTED = 15;
    NO_PERMISSION = 16;
    TOPIC_NOT_EXIST = 17;
    TOPIC_EXIST_ALREADY = 18;

    // Pull and subscription
    PULL_NOT_FOUND = 19;
    PULL_RETRY_IMMEDIATELY = 20;
    PULL_OFFSET_MOVED = 21;
    QUERY_NOT_FOUND = 22;
    SUBSCRIPTION_PARSE_FAILED = 23;
    SUBSCRIPTION_NOT_EXIST = 24;
    SUBSCRIPTION_NOT_LATEST = 25;
    SUBSCRIPTION_GROUP_NOT_EXIST = 26;
    FILTER_DATA_NOT_EXIST = 27;
    FILTER_DATA_NOT_LATEST = 28;
    INVALID_PARAMETER = 29;

    // Transactions and clients
    TRANSACTION_SHOULD_COMMIT = 200;
    TRANSACTION_SHOULD_ROLLBACK = 201;
    TRANSACTION_STATE_UNKNOWN = 202;
    TRANSACTION_STATE_GROUP_WRONG = 203;
    NO_BUYER_ID = 204;
    NOT_IN_CURRENT_UNIT = 205;
    CONSUMER_NOT_ONLINE = 206;
    CONSUME_MSG_TIMEOUT = 207;

    // Pop
    NO_MESSAGE = 208;
    POLLING_FULL = 209;
    POLLING_TIMEOUT = 210;

    // Admin, flow control, static topics
    BROKER_NOT_EXIST = 211;
    BROKER_DISPATCH_NOT_COMPLETE = 212;
    BROADCAST_CONSUMPTION = 213;
    FLOW_CONTROL = 215;
    NOT_LEADER_FOR_QUEUE = 501;
    ILLEGAL_OPERATION = 604;
    GO_AWAY = 1500;

    // Controller
    CONTROLLER_FENCED_MASTER_EPOCH = 2000;
    CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH = 2001;
    CONTROLLER_INVALID_MASTER = 2002;
    CONTROLLER_INVALID_REPLICAS = 2003;
    CONTROLLER_MASTER_NOT_AVAILABLE = 2004;
    CONTROLLER_INVALID_REQUEST = 2005;
    CONTROLLER_BROKER_NOT_ALIVE = 2006;
    CONTROLLER_NOT_LEADER = 2007;
    CONTROLLER_BROKER_METADATA_NOT_EXIST = 2008;
    CONTROLLER_INVALID_CLEAN_BROKER_METADATA = 2009;
    CONTROLLER_BROKER_NEED_TO_BE_REGISTERED = 2010;
    CONTROLLER_MASTER_STILL_EXIST = 2011;
    CONTROLLER_ELECT_MASTER_FAILED = 2012;
    CONTROLLER_ALTER_SYNC_STATE_SET_FAILED = 2013;
    CONTROLLER_BROKER_ID_INVALID = 2014;
    CONTROLLER_JRAFT_INTERNAL_ERROR = 2015;
    CONTROLLER_BROKER_LIVE_INFO_NOT_EXISTS = 2016;

    // Lite topics, auth
    LMQ_QUOTA_EXCEEDED = 2017;
    LITE_SUBSCRIPTION_QUOTA_EXCEEDED = 2018;
    USER_NOT_EXIST = 3001;
    POLICY_NOT_EXIST = 3002;

    // Between brokers only, not normally on the wire
    RPC_UNKNOWN = -1000;
    RPC_ADDR_IS_NULL = -1002;
    RPC_SEND_TO_CHANNEL_FAILED = -1004;
    RPC_TIME_OUT = -1006;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_table_has_every_request_code_of_the_reference_once() {
        let codes: HashSet<i32> = ALL_REQUESTS.iter().map(|(_, code)| *code).collect();
        assert_eq!(ALL_REQUESTS.len(), 169);
        assert_eq!(codes.len(), 169, "no number twice");
    }

    #[test]
    fn names_and_numbers_find_each_other() {
        assert_eq!(request_name(310), Some("SEND_MESSAGE_V2"));
        assert_eq!(request_name(200_050), Some("POP_MESSAGE"));
        assert_eq!(request_name(9_999), None);
        assert_eq!(response_name(response_code::GO_AWAY), Some("GO_AWAY"));
        for (name, code) in ALL_REQUESTS {
            assert_eq!(request_name(*code), Some(*name));
        }
        for (name, code) in ALL_RESPONSES {
            assert_eq!(response_name(*code), Some(*name));
        }
    }
}

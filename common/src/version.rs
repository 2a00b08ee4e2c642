//! Protocol version numbers. Reference: `MQVersion`, a long enum whose ordinal is the number on the wire.

/// Version 5.5.0, written in every request and response.
pub const CURRENT_VERSION: i32 = 513;

/// What runtime info calls this version. Reference: `MQVersion.getVersionDesc`.
pub const CURRENT_VERSION_DESC: &str = "V5_5_0";

/// Below it REGISTER_BROKER carries a bare topic config wrapper.
pub const V3_0_11: i32 = 37;
/// Below it the broker refuses offset-reset and consumer-status calls to a client.
pub const V3_0_7_SNAPSHOT: i32 = 28;
/// Below it the broker refuses running-info and consume-directly calls to a client.
pub const V3_1_8_SNAPSHOT: i32 = 62;
/// From it on `maxReconsumeTimes` of send headers is honoured.
pub const V3_4_9: i32 = 121;
/// From it on the NameServer is asked for routes in standard JSON.
pub const V4_9_4: i32 = 401;
/// From it on compressed registrations carry the static-topic mapping section.
pub const V5_0_0: i32 = 413;

//! Protocol version numbers. Reference: `MQVersion`, a long enum whose ordinal is the number on the wire.

/// Version 5.5.0, written in every request and response.
pub const CURRENT_VERSION: i32 = 513;

/// What runtime info calls this version. Reference: `MQVersion.getVersionDesc`.
pub const CURRENT_VERSION_DESC: &str = "V5_5_0";

/// The name of a version, such as `V5_5_0`.
///
/// From 4.0.0 on the enum has two constants a version, in order, the snapshot first. What is older is named `V3`, what lies
/// beyond the enum `HIGHER_VERSION`. Reference: `MQVersion.getVersionDesc`.
pub fn description(version: i32) -> String {
    const V4_0_0_SNAPSHOT: i32 = 212;
    const V5_9_9: i32 = V5_0_0 + 2 * 99;
    if version < V4_0_0_SNAPSHOT {
        return "V3".to_owned();
    }
    if version > V5_9_9 {
        return "HIGHER_VERSION".to_owned();
    }
    let (snapshot, number) = (version % 2 == 0, 400 + (version - V4_0_0_SNAPSHOT) / 2);
    let (major, minor, patch) = (number / 100, number / 10 % 10, number % 10);
    let suffix = if snapshot { "_SNAPSHOT" } else { "" };
    format!("V{major}_{minor}_{patch}{suffix}")
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_names_of_the_enum() {
        assert_eq!(description(CURRENT_VERSION), CURRENT_VERSION_DESC);
        assert_eq!(description(V4_9_4), "V4_9_4");
        assert_eq!(description(V5_0_0), "V5_0_0");
        assert_eq!(description(V5_0_0 - 1), "V5_0_0_SNAPSHOT");
        assert_eq!(description(V3_4_9), "V3");
        assert_eq!(description(i32::MIN), "V3");
        assert_eq!(description(i32::MAX), "HIGHER_VERSION");
    }
}

//! Broadcasting consumers that change between broker and proxy.

use std::time::Duration;

use common::message::sys_flag::pull::SUBSCRIPTION;
use remoting::body::{ConsumeType, MessageModel};

use super::*;

fn broadcasting(client_id: &str) -> HeartbeatData {
    let mut heartbeat = heartbeat(client_id, "g", vec![crate::filter::tags::all("Orders")]);
    heartbeat.consumer_data_set[0].message_model = MessageModel::Broadcasting;
    heartbeat.consumer_data_set[0].consume_type = ConsumeType::Passively;
    heartbeat
}

fn by_proxy(client_id: &'static str, offset: i64) -> PullMessageRequestHeader<'static> {
    PullMessageRequestHeader {
        sys_flag: SUBSCRIPTION,
        subscription: Some("*".into()),
        request_source: Some(1),
        proxy_froward_client_id: Some(client_id.into()),
        ..pull_header("g", "Orders", 0, offset)
    }
}

fn broker_with_messages(settings: &[(&str, &str)]) -> TestBroker {
    let broker = TestBroker::configured(settings).with_topic("Orders");
    for n in 0..5 {
        broker
            .client()
            .must_send("Orders", &[], format!("m{n}").as_bytes());
    }
    broker.settle();
    broker
}

#[test]
fn a_member_goes_on_through_a_proxy_where_it_was_and_back() {
    let broker = broker_with_messages(&[]);
    let (member, proxy) = (broker.client(), broker.client());
    member.heartbeat(&broadcasting("c"));
    let direct = |offset| pull_header("g", "Orders", 0, offset);
    assert_eq!(member.pull(&direct(3)).bodies(), [b"m3", b"m4"]);

    let moved = proxy.pull(&by_proxy("c", -1));
    assert_eq!(
        (moved.code, moved.remark.as_str(), moved.number("nextBeginOffset")),
        (response_code::PULL_OFFSET_MOVED, "OFFSET_RESET", 3)
    );
    assert_eq!(proxy.pull(&by_proxy("c", 4)).bodies(), [b"m4"]);

    let moved = member.pull(&direct(3));
    assert_eq!(
        (moved.code, moved.number("nextBeginOffset")),
        (response_code::PULL_OFFSET_MOVED, 4)
    );
    assert_eq!(member.pull(&direct(4)).bodies(), [b"m4"]);
}

#[test]
fn a_new_member_begins_where_the_slowest_is() {
    let broker = broker_with_messages(&[]);
    let proxy = broker.client();
    assert_eq!(proxy.pull(&by_proxy("first", -1)).number("nextBeginOffset"), 0);
    for (client, offset) in [("c", 4), ("d", 2)] {
        proxy.pull(&by_proxy(client, -1));
        proxy.pull(&by_proxy(client, offset));
    }
    broker.clock.advance(Duration::from_secs(121));
    proxy.pull(&by_proxy("c", 4));
    proxy.pull(&by_proxy("d", 2));
    let mut ticks = crate::services::BrokerTicks::of(&broker.broker).unwrap();
    tick(&mut ticks.client_expiry, &broker.clock);
    let committed = broker.broker.consumer_offsets.query("g@broadcast", "Orders", 0);
    assert_eq!(committed, Some(2), "the first member is forgotten");
    assert_eq!(proxy.pull(&by_proxy("e", -1)).number("nextBeginOffset"), 2);
}

#[test]
fn nothing_is_kept_where_an_operator_does_not_want_it() {
    let broker = broker_with_messages(&[("enableBroadcastOffsetStore", "false")]);
    let answer = broker.client().pull(&by_proxy("c", -1));
    assert_eq!(answer.code, response_code::PULL_OFFSET_MOVED);
    assert_eq!(answer.remark, "OFFSET_TOO_SMALL");
}

//! What operators ask, as frames: mqadmin's requests without mqadmin.

use std::time::Duration;

use remoting::body::{
    BrokerStatsData, ConsumeStats, ConsumeStatsList, ConsumerConnection, CreateTopicListRequestBody,
    DataVersion, GetConsumerStatusBody, GroupForbidden, GroupList, HaRuntimeInfo, KvTable, MessageQueue,
    ProducerData, ProducerTableInfo, QueryConsumeQueueResponseBody, QueryConsumeTimeSpanBody,
    QueryCorrectionOffsetBody, ResetOffsetBody, SubscriptionGroupConfig, SubscriptionGroupList,
    SubscriptionGroupWrapper, TopicConfig, TopicConfigAndMappingSerializeWrapper, TopicConfigAndQueueMapping,
    TopicList, TopicStatsTable, fastjson,
};
use remoting::client::{Client, ClientConfig};
use remoting::fields::NoHeader;
use remoting::header::{GetConsumerRunningInfoRequestHeader, GetConsumerStatusRequestHeader};
use remoting::request::Request;
use remoting::routes::ConnectionEvents;
use remoting::server::{Server, ServerConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;

const GROUP: &str = "Readers";
const TOPIC: &str = "Orders";

fn request(code: i32, fields: &[(&str, &str)]) -> OutgoingRequest {
    fields
        .iter()
        .fold(OutgoingRequest::new(code), |request, (name, value)| {
            request.field(name, value)
        })
}

impl TestClient {
    fn ask(&self, code: i32, fields: &[(&str, &str)]) -> Answer {
        self.call(request(code, fields))
    }

    fn ask_with<T: Serialize>(&self, code: i32, body: &T) -> Answer {
        self.call(OutgoingRequest::new(code).body(fastjson::to_vec(body).expect("a body")))
    }
}

impl Answer {
    fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.code, response_code::SUCCESS, "{}", self.remark);
        fastjson::from_slice(&self.body).expect("a body that can be read")
    }

    fn succeeded(&self) {
        assert_eq!(self.code, response_code::SUCCESS, "{}", self.remark);
    }

    fn refused(&self, code: i32, remark: &str) {
        assert_eq!((self.code, self.remark.as_str()), (code, remark));
    }
}

fn create_topic(client: &TestClient, changes: &[(&str, &str)]) -> Answer {
    let defaults = [
        ("topic", TOPIC),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "2"),
        ("writeQueueNums", "2"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ];
    let kept = defaults
        .into_iter()
        .filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let fields: Vec<(&str, &str)> = kept.chain(changes.iter().copied()).collect();
    client.ask(request_code::UPDATE_AND_CREATE_TOPIC, &fields)
}

/// A broker with one topic of two queues: five messages in queue 0, of which the group has consumed three.
fn with_progress() -> TestBroker {
    let broker = TestBroker::new();
    let client = broker.client();
    create_topic(&client, &[]).succeeded();
    broker.broker.groups.put(SubscriptionGroupConfig::new(GROUP));
    for _ in 0..5 {
        client.must_send(TOPIC, &[("KEYS", "k")], b"m");
        broker.clock.advance(Duration::from_secs(1));
    }
    broker.settle();
    broker.broker.consumer_offsets.commit("test", GROUP, TOPIC, 0, 3);
    broker
}

fn queue(queue_id: i32) -> MessageQueue {
    MessageQueue::new(TOPIC, "broker-a", queue_id)
}

#[test]
fn a_topic_is_created_changed_listed_and_deleted() {
    let broker = TestBroker::new();
    let client = broker.client();
    create_topic(
        &client,
        &[("attributes", "+message.type=FIFO"), ("topicSysFlag", "1")],
    )
    .succeeded();
    create_topic(&client, &[("readQueueNums", "8"), ("order", "true")]).succeeded();

    let config: TopicConfigAndQueueMapping = client
        .ask(request_code::GET_TOPIC_CONFIG, &[("topic", TOPIC)])
        .json();
    assert_eq!(
        (config.read_queue_nums, config.write_queue_nums, config.order),
        (8, 2, true)
    );
    assert_eq!(
        config.attributes["message.type"], "FIFO",
        "edits add to what is there"
    );
    let file = std::fs::read_to_string(broker._directory.path().join("config/topics.json")).unwrap();
    assert!(file.contains("\"Orders\""), "on disk before the answer");

    let all: TopicConfigAndMappingSerializeWrapper =
        client.ask(request_code::GET_ALL_TOPIC_CONFIG, &[]).json();
    assert!(all.topic_config_table.contains_key(TOPIC) && all.topic_config_table.contains_key("TBW102"));
    let page = client.ask(
        request_code::GET_ALL_TOPIC_CONFIG,
        &[("topicSeq", "0"), ("dataVersion", ""), ("maxTopicNum", "2")],
    );
    assert_eq!(page.number("totalTopicNum"), all.topic_config_table.len() as i64);
    assert_eq!(
        page.json::<TopicConfigAndMappingSerializeWrapper>()
            .topic_config_table
            .len(),
        2
    );

    client
        .ask(request_code::DELETE_TOPIC_IN_BROKER, &[("topic", TOPIC)])
        .succeeded();
    client
        .ask(request_code::GET_TOPIC_CONFIG, &[("topic", TOPIC)])
        .refused(
            response_code::TOPIC_NOT_EXIST,
            "No topic in this broker. topic: Orders",
        );
    client
        .ask(request_code::DELETE_TOPIC_IN_BROKER, &[("topic", "%DLQ%never")])
        .succeeded();
}

#[test]
fn setting_a_topic_to_what_it_is_keeps_its_version() {
    let broker = TestBroker::new();
    let client = broker.client();
    create_topic(&client, &[("attributes", "+message.type=FIFO")]).succeeded();
    let version: DataVersion = broker.broker.topics.data_version();
    create_topic(&client, &[]).succeeded();
    assert_eq!(broker.broker.topics.data_version(), version);
    create_topic(&client, &[("perm", "4")]).succeeded();
    assert_ne!(broker.broker.topics.data_version(), version);
}

#[test]
fn topics_that_must_not_be_made_are_refused() {
    let broker = TestBroker::new();
    let client = broker.client();
    type Changes = &'static [(&'static str, &'static str)];
    let cases: [(Changes, i32, &str); 7] = [
        (
            &[("topic", "a b")],
            29,
            "The specified topic: a b, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
        ),
        (
            &[("topic", "TBW102")],
            29,
            "The topic[TBW102] is conflict with system topic.",
        ),
        (
            &[("topic", "DefaultCluster")],
            29,
            "The topic[DefaultCluster] is conflict with system topic.",
        ),
        (
            &[("attributes", "+message.type=MIXED")],
            29,
            "MIXED message type is not supported.",
        ),
        (&[("attributes", "+nonsense=1")], 1, "unsupported key: nonsense"),
        (
            &[("readQueueNums", "-1")],
            29,
            "readQueueNums of topic Orders is -1, it must be from 0 to 65536",
        ),
        (
            &[("perm", "8")],
            29,
            "perm of topic Orders is 8, it must be from 0 to 7",
        ),
    ];
    for (changes, code, remark) in cases {
        create_topic(&client, changes).refused(code, remark);
    }
    client
        .ask(request_code::DELETE_TOPIC_IN_BROKER, &[("topic", "TBW102")])
        .refused(29, "The topic[TBW102] is conflict with system topic.");
    assert!(!broker.broker.topics.contains(TOPIC));
}

#[test]
fn a_list_is_created_whole_or_not_at_all() {
    let broker = TestBroker::new();
    let client = broker.client();
    let topics = |names: [&str; 2]| CreateTopicListRequestBody {
        topic_config_list: names.map(|name| TopicConfig::new(name, 4)).into(),
    };
    assert_eq!(
        client
            .ask_with(
                request_code::UPDATE_AND_CREATE_TOPIC_LIST,
                &topics(["Good", "b a d"])
            )
            .code,
        29
    );
    assert!(!broker.broker.topics.contains("Good"));
    client
        .ask_with(
            request_code::UPDATE_AND_CREATE_TOPIC_LIST,
            &topics(["Good", "Better"]),
        )
        .succeeded();
    assert!(broker.broker.topics.contains("Good") && broker.broker.topics.contains("Better"));

    let groups = |names: [&str; 2]| SubscriptionGroupList {
        group_config_list: names.map(SubscriptionGroupConfig::new).into(),
    };
    assert_eq!(
        client
            .ask_with(
                request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
                &groups(["g", " "])
            )
            .code,
        29
    );
    assert!(!broker.broker.groups.contains("g"));
    client
        .ask_with(
            request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
            &groups(["g", "h"]),
        )
        .succeeded();
    assert!(broker.broker.groups.contains("g") && broker.broker.groups.contains("h"));
}

#[test]
fn a_group_is_created_forbidden_a_topic_and_deleted() {
    let broker = TestBroker::configured(&[("autoCreateSubscriptionGroup", "false")]);
    let client = broker.client();
    let mut group = SubscriptionGroupConfig::new(GROUP);
    group.retry_max_times = 3;
    group
        .attributes
        .insert("+priority.factor".to_owned(), "50".to_owned());
    client
        .ask_with(request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &group)
        .succeeded();
    let config: SubscriptionGroupConfig = client
        .ask(request_code::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", GROUP)])
        .json();
    assert_eq!(
        (
            config.retry_max_times,
            config.attributes["priority.factor"].as_str()
        ),
        (3, "50")
    );

    let forbid = |fields: &[(&str, &str)]| -> GroupForbidden {
        client
            .ask(request_code::UPDATE_AND_GET_GROUP_FORBIDDEN, fields)
            .json()
    };
    assert_eq!(forbid(&[("group", GROUP), ("topic", TOPIC)]).readable, Some(true));
    assert_eq!(
        forbid(&[("group", GROUP), ("topic", TOPIC), ("readable", "false")]).readable,
        Some(false)
    );
    let page = client.ask(
        request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
        &[("groupSeq", "0"), ("maxGroupNum", "100")],
    );
    let wrapper: SubscriptionGroupWrapper = page.json();
    assert_eq!(
        page.number("totalGroupNum"),
        wrapper.subscription_group_table.len() as i64
    );
    assert_eq!(wrapper.forbidden_table[GROUP][TOPIC], 4);

    broker.broker.consumer_offsets.commit("test", GROUP, TOPIC, 0, 3);
    client
        .ask(
            request_code::DELETE_SUBSCRIPTIONGROUP,
            &[("groupName", GROUP), ("cleanOffset", "true")],
        )
        .succeeded();
    client
        .ask(request_code::GET_SUBSCRIPTIONGROUP_CONFIG, &[("group", GROUP)])
        .refused(26, "No group in this broker");
    assert_eq!(broker.broker.consumer_offsets.query(GROUP, TOPIC, 0), None);
}

#[test]
fn progress_is_shown_in_messages_and_in_time() {
    let broker = with_progress();
    let client = broker.client();
    let stats: TopicStatsTable = client
        .ask(request_code::GET_TOPIC_STATS_INFO, &[("topic", TOPIC)])
        .json();
    assert_eq!(stats.offset_table.len(), 2);
    assert_eq!(stats.offset_table[&queue(0)].max_offset, 5);
    assert_eq!(
        stats.offset_table[&queue(0)].last_update_timestamp,
        NOW_MS + 4_000
    );
    assert_eq!(stats.offset_table[&queue(1)].last_update_timestamp, 0);
    assert_eq!(stats.topic_put_tps, 0.5, "five in ten seconds");

    let progress: ConsumeStats = client
        .ask(request_code::GET_CONSUME_STATS, &[("consumerGroup", GROUP)])
        .json();
    let in_queue_0 = progress.offset_table[&queue(0)];
    assert_eq!(
        (
            in_queue_0.broker_offset,
            in_queue_0.consumer_offset,
            in_queue_0.pull_offset
        ),
        (5, 3, 3)
    );
    assert_eq!(in_queue_0.last_timestamp, NOW_MS + 2_000);

    let all: ConsumeStatsList = client
        .ask(request_code::GET_BROKER_CONSUME_STATS, &[("isOrder", "false")])
        .json();
    assert_eq!((all.total_diff, all.total_inflight_diff), (2, 0));
    let ordered: ConsumeStatsList = client
        .ask(request_code::GET_BROKER_CONSUME_STATS, &[("isOrder", "true")])
        .json();
    assert_eq!(ordered.total_diff, 0);

    let groups: GroupList = client
        .ask(request_code::QUERY_TOPIC_CONSUME_BY_WHO, &[("topic", TOPIC)])
        .json();
    assert!(groups.group_list.contains(GROUP));
    let topics: TopicList = client
        .ask(request_code::QUERY_TOPICS_BY_CONSUMER, &[("group", GROUP)])
        .json();
    assert!(topics.topic_list.contains(TOPIC));
    let span: QueryConsumeTimeSpanBody = client
        .ask(
            request_code::QUERY_CONSUME_TIME_SPAN,
            &[("topic", TOPIC), ("group", GROUP)],
        )
        .json();
    let in_queue_0 = &span.consume_time_span_set[0];
    assert_eq!(
        (in_queue_0.min_time_stamp, in_queue_0.max_time_stamp),
        (NOW_MS, NOW_MS + 4_000)
    );
    assert_eq!(
        (in_queue_0.consume_time_stamp, in_queue_0.delay_time),
        (NOW_MS + 2_000, 2_000)
    );
    assert_eq!(
        client
            .ask(
                request_code::QUERY_CONSUME_TIME_SPAN,
                &[("topic", "Nowhere"), ("group", GROUP)]
            )
            .code,
        response_code::TOPIC_NOT_EXIST
    );
}

#[test]
fn progress_of_an_online_group_leaves_out_topics_of_the_past() {
    let broker = with_progress();
    let client = broker.client();
    client.subscribe("c1", GROUP, "Elsewhere", "*").succeeded();
    let progress: ConsumeStats = client
        .ask(request_code::GET_CONSUME_STATS, &[("consumerGroup", GROUP)])
        .json();
    assert!(progress.offset_table.is_empty());
    let listed: ConsumeStats = client
        .ask(
            request_code::GET_CONSUME_STATS,
            &[("consumerGroup", GROUP), ("topicList", "Orders;Nowhere")],
        )
        .json();
    assert_eq!(listed.offset_table.len(), 2, "a list is taken as it is");
}

#[test]
fn offsets_are_reset_to_a_time_an_offset_or_the_end() {
    let broker = with_progress();
    let client = broker.client();
    let reset = |fields: &[(&str, &str)]| {
        let common = [("group", GROUP), ("topic", TOPIC), ("isForce", "true")];
        let kept = common
            .into_iter()
            .filter(|(name, _)| fields.iter().all(|(other, _)| other != name));
        let all: Vec<(&str, &str)> = kept.chain(fields.iter().copied()).collect();
        client.ask(request_code::INVOKE_BROKER_TO_RESET_OFFSET, &all)
    };
    let at_second_1 = (NOW_MS + 1_000).to_string();
    let body: ResetOffsetBody = reset(&[("timestamp", &at_second_1)]).json();
    assert_eq!(
        (body.offset_table[&queue(0)], body.offset_table[&queue(1)]),
        (1, 0)
    );
    assert_eq!(broker.broker.consumer_offsets.query(GROUP, TOPIC, 0), Some(1));
    assert!(
        broker.broker.consumer_offsets.has_reset(GROUP, TOPIC, 0),
        "until the group pulls"
    );

    let body: ResetOffsetBody = reset(&[("timestamp", "-1")]).json();
    assert_eq!(body.offset_table[&queue(0)], 5);
    let body: ResetOffsetBody = reset(&[("timestamp", "0"), ("queueId", "0"), ("offset", "2")]).json();
    assert_eq!(body.offset_table.into_iter().collect::<Vec<_>>(), [(queue(0), 2)]);

    reset(&[("timestamp", "0"), ("queueId", "0"), ("offset", "9")])
        .refused(1, "Target offset 9 not in consume queue range [0-5]");
    reset(&[("timestamp", "0"), ("topic", "Nowhere")]).refused(17, "Topic Nowhere does not exist");
    reset(&[("timestamp", "0"), ("group", "Nobody")]).refused(26, "Group Nobody does not exist");
}

#[test]
fn without_the_servers_own_reset_the_members_are_told() {
    let broker = with_progress();
    broker
        .broker
        .config
        .update(|config| config.use_server_side_reset_offset = false);
    broker.broker.consumer_offsets.commit("test", GROUP, TOPIC, 1, 0);
    let admin = broker.client();
    let fields = [
        ("group", GROUP),
        ("topic", TOPIC),
        ("timestamp", "-1"),
        ("isForce", "false"),
    ];
    assert_eq!(
        admin
            .ask(request_code::INVOKE_BROKER_TO_RESET_OFFSET, &fields)
            .code,
        response_code::CONSUMER_NOT_ONLINE
    );
    let member = broker.client();
    member.subscribe("c1", GROUP, TOPIC, "*").succeeded();
    member.connection.take_sent();
    let body: ResetOffsetBody = admin
        .ask(request_code::INVOKE_BROKER_TO_RESET_OFFSET, &fields)
        .json();
    assert_eq!(body.offset_table[&queue(0)], 3, "not forward without force");
    let told = member.connection.take_sent();
    assert_eq!(
        (told.len(), told[0].code, told[0].is_oneway()),
        (1, request_code::RESET_CONSUMER_CLIENT_OFFSET, true)
    );
    assert_eq!(
        fastjson::from_slice::<ResetOffsetBody>(&told[0].body).unwrap(),
        body
    );
}

#[test]
fn offsets_are_cloned_and_corrected() {
    let broker = with_progress();
    let client = broker.client();
    client
        .ask(
            request_code::CLONE_GROUP_OFFSET,
            &[("srcGroup", GROUP), ("destGroup", "Copy")],
        )
        .succeeded();
    assert_eq!(broker.broker.consumer_offsets.query("Copy", TOPIC, 0), Some(3));

    broker.broker.consumer_offsets.commit("test", "Slow", TOPIC, 0, 1);
    let correct = |compared: &str| -> QueryCorrectionOffsetBody {
        let fields = [
            ("compareGroup", compared),
            ("topic", TOPIC),
            ("filterGroups", "Slow"),
        ];
        client.ask(request_code::QUERY_CORRECTION_OFFSET, &fields).json()
    };
    assert_eq!(correct("Copy").correction_offsets[&0], 3);
    assert_eq!(correct("Slow").correction_offsets[&0], i64::MAX);
    assert!(
        client
            .ask(request_code::GET_ALL_CONSUMER_OFFSET, &[])
            .body
            .starts_with(b"{\"dataVersion\"")
    );
    client.ask(request_code::GET_ALL_DELAY_OFFSET, &[]).succeeded();
}

#[test]
fn connected_clients_are_listed() {
    let broker = with_progress();
    let client = broker.client();
    client
        .ask(
            request_code::GET_CONSUMER_CONNECTION_LIST,
            &[("consumerGroup", GROUP)],
        )
        .refused(
            response_code::CONSUMER_NOT_ONLINE,
            "the consumer group[Readers] not online",
        );
    let member = broker.client();
    member.subscribe("c1", GROUP, TOPIC, "A || B").succeeded();
    let connections: ConsumerConnection = client
        .ask(
            request_code::GET_CONSUMER_CONNECTION_LIST,
            &[("consumerGroup", GROUP)],
        )
        .json();
    assert_eq!(connections.connection_set[0].client_id, "c1");
    assert_eq!(
        connections.connection_set[0].client_addr,
        member.connection.peer_addr().to_string()
    );
    assert_eq!(connections.subscription_table[TOPIC].sub_string, "A || B");
    let answer = client.ask(
        request_code::QUERY_SUBSCRIPTION_BY_CONSUMER,
        &[("group", GROUP), ("topic", TOPIC)],
    );
    assert!(
        std::str::from_utf8(&answer.body)
            .unwrap()
            .contains("\"subString\":\"A || B\"")
    );

    client
        .ask(
            request_code::GET_PRODUCER_CONNECTION_LIST,
            &[("producerGroup", "P")],
        )
        .refused(1, "the producer group[P] not exist");
    let mut producer = heartbeat("p1", GROUP, Vec::new());
    producer.consumer_data_set.clear();
    producer.producer_data_set.push(ProducerData {
        group_name: "P".to_owned(),
    });
    broker.client().heartbeat(&producer).succeeded();
    client
        .ask(
            request_code::GET_PRODUCER_CONNECTION_LIST,
            &[("producerGroup", "P")],
        )
        .succeeded();
    let producers: ProducerTableInfo = client.ask(request_code::GET_ALL_PRODUCER_INFO, &[]).json();
    assert_eq!(
        (
            producers.data["P"][0].client_id.as_str(),
            producers.data["P"][0].language.as_str()
        ),
        ("p1", "JAVA")
    );
}

#[test]
fn the_configuration_is_shown_and_changed_while_the_broker_runs() {
    let broker = TestBroker::new();
    let client = broker.client();
    let shown = client.ask(request_code::GET_BROKER_CONFIG, &[]);
    assert_eq!(
        fastjson::from_str::<DataVersion>(shown.field("version"))
            .unwrap()
            .counter,
        0
    );
    assert!(
        std::str::from_utf8(&shown.body)
            .unwrap()
            .contains("\nbrokerPermission=6\n")
    );

    let update = |text: &str| {
        client.call(OutgoingRequest::new(request_code::UPDATE_BROKER_CONFIG).body(text.to_owned()))
    };
    let version = broker.broker.topics.data_version();
    update("brokerPermission=4\nmaxMessageSize=1024\n").refused(0, "");
    assert_eq!(broker.broker.config.get().broker_permission, 4);
    assert_eq!(broker.broker.store_config.get().max_message_size, 1024);
    assert_ne!(
        broker.broker.topics.data_version(),
        version,
        "name servers take permissions of a new version only"
    );
    update("listenPort=10811\nmaxMessageSize=2048\n").refused(0, "restart the broker for: listenPort");
    let file = std::fs::read_to_string(broker._directory.path().join("broker.conf")).unwrap();
    assert!(file.contains("brokerPermission=4\n") && file.contains("listenPort=10811\n"));

    update("configBlackList=\n").refused(
        response_code::NO_PERMISSION,
        "Can not update config in black list.",
    );
    assert_eq!(
        update("maxMessageSize=big\n").code,
        response_code::INVALID_PARAMETER
    );
    assert!(
        update("maxMessageSzie=1\n")
            .remark
            .contains("did you mean `maxMessageSize`?")
    );
}

#[test]
fn figures_are_those_of_the_store() {
    let broker = with_progress();
    let client = broker.client();
    let info: KvTable = client.ask(request_code::GET_BROKER_RUNTIME_INFO, &[]).json();
    let table = &info.table;
    assert_eq!(
        (
            table["brokerVersionDesc"].as_str(),
            table["brokerActive"].as_str()
        ),
        ("V5_5_0", "true")
    );
    assert_eq!(
        (
            table["msgPutTotalTodayNow"].as_str(),
            table["putMessageTimesTotal"].as_str()
        ),
        ("5", "5")
    );
    assert!(table["commitLogMaxOffset"].parse::<u64>().unwrap() > 0);
    assert_eq!(table["earliestMessageTimeStamp"], NOW_MS.to_string());
    assert_eq!(table["runtime"], "[ 0 days, 0 hours, 0 minutes, 5 seconds ]");
    assert_eq!(table["putTps"].split(' ').count(), 3);
    assert!(
        table["commitLogDirCapacity"].starts_with("Total : ")
            && table["commitLogDirCapacity"].ends_with("iB.")
    );
    // Every key that the reference answered right after its start, with one commit log path.
    let reference = include_str!("runtime-info-5.5.0.txt");
    let missing: Vec<&str> = reference
        .lines()
        .filter(|key| !table.contains_key(*key))
        .collect();
    assert_eq!(missing, Vec::<&str>::new());

    let data: BrokerStatsData = client
        .ask(
            request_code::VIEW_BROKER_STATS_DATA,
            &[("statsName", "TOPIC_PUT_NUMS"), ("statsKey", TOPIC)],
        )
        .json();
    assert_eq!(data.stats_minute.sum, 5);
    client
        .ask(
            request_code::VIEW_BROKER_STATS_DATA,
            &[("statsName", "TOPIC_PUT_NUMS"), ("statsKey", "Nowhere")],
        )
        .refused(1, "The stats <TOPIC_PUT_NUMS> <Nowhere> not exist");
    let ha: HaRuntimeInfo = client.ask(request_code::GET_BROKER_HA_STATUS, &[]).json();
    assert!(ha.master && ha.ha_connection_info.is_empty());
    assert_eq!(
        ha.master_commit_log_max_offset.to_string(),
        table["commitLogMaxOffset"]
    );
}

#[test]
fn entries_of_a_queue_are_shown() {
    let broker = with_progress();
    let client = broker.client();
    let ask = |index: &str, count: &str, group: Option<&str>| {
        let mut fields = vec![
            ("topic", TOPIC),
            ("queueId", "0"),
            ("index", index),
            ("count", count),
        ];
        fields.extend(group.map(|group| ("consumerGroup", group)));
        client.ask(request_code::QUERY_CONSUME_QUEUE, &fields)
    };
    let body: QueryConsumeQueueResponseBody = ask("1", "2", Some(GROUP)).json();
    assert_eq!((body.min_queue_index, body.max_queue_index), (0, 5));
    let entries = body.queue_data.unwrap();
    assert_eq!(entries.len(), 2);
    assert!(entries[0].physic_offset > 0 && entries[0].physic_size > 0);
    assert_eq!(body.filter_data.as_deref(), Some("Readers@Orders is not online!"));
    let beyond: QueryConsumeQueueResponseBody = ask("9", "2", None).json();
    assert_eq!(beyond.queue_data, Some(Vec::new()));
    client
        .ask(
            request_code::QUERY_CONSUME_QUEUE,
            &[
                ("topic", "Nowhere"),
                ("queueId", "3"),
                ("index", "0"),
                ("count", "1"),
            ],
        )
        .refused(1, "3@Nowhere is not exist!");
}

/// A consumer that answers what a broker asks on behalf of an operator.
struct FakeConsumer;

fn tell_running_info(_: &FakeConsumer, request: Request<'_, GetConsumerRunningInfoRequestHeader>) -> Handled {
    let text = format!(
        "{{\"jstack\":{},\"mqTable\":{{{{\"topic\":\"t\"}}:1}}}}",
        request.header.jstack_enable
    );
    Ok(Response::success().body(text).into())
}

fn tell_status(_: &FakeConsumer, request: Request<'_, GetConsumerStatusRequestHeader>) -> Handled {
    let body = GetConsumerStatusBody {
        message_queue_table: [(MessageQueue::new(request.header.topic, "broker-a", 1), 7)].into(),
        ..GetConsumerStatusBody::default()
    };
    Ok(Response::success().body(fastjson::to_vec(&body).unwrap()).into())
}

fn consume(_: &FakeConsumer, request: Request<'_, NoHeader>) -> Handled {
    let record = record::decode(request.body()).expect("a stored message");
    let text = format!(
        "{} {}",
        request.fields().get("brokerName").unwrap(),
        String::from_utf8_lossy(record.body)
    );
    Ok(Response::success().body(text).into())
}

remoting::routes! { FakeConsumer;
    GET_CONSUMER_RUNNING_INFO       => GetConsumerRunningInfoRequestHeader, tell_running_info, inline;
    GET_CONSUMER_STATUS_FROM_CLIENT => GetConsumerStatusRequestHeader,      tell_status,       inline;
    CONSUME_MESSAGE_DIRECTLY        => NoHeader,                            consume,           inline;
}

impl ConnectionEvents for FakeConsumer {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_for_a_client_are_passed_on_over_its_own_connection() {
    let broker = with_progress();
    let msg_id = broker.client().must_send(TOPIC, &[], b"again");
    broker.settle();
    let server = Server::bind(
        address("127.0.0.1:0"),
        ServerConfig::default(),
        Arc::clone(&broker.broker),
    )
    .await
    .unwrap();
    let target = server.local_addr().to_string();
    let timeout = Duration::from_secs(20);
    let consumer = Client::with_routes(ClientConfig::default(), Arc::new(FakeConsumer));
    let body = fastjson::to_vec(&heartbeat("c1", GROUP, vec![crate::filter::tags::all(TOPIC)])).unwrap();
    consumer
        .invoke(
            &target,
            OutgoingRequest::new(request_code::HEART_BEAT).body(body),
            timeout,
        )
        .await
        .unwrap();

    let admin = Client::new(ClientConfig::default());
    let ask = async |code: i32, fields: &[(&str, &str)]| {
        Answer::of_frame(
            &admin
                .invoke(&target, request(code, fields), timeout)
                .await
                .expect("an answer"),
        )
    };
    let of_c1 = [
        ("consumerGroup", GROUP),
        ("clientId", "c1"),
        ("jstackEnable", "true"),
    ];
    let info = ask(request_code::GET_CONSUMER_RUNNING_INFO, &of_c1).await;
    assert_eq!(
        info.body, "{\"jstack\":true,\"mqTable\":{{\"topic\":\"t\"}:1}}",
        "byte for byte"
    );
    ask(
        request_code::GET_CONSUMER_RUNNING_INFO,
        &[("consumerGroup", GROUP), ("clientId", "c2")],
    )
    .await
    .refused(1, "The Consumer <Readers> <c2> not online");

    let status = ask(
        request_code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS,
        &[("topic", TOPIC), ("group", GROUP)],
    )
    .await;
    let table = status.json::<GetConsumerStatusBody>().consumer_table;
    assert_eq!(table["c1"][&queue(1)], 7);

    let of_message = [
        ("consumerGroup", GROUP),
        ("clientId", "c1"),
        ("msgId", msg_id.as_str()),
        ("topic", TOPIC),
    ];
    let consumed = ask(request_code::CONSUME_MESSAGE_DIRECTLY, &of_message).await;
    assert_eq!(consumed.body, "broker-a again");
    let unknown = [("consumerGroup", GROUP), ("clientId", "c1"), ("msgId", "x")];
    let unknown = ask(request_code::CONSUME_MESSAGE_DIRECTLY, &unknown).await;
    assert_eq!(unknown.code, response_code::SYSTEM_ERROR);
    server.stop().await;
}

#[test]
fn lite_topics_are_counted_as_none_and_refused_as_for_ordinary_topics() {
    let broker = with_progress();
    let client = broker.client();
    let info: remoting::body::lite::GetBrokerLiteInfoResponseBody =
        client.ask(request_code::GET_BROKER_LITE_INFO, &[]).json();
    assert_eq!(info.store_type.as_deref(), Some("default"));
    assert_eq!(
        (info.cq_table_size, info.offset_table_size, info.current_lmq_num),
        (1, 1, 0)
    );
    let refusals = [
        (
            request_code::GET_PARENT_TOPIC_INFO,
            "topic",
            TOPIC,
            response_code::INVALID_PARAMETER,
        ),
        (
            request_code::GET_PARENT_TOPIC_INFO,
            "topic",
            "No",
            response_code::TOPIC_NOT_EXIST,
        ),
        (
            request_code::GET_LITE_TOPIC_INFO,
            "parentTopic",
            TOPIC,
            response_code::INVALID_PARAMETER,
        ),
        (
            request_code::GET_LITE_CLIENT_INFO,
            "parentTopic",
            "No",
            response_code::TOPIC_NOT_EXIST,
        ),
        (
            request_code::GET_LITE_GROUP_INFO,
            "group",
            GROUP,
            response_code::INVALID_PARAMETER,
        ),
        (
            request_code::GET_LITE_GROUP_INFO,
            "group",
            "No",
            response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
        ),
        (
            request_code::TRIGGER_LITE_DISPATCH,
            "group",
            "No",
            response_code::SUBSCRIPTION_GROUP_NOT_EXIST,
        ),
    ];
    for (code, field, value, refused) in refusals {
        assert_eq!(
            client.ask(code, &[(field, value)]).code,
            refused,
            "{code} {value}"
        );
    }
}

#[test]
fn the_rocksdb_requests_answer_as_for_a_broker_without_rocksdb() {
    let broker = with_progress();
    let client = broker.client();
    let tables = [("configType", "topics;consumerOffsets;")];
    client
        .ask(request_code::EXPORT_ROCKSDB_CONFIG_TO_JSON, &tables)
        .succeeded();
    let unknown = client.ask(
        request_code::EXPORT_ROCKSDB_CONFIG_TO_JSON,
        &[("configType", "users")],
    );
    assert_eq!(unknown.code, response_code::INVALID_PARAMETER);
    let check: remoting::body::broker::CheckRocksdbCqWriteResult = client
        .ask(request_code::CHECK_ROCKSDB_CQ_WRITE_PROGRESS, &[("topic", TOPIC)])
        .json();
    assert_eq!(check.check_status, 2, "under way: what comes of it is logged");
    client
        .ask(request_code::SWITCH_TIMER_ENGINE, &[("E_T", "F")])
        .succeeded();
    for engine in ["R", "X", ""] {
        let refused = client.ask(request_code::SWITCH_TIMER_ENGINE, &[("E_T", engine)]);
        assert_eq!(refused.code, response_code::INVALID_PARAMETER, "{engine}");
    }
}

#[test]
fn keys_without_a_value_are_shown_once_they_have_one() {
    let broker = TestBroker::new();
    let client = broker.client();
    let shown = || {
        let answer = client.ask(request_code::GET_BROKER_CONFIG, &[]);
        String::from_utf8_lossy(&answer.body).contains("haMasterAddress=")
    };
    assert!(!shown());
    let update =
        OutgoingRequest::new(request_code::UPDATE_BROKER_CONFIG).body("haMasterAddress=10.0.0.2:10912\n");
    client.call(update).succeeded();
    assert!(shown());
}

//! Life stories of brokers, told as tables: each row is an event and what clients see after it.

use std::time::Duration;

use common::clock::Now;
use proptest::prelude::*;
use remoting::body::{DataVersion, TopicConfig};

use super::*;

const CLUSTER: &str = "DefaultCluster";
const RW: i32 = perm::READ | perm::WRITE;

fn at(seconds: u64) -> Now {
    Now {
        wall_ms: 0,
        monotonic: Duration::from_secs(seconds),
    }
}

fn topic(name: &str) -> TopicConfig {
    TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums: 4,
        write_queue_nums: 4,
        perm: RW,
        ..TopicConfig::default()
    }
}

fn version(state_version: i64, counter: i64) -> DataVersion {
    DataVersion {
        state_version,
        counter,
        timestamp: 0,
    }
}

/// A 5.x broker of CLUSTER with topics T and U; its address follows from name and id, its connection is 1.
fn broker(name: &str, id: i64) -> Registration {
    Registration {
        cluster: CLUSTER.to_owned(),
        broker_name: name.to_owned(),
        broker_addr: format!("{name}-{id}:10911"),
        broker_id: id,
        ha_server_addr: Some(format!("{name}-{id}:10912")),
        enable_acting_master: Some(false),
        data_version: version(0, 1),
        topics: vec![topic("T"), topic("U")],
        connection: 1,
        ..Registration::default()
    }
}

fn acting(name: &str, id: i64) -> Registration {
    Registration {
        enable_acting_master: Some(true),
        ..broker(name, id)
    }
}

fn registered(table: &mut RouteTable, registration: Registration) -> Registered {
    table.register(registration, false, at(0)).unwrap()
}

/// A route in one line: `name perm id=addr,id=addr; ...`.
fn route_of(table: &RouteTable, topic: &str) -> String {
    show(table.route(topic, false))
}

fn show(route: Option<TopicRouteData>) -> String {
    let Some(route) = route else {
        return "none".to_owned();
    };
    let line = |queues: &QueueData| {
        let group = route
            .broker_datas
            .iter()
            .find(|group| group.broker_name == queues.broker_name)
            .unwrap();
        let addrs: Vec<String> = group
            .broker_addrs
            .iter()
            .map(|(id, addr)| format!("{id}={addr}"))
            .collect();
        format!("{} {} {}", queues.broker_name, queues.perm, addrs.join(","))
    };
    route.queue_datas.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// Everything that must be true after any event.
fn assert_invariants(table: &RouteTable) {
    for (topic, queues) in &table.topics {
        assert!(!queues.0.is_empty(), "{topic} without broker");
        assert!(
            queues.0.is_sorted_by(|a, b| a.broker_name < b.broker_name),
            "{topic} not sorted"
        );
        assert!(
            queues
                .0
                .iter()
                .all(|queues| table.groups.contains_key(&queues.broker_name)),
            "{topic}"
        );
    }
    for (name, group) in &table.groups {
        assert!(!group.addrs.is_empty(), "{name} without address");
        let different: HashSet<&String> = group.addrs.values().collect();
        assert_eq!(different.len(), group.addrs.len(), "{name} has an address twice");
        assert!(
            table.clusters.values().any(|names| names.contains(&**name)),
            "{name} in no cluster"
        );
    }
    for (cluster, names) in &table.clusters {
        assert!(!names.is_empty(), "{cluster} empty");
        assert!(
            names.iter().all(|name| table.groups.contains_key(name.as_str())),
            "{cluster}"
        );
    }
    assert!(
        table
            .mappings
            .keys()
            .all(|topic| table.topics.contains_key(topic)),
        "mapping without topic"
    );
}

#[test]
fn a_master_and_its_slave_come_and_go() {
    let mut table = RouteTable::default();
    type Event = fn(&mut RouteTable);
    let story: [(&str, Event, &str); 7] = [
        ("nobody", |_| {}, "none"),
        (
            "master",
            |t| drop(registered(t, broker("a", 0))),
            "a 6 0=a-0:10911",
        ),
        (
            "slave",
            |t| drop(registered(t, broker("a", 1))),
            "a 6 0=a-0:10911,1=a-1:10911",
        ),
        (
            "master again",
            |t| drop(registered(t, broker("a", 0))),
            "a 6 0=a-0:10911,1=a-1:10911",
        ),
        (
            "stranger leaves",
            |t| drop(t.unregister(CLUSTER, "a", "x:1")),
            "a 6 0=a-0:10911,1=a-1:10911",
        ),
        (
            "master leaves",
            |t| drop(t.unregister(CLUSTER, "a", "a-0:10911")),
            "a 6 1=a-1:10911",
        ),
        (
            "slave leaves",
            |t| drop(t.unregister(CLUSTER, "a", "a-1:10911")),
            "none",
        ),
    ];
    for (event, apply, expected) in story {
        apply(&mut table);
        assert_eq!(route_of(&table, "T"), expected, "after: {event}");
        assert_invariants(&table);
    }
    assert_eq!(table.cluster_info(), ClusterInfo::default());
}

#[test]
fn a_slave_learns_its_master_and_a_master_nothing() {
    let mut table = RouteTable::default();
    assert_eq!(
        registered(&mut table, broker("a", 1)),
        Registered::default(),
        "no master yet"
    );
    assert_eq!(registered(&mut table, broker("a", 0)).master_addr, None);
    assert_eq!(
        registered(&mut table, broker("a", 1)),
        Registered {
            ha_server_addr: Some("a-0:10912".to_owned()),
            master_addr: Some("a-0:10911".to_owned()),
            new_min_broker_id: None
        }
    );
}

#[test]
fn two_brokers_share_a_topic_and_part_with_it_one_by_one() {
    let mut table = RouteTable::default();
    registered(&mut table, broker("b", 0));
    registered(
        &mut table,
        Registration {
            topics: vec![topic("T"), topic("V")],
            ..broker("a", 0)
        },
    );
    assert_eq!(route_of(&table, "T"), "a 6 0=a-0:10911; b 6 0=b-0:10911");
    assert_eq!(route_of(&table, "U"), "b 6 0=b-0:10911");
    assert_eq!(table.topics(), ["T", "U", "V"]);
    assert_eq!(table.topics_of_cluster(CLUSTER), ["T", "U", "V"]);
    assert_eq!(table.topics_of_cluster("other"), [""; 0]);
    assert_eq!(
        table.system_topics(),
        (
            vec![CLUSTER.to_owned(), "a".to_owned(), "b".to_owned()],
            Some("a-0:10911".to_owned())
        )
    );

    let departures = table.unregister(CLUSTER, "b", "b-0:10911");

    assert_eq!(departures.removed, [BrokerAddr::new(CLUSTER, "b-0:10911")]);
    assert_eq!(table.topics(), ["T", "V"]);
    assert_invariants(&table);
}

#[test]
fn a_broker_is_dropped_after_its_own_timeout_of_silence() {
    let mut table = RouteTable::default();
    let patient = Registration {
        connection: 7,
        ..broker("patient", 0)
    };
    let hasty = Registration {
        heartbeat_timeout: Some(Duration::from_secs(10)),
        connection: 8,
        ..broker("hasty", 0)
    };
    registered(&mut table, patient);
    registered(&mut table, hasty);

    assert_eq!(table.expire(at(10)), Departures::default());
    let departures = table.expire(at(11));
    assert_eq!(departures.connections, [8]);
    assert_eq!(departures.removed, [BrokerAddr::new(CLUSTER, "hasty-0:10911")]);

    table.heartbeat(&BrokerAddr::new(CLUSTER, "patient-0:10911"), at(100));
    assert_eq!(table.expire(at(220)), Departures::default());
    assert_eq!(table.expire(at(221)).connections, [7]);
    assert_eq!(table.topics(), [""; 0]);
    assert_invariants(&table);
}

#[test]
fn a_closed_connection_takes_all_its_brokers_but_not_one_that_reconnected() {
    let mut table = RouteTable::default();
    registered(
        &mut table,
        Registration {
            connection: 1,
            ..broker("moved", 0)
        },
    );
    registered(
        &mut table,
        Registration {
            connection: 1,
            ..broker("left", 0)
        },
    );
    registered(
        &mut table,
        Registration {
            connection: 1,
            ..broker("left", 1)
        },
    );
    registered(
        &mut table,
        Registration {
            connection: 2,
            ..broker("moved", 0)
        },
    );

    let departures = table.connection_closed(1);

    assert_eq!(departures.removed.len(), 2);
    assert_eq!(route_of(&table, "T"), "moved 6 0=moved-0:10911");
    assert_eq!(table.connection_closed(1), Departures::default());
    assert_invariants(&table);
}

#[test]
fn an_unchanged_registration_only_refreshes_what_is_there() {
    let mut table = RouteTable::default();
    registered(&mut table, broker("a", 0));
    assert_eq!(table.wipe_write_perm("a"), 2);

    let unchanged = Registration {
        topics: vec![topic("T"), topic("New")],
        ..broker("a", 0)
    };
    table.register(unchanged, false, at(100)).unwrap();
    assert_eq!(
        route_of(&table, "T"),
        "a 4 0=a-0:10911",
        "same data version, wiped permission stays"
    );
    assert_eq!(
        route_of(&table, "New"),
        "a 6 0=a-0:10911",
        "what is missing is filled in"
    );
    assert_eq!(
        table.expire(at(200)),
        Departures::default(),
        "and it counts as a sign of life"
    );

    registered(
        &mut table,
        Registration {
            data_version: version(0, 2),
            ..broker("a", 0)
        },
    );
    assert_eq!(
        route_of(&table, "T"),
        "a 6 0=a-0:10911",
        "new data version, the broker's word counts"
    );
}

#[test]
fn write_permission_is_wiped_and_added_by_broker_name() {
    let mut table = RouteTable::default();
    registered(&mut table, broker("a", 0));
    registered(&mut table, broker("b", 0));

    assert_eq!(table.wipe_write_perm("a"), 2);
    assert_eq!(route_of(&table, "T"), "a 4 0=a-0:10911; b 6 0=b-0:10911");
    assert_eq!(table.add_write_perm("a"), 2);
    assert_eq!(route_of(&table, "T"), "a 6 0=a-0:10911; b 6 0=b-0:10911");
    assert_eq!(table.wipe_write_perm("unknown"), 0);
}

#[test]
fn a_topic_is_deleted_everywhere_or_in_one_cluster() {
    let mut table = RouteTable::default();
    registered(&mut table, broker("a", 0));
    registered(
        &mut table,
        Registration {
            cluster: "other".to_owned(),
            ..broker("b", 0)
        },
    );

    table.delete_topic("T", Some("unknown"));
    table.delete_topic("T", Some(CLUSTER));
    assert_eq!(route_of(&table, "T"), "b 6 0=b-0:10911");
    table.delete_topic("T", Some("other"));
    assert_eq!(route_of(&table, "T"), "none");
    table.delete_topic("U", None);
    table.delete_topic("never", None);
    assert_eq!(table.topics(), [""; 0]);
    assert_invariants(&table);
}

#[test]
fn topics_missing_from_a_registration_go_only_when_told_to() {
    for (delete_missing, topics) in [(false, vec!["T", "U", "V"]), (true, vec!["T", "V"])] {
        let mut table = RouteTable::default();
        registered(&mut table, broker("a", 0));
        let fewer = Registration {
            topics: vec![topic("T"), topic("V")],
            data_version: version(0, 2),
            ..broker("a", 0)
        };
        table.register(fewer, delete_missing, at(0)).unwrap();
        assert_eq!(table.topics(), topics, "delete_missing = {delete_missing}");
        assert_invariants(&table);
    }
}

#[test]
fn a_slave_does_not_write_topics_unless_it_may_act_as_master() {
    let cases = [
        (
            "before 5.0",
            Registration {
                enable_acting_master: None,
                ..broker("a", 1)
            },
            "none",
        ),
        ("5.x, prime slave", broker("a", 1), "a 6 1=a-1:10911"),
        ("acting master", acting("a", 1), "a 4 1=a-1:10911"),
    ];
    for (what, slave, expected) in cases {
        let mut table = RouteTable::default();
        registered(&mut table, slave);
        assert_eq!(route_of(&table, "T"), expected, "{what}");
    }
    let mut table = RouteTable::default();
    registered(&mut table, acting("a", 0));
    registered(
        &mut table,
        Registration {
            topics: vec![topic("T"), topic("Slave")],
            ..acting("a", 1)
        },
    );
    assert_eq!(route_of(&table, "Slave"), "none", "not the smallest id");
}

#[test]
fn without_its_master_a_group_is_read_only_and_its_smallest_slave_acts() {
    let mut table = RouteTable::default();
    for id in [0, 1, 2] {
        registered(&mut table, acting("a", id));
    }
    let departures = table.unregister(CLUSTER, "a", "a-0:10911");

    assert_eq!(route_of(&table, "T"), "a 4 1=a-1:10911,2=a-2:10911");
    assert_eq!(
        show(table.route("T", true)),
        "a 4 0=a-1:10911,2=a-2:10911",
        "as clients are shown it"
    );
    let change = MinBrokerIdChange {
        min_broker_id: 1,
        min_broker_addr: "a-1:10911".to_owned(),
        offline_broker_addr: Some("a-0:10911".to_owned()),
        ha_broker_addr: None,
        notify: vec!["a-1:10911".to_owned(), "a-2:10911".to_owned()],
    };
    assert_eq!(departures.new_min_broker_ids, [change]);

    let back = registered(&mut table, acting("a", 0));
    assert_eq!(
        back.new_min_broker_id,
        Some(MinBrokerIdChange {
            min_broker_id: 0,
            min_broker_addr: "a-0:10911".to_owned(),
            offline_broker_addr: None,
            ha_broker_addr: Some("a-0:10912".to_owned()),
            notify: vec!["a-1:10911".to_owned(), "a-2:10911".to_owned()],
        })
    );
    assert_eq!(route_of(&table, "T"), "a 6 0=a-0:10911,1=a-1:10911,2=a-2:10911");
}

#[test]
fn acting_masters_are_shown_neither_for_writable_groups_nor_in_member_topics() {
    let member_topic = "rmq_sys_SYNC_BROKER_MEMBER_a";
    let mut table = RouteTable::default();
    registered(
        &mut table,
        Registration {
            topics: vec![topic("T"), topic(member_topic)],
            ..acting("a", 1)
        },
    );

    assert_eq!(show(table.route(member_topic, true)), "a 4 1=a-1:10911");
    table.add_write_perm("a");
    assert_eq!(show(table.route("T", true)), "a 6 1=a-1:10911");
}

#[test]
fn a_slave_that_becomes_master_keeps_one_place() {
    let mut table = RouteTable::default();
    registered(&mut table, broker("a", 1));
    let promoted = Registration {
        broker_id: 0,
        ..broker("a", 1)
    };
    registered(&mut table, promoted);
    assert_eq!(route_of(&table, "T"), "a 6 0=a-1:10911");
    assert_invariants(&table);
}

#[test]
fn of_two_processes_with_one_id_the_higher_state_version_stays() {
    let addr = |addr: &str, state| Registration {
        broker_addr: addr.to_owned(),
        data_version: version(state, 1),
        ..broker("a", 0)
    };
    let mut table = RouteTable::default();
    registered(&mut table, addr("elected:1", 5));
    registered(
        &mut table,
        Registration {
            broker_id: 1,
            ..addr("old:1", 4)
        },
    );

    registered(&mut table, addr("old:1", 4));
    assert_eq!(
        route_of(&table, "T"),
        "a 6 0=elected:1",
        "the loser is not routed to, not even as slave"
    );
    assert_eq!(table.data_version(&BrokerAddr::new(CLUSTER, "old:1")), None);

    registered(&mut table, addr("new:1", 5));
    assert_eq!(
        route_of(&table, "T"),
        "a 6 0=new:1",
        "with equal state versions the latest counts"
    );
    assert_invariants(&table);
}

#[test]
fn an_address_has_one_name_at_a_time() {
    let mut table = RouteTable::default();
    registered(&mut table, broker("old", 0));
    let renamed = Registration {
        broker_name: "new".to_owned(),
        ..broker("old", 0)
    };
    registered(&mut table, renamed);
    assert_eq!(route_of(&table, "T"), "new 6 0=old-0:10911");

    table.unregister(CLUSTER, "old", "old-0:10911");
    assert_eq!(
        route_of(&table, "T"),
        "new 6 0=old-0:10911",
        "goodbye under the old name"
    );
    assert_invariants(&table);
}

#[test]
fn a_single_topic_is_refused_before_the_first_full_registration() {
    let mut table = RouteTable::default();
    let single = Registration {
        topics: vec![topic("T")],
        ..broker("a", 0)
    };
    assert_eq!(
        table.register(single.clone(), false, at(0)),
        Err(RegistrationRefused::NotRegisteredYet)
    );
    assert_eq!(table.cluster_info(), ClusterInfo::default());

    registered(&mut table, broker("a", 0));
    let single = Registration {
        topics: vec![topic("New")],
        data_version: version(0, 2),
        ..single
    };
    registered(&mut table, single);
    assert_eq!(table.topics(), ["New", "T", "U"]);
}

#[test]
fn a_single_topic_registers_only_on_known_brokers() {
    let queues = |name: &str| QueueData {
        broker_name: name.to_owned(),
        perm: RW,
        ..QueueData::default()
    };
    let mut table = RouteTable::default();
    registered(&mut table, broker("a", 0));
    assert!(table.register_topic("New", &[queues("a")]));
    assert!(!table.register_topic("T", &[queues("a"), queues("unknown")]));
    assert_eq!(route_of(&table, "New"), "a 6 0=a-0:10911");
    assert_invariants(&table);
}

#[test]
fn a_flood_of_names_ends_at_the_limits() {
    let mut table = RouteTable::with_limits(Limits {
        topics: 3,
        brokers: 2,
    });
    let topics = (0..10).map(|n| topic(&format!("T{n}"))).collect();
    registered(
        &mut table,
        Registration {
            topics,
            ..broker("a", 0)
        },
    );
    registered(&mut table, broker("b", 0));
    assert_eq!(table.topics(), ["T0", "T1", "T2"]);
    assert_eq!(
        table.register(broker("c", 0), false, at(0)),
        Err(RegistrationRefused::TooManyBrokers { limit: 2 })
    );
    registered(&mut table, broker("a", 0));
    assert_invariants(&table);
}

#[test]
fn unit_topics_are_told_apart_by_their_flags() {
    let flagged = |name: &str, flag| TopicConfig {
        topic_sys_flag: flag,
        ..topic(name)
    };
    let mut table = RouteTable::default();
    let topics = vec![
        flagged("none", 0),
        flagged("unit", 1),
        flagged("sub", 2),
        flagged("both", 3),
    ];
    registered(
        &mut table,
        Registration {
            topics,
            ..broker("a", 0)
        },
    );

    assert_eq!(table.unit_topics(UnitTopics::Unit), ["both", "unit"]);
    assert_eq!(table.unit_topics(UnitTopics::HasUnitSub), ["both", "sub"]);
    assert_eq!(table.unit_topics(UnitTopics::HasUnitSubUnUnit), ["sub"]);
}

#[test]
fn zones_mappings_and_filter_servers_reach_the_route() {
    let mapping = TopicQueueMappingInfo {
        bname: "a".to_owned(),
        ..TopicQueueMappingInfo::default()
    };
    let mut table = RouteTable::default();
    registered(
        &mut table,
        Registration {
            zone_name: Some("z1".to_owned()),
            mappings: vec![
                ("T".to_owned(), mapping.clone()),
                ("not registered".to_owned(), mapping),
            ],
            filter_servers: Some(vec!["f:1".to_owned()]),
            ..broker("a", 0)
        },
    );

    let route = table.route("T", false).unwrap();
    assert_eq!(route.broker_datas[0].zone_name.as_deref(), Some("z1"));
    assert_eq!(
        route
            .topic_queue_mapping_by_broker
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["a"]
    );
    assert_eq!(route.filter_server_table["a-0:10911"], ["f:1"]);
    assert_eq!(
        table.route("U", false).unwrap().topic_queue_mapping_by_broker,
        None
    );
    assert_invariants(&table);

    table.unregister(CLUSTER, "a", "a-0:10911");
    assert_invariants(&table);
}

#[test]
fn a_member_group_lists_its_addresses_and_is_empty_when_unknown() {
    let mut table = RouteTable::default();
    registered(&mut table, broker("a", 0));
    registered(&mut table, broker("a", 2));
    let ids = |name| {
        table
            .broker_member_group(CLUSTER, name)
            .broker_addrs
            .keys()
            .copied()
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("a"), [0, 2]);
    assert_eq!(ids("unknown"), [0; 0]);
}

/// One of few brokers, topics and connections does something, so that events meet each other.
#[derive(Clone, Debug)]
enum Event {
    Register {
        name: u8,
        id: i64,
        addr: u8,
        connection: u64,
        version: i64,
        topics: u8,
        acting: bool,
        delete: bool,
    },
    Unregister {
        name: u8,
        addr: u8,
    },
    Close {
        connection: u64,
    },
    Silence {
        seconds: u64,
    },
    Heartbeat {
        addr: u8,
    },
    RegisterTopic {
        topic: u8,
        name: u8,
    },
    DeleteTopic {
        topic: u8,
        everywhere: bool,
    },
    WipeWritePerm {
        name: u8,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..3_u8, 0..3_i64, 0..4_u8, 0..3_u64, 0..3_i64, 0..8_u8, any::<(bool, bool)>()).prop_map(
            |(name, id, addr, connection, version, topics, (acting, delete))| {
                Event::Register { name, id, addr, connection, version, topics, acting, delete }
            }
        ),
        2 => (0..3_u8, 0..4_u8).prop_map(|(name, addr)| Event::Unregister { name, addr }),
        1 => (0..3_u64).prop_map(|connection| Event::Close { connection }),
        1 => (1..90_u64).prop_map(|seconds| Event::Silence { seconds }),
        1 => (0..4_u8).prop_map(|addr| Event::Heartbeat { addr }),
        1 => (0..3_u8, 0..3_u8).prop_map(|(topic, name)| Event::RegisterTopic { topic, name }),
        1 => (0..3_u8, any::<bool>()).prop_map(|(topic, everywhere)| Event::DeleteTopic { topic, everywhere }),
        1 => (0..3_u8).prop_map(|name| Event::WipeWritePerm { name }),
    ]
}

fn apply(table: &mut RouteTable, event: Event, now: &mut u64) {
    match event {
        Event::Register {
            name,
            id,
            addr,
            connection,
            version: state,
            topics,
            acting,
            delete,
        } => {
            let registration = Registration {
                cluster: CLUSTER.to_owned(),
                broker_name: format!("n{name}"),
                broker_addr: format!("h{addr}"),
                broker_id: id,
                enable_acting_master: Some(acting),
                data_version: version(state, 1),
                topics: (0..3)
                    .filter(|bit| topics & (1 << bit) != 0)
                    .map(|n| topic(&format!("T{n}")))
                    .collect(),
                connection,
                ..Registration::default()
            };
            // A refusal is one of the outcomes.
            let _ = table.register(registration, delete, at(*now));
        }
        Event::Unregister { name, addr } => {
            let addr = format!("h{addr}");
            table.unregister(CLUSTER, &format!("n{name}"), &addr);
        }
        Event::Close { connection } => {
            table.connection_closed(connection);
            assert!(table.live.values().all(|live| live.connection != connection));
        }
        Event::Silence { seconds } => {
            *now += seconds;
            table.expire(at(*now));
        }
        Event::Heartbeat { addr } => {
            table.heartbeat(&BrokerAddr::new(CLUSTER, &format!("h{addr}")), at(*now))
        }
        Event::RegisterTopic { topic, name } => {
            let queues = QueueData {
                broker_name: format!("n{name}"),
                perm: RW,
                ..QueueData::default()
            };
            table.register_topic(&format!("T{topic}"), &[queues]);
        }
        Event::DeleteTopic { topic, everywhere } => {
            table.delete_topic(&format!("T{topic}"), (!everywhere).then_some(CLUSTER));
        }
        Event::WipeWritePerm { name } => {
            table.wipe_write_perm(&format!("n{name}"));
        }
    }
}

proptest! {
    #[test]
    fn no_order_of_events_breaks_the_table(events in prop::collection::vec(event(), 1..60)) {
        let mut table = RouteTable::default();
        let mut now = 0;
        for event in events {
            apply(&mut table, event, &mut now);
            assert_invariants(&table);
        }
        table.expire(at(now + 121));
        prop_assert_eq!(table.cluster_info(), ClusterInfo::default(), "after a long silence");
        prop_assert!(table.live.is_empty() && table.topics.is_empty());
    }
}

//! The corpus: what the golden vectors of the reference give each target, as one file for each input.
//!
//! `WRITE_CORPUS=1 cargo test -p fuzz-targets --test corpus` writes the files anew. What fuzzers add stands beside them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use broker::pop::handle::PopHandle;
use broker::registry::order_log::{self, BatchChange};
use broker::registry::persist::whole_lines;
use broker::registry::topics::SavedChange;
use bytes::Bytes;
use common::message::id::parse_offset_msg_id;
use common::names;
use fuzz_targets::bodies::CLASSES;
use fuzz_targets::headers::HEADERS;
use remoting::body::{OrderInfo, TopicConfig, fastjson};
use remoting::frame::Frame;
use remoting::request::OutgoingRequest;
use serde_json::Value;
use store::queue_note::rewrite_topics;
use store::timer::{TimerUnit, UnitKind, topic_hash};
use store::{PhysicalOffset, QueueKind, rewrite_entry};

const VECTORS: &str = include_str!("../../remoting/tests/data/vectors.json");
const BODY_SHAPES: &str = include_str!("../../remoting/tests/data/body-shapes.txt");
const HEADER_FIELDS: &str = include_str!("../../remoting/tests/data/header-fields.txt");
const SQL92_VECTORS: &str = include_str!("../../broker/tests/data/sql92-vectors.txt");
const TRANSACTIONS: &str = include_str!("../../broker/tests/data/java-transactions/records.txt");
const BROKER_CONFIG: &str = include_str!("../../broker/src/config/reference-5.5.0.properties");

/// Files of a Java broker in the order of the registry target.
const REGISTRY_FILES: [(usize, &str); 8] = [
    (0, "topics.json"),
    (1, "subscriptionGroup.json"),
    (2, "consumerOffset.json"),
    (3, "delayOffset.json"),
    (4, "consumerFilter.json"),
    (5, "consumerOrderInfo.json"),
    (8, "timermetrics"),
    (9, "transactionMetrics"),
];

/// Longer inputs make a fuzzer slow and show nothing more.
const MAX_INPUT_BYTES: usize = 4096;

/// Path below the corpus to content.
type Corpus = BTreeMap<String, Vec<u8>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// A byte that chooses, and what it chooses for.
fn chosen(choice: usize, rest: &[u8]) -> Vec<u8> {
    let mut input = vec![u8::try_from(choice).expect("fewer than 256 to choose from")];
    input.extend_from_slice(rest);
    assert!(input.len() <= MAX_INPUT_BYTES, "{}", input.escape_ascii());
    input
}

fn from_vectors(corpus: &mut Corpus) {
    let vectors: Value = serde_json::from_str(VECTORS).expect("the vectors are JSON");
    for vector in vectors["vectors"].as_array().expect("a list") {
        let Some(hex) = vector["hex"].as_str() else {
            continue;
        };
        let (id, bytes) = (vector["id"].as_str().expect("each has an id"), bytes(hex));
        match vector["kind"].as_str().expect("each has a kind") {
            "frame" => drop(corpus.insert(format!("frame/{id}"), bytes[4..].to_vec())),
            "stored-message" => drop(corpus.insert(format!("record/{id}"), bytes)),
            "batch-body" => drop(corpus.insert(format!("batch/{id}"), bytes)),
            "register-broker" => {
                let mut parts = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&bytes[..]), &mut parts)
                    .expect("a zlib stream");
                corpus.insert(format!("register_broker/{id}"), chosen(1, &bytes));
                corpus.insert(format!("register_broker/{id}-parts"), chosen(2, &parts));
            }
            _ => {}
        }
    }
}

fn bodies(corpus: &mut Corpus) {
    for line in BODY_SHAPES.lines().filter(|line| !line.starts_with('#')) {
        let (name, json) = line.split_once(' ').expect("name and JSON");
        let choice = CLASSES.iter().position(|(class, _)| *class == name);
        let choice = choice.expect("each class has a row");
        corpus.insert(format!("body/{name}"), chosen(choice, json.as_bytes()));
        match name {
            "RegisterBrokerBody" => {
                corpus.insert(format!("register_broker/{name}"), chosen(0, json.as_bytes()));
            }
            "SubscriptionGroupWrapper" => {
                corpus.insert(format!("registry/{name}"), chosen(1, json.as_bytes()));
            }
            "ConsumerOffsetSerializeWrapper" => {
                corpus.insert(format!("registry/{name}"), chosen(2, json.as_bytes()));
            }
            "TopicQueueMappingSerializeWrapper" => {
                corpus.insert(format!("registry/{name}"), chosen(6, json.as_bytes()));
            }
            "MessageRequestModeSerializeWrapper" => {
                corpus.insert(format!("registry/{name}"), chosen(7, json.as_bytes()));
            }
            _ => {}
        }
    }
}

/// Every header with every field, by turns in both dialects.
fn headers(corpus: &mut Corpus) {
    for line in HEADER_FIELDS.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (code, direction) = (words.next().expect("a code"), words.next().expect("a direction"));
        let choice = HEADERS.iter().position(|row| (row.0, row.1) == (code, direction));
        let choice = choice.expect("each header has a row");
        let mut request = OutgoingRequest::new(choice as i32);
        for (index, word) in words.enumerate() {
            let (name, kind) = word.split_once(':').expect("name:type");
            request = match kind.trim_end_matches('!') {
                "i" | "l" => request.field(name, 1000 + index),
                "b" => request.field(name, "true"),
                _ => request.field(name, "text"),
            };
        }
        let mut frame = Frame::of_request(&request);
        if choice % 2 == 1 {
            frame.serialize = remoting::frame::SerializeType::RocketMq;
        }
        let written = frame.encode().expect("it is short");
        // The words before the header are the target's; the dialect stays.
        let input = [&written[4..5], &written[8..]].concat();
        corpus.insert(format!("header/{code}-{direction}"), chosen(choice, &input));
    }
}

fn config_files(corpus: &mut Corpus) {
    let mut part = Vec::new();
    let mut parts = 0;
    for line in BROKER_CONFIG.split_inclusive('\n') {
        part.extend_from_slice(line.as_bytes());
        if part.len() > 200 {
            corpus.insert(format!("config/broker-{parts}"), std::mem::take(&mut part));
            parts += 1;
        }
    }
    corpus.insert(format!("config/broker-{parts}"), part);
    let odd = "# comment\n! another\nlistenPort : 10911\nbrokerName=a\\\n   b\nname\\ with\\=signs value\\u0041\\t\n";
    corpus.insert("config/odd".to_owned(), odd.into());

    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../remoting/tests/data/java-config");
    for (choice, name) in REGISTRY_FILES {
        let text = fs::read(files.join(name)).expect("the file is in the repository");
        let text = if text.len() < MAX_INPUT_BYTES {
            text
        } else {
            let value: Value = serde_json::from_slice(&text).expect("the long files are plain JSON");
            serde_json::to_vec(&shortened(value)).expect("it was JSON")
        };
        corpus.insert(format!("registry/{name}"), chosen(choice, &text));
    }
}

/// The same with two entries of each table.
fn shortened(value: Value) -> Value {
    match value {
        Value::Object(fields) if fields.len() > 40 || fields.values().all(Value::is_object) => fields
            .into_iter()
            .take(2)
            .map(|(name, value)| (name, shortened(value)))
            .collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, shortened(value)))
            .collect(),
        other => other,
    }
}

fn property_strings(corpus: &mut Corpus) {
    let strings = [
        (
            "usual",
            "TAGS\u{1}TagA\u{2}KEYS\u{1}k1 k2\u{2}UNIQ_KEY\u{1}7F0000010001070DEA4E0000000A0000\u{2}WAIT\u{1}true\u{2}",
        ),
        ("repeated", "k\u{1}1\u{2}x\u{1}y\u{2}k\u{1}2"),
        ("odd", "\u{1}b\u{2}ab\u{2}c\u{1}d\u{1}e\u{2}f\u{1}\u{2}"),
    ];
    for (name, text) in strings {
        corpus.insert(format!("message_properties/{name}"), text.into());
    }
}

/// Every fiftieth expression, each with one of the messages.
fn filters(corpus: &mut Corpus) {
    let lines = |kind: &'static str| {
        SQL92_VECTORS
            .lines()
            .filter_map(move |line| line.strip_prefix(kind))
    };
    let mut messages = lines("m\t").cycle();
    for (number, line) in lines("e\t").enumerate().step_by(50) {
        let (_, expression) = line.split_once('\t').expect("outcomes and expression");
        let message = messages.next().expect("messages without end");
        let message = message.replace('=', "\u{1}").replace(';', "\u{2}");
        corpus.insert(
            format!("sql92/{number}"),
            format!("{expression}\0{message}").into(),
        );
    }
}

/// Handles of popped and of waiting messages: what Java brokers have given out.
fn handles(corpus: &mut Corpus) {
    let recall = "djEgRnhUaW1lciBmeC1icm9rZXIgMTc5NTM3NzMzODAwMSBGRDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMjQxNkM0RTBFMkYyQTcwNkMxMjEyMDExNQ==";
    corpus.insert("recall_handle/java".to_owned(), chosen(0, recall.as_bytes()));
    let text = "v1 FxTimer fx-broker 1795377338001 FD00";
    corpus.insert("recall_handle/text".to_owned(), chosen(1, text.as_bytes()));
    let handles = [
        ("usual", "100 1764054000000 60000 3 1 broker-a 2 101"),
        ("ordered", "0 1764054000000 60000 999 0 broker-a 0 0"),
        ("of-an-old-client", "100 1764054000000 60000 3 0 broker-a"),
    ];
    for (name, text) in handles {
        corpus.insert(format!("pop_handle/{name}"), text.into());
    }
}

/// Checkpoints and acks of one pop, and which half messages are over.
fn system_records(corpus: &mut Corpus) {
    let checkpoint =
        r#"{"bm":0,"bn":"b","c":"g","d":[0,1,4],"it":60000,"n":3,"pt":1764054000000,"q":1,"so":10,"t":"t"}"#;
    let ack = r#"{"ao":11,"bn":"b","c":"g","pt":1764054000000,"q":1,"so":10,"t":"t"}"#;
    let batch = r#"{"ao":-1,"aol":[10,14],"bn":"b","c":"g","pt":1764054000000,"q":1,"so":10,"t":"t"}"#;
    // The remainders of the letters by 3 choose, and their fifth bit.
    for (name, text) in [
        ("checkpoint-first", format!("c{checkpoint}\na{ack}\nb{batch}")),
        (
            "acks-first",
            format!("b{batch}\na{ack}\nc{checkpoint}\nc{checkpoint}"),
        ),
        (
            "taken-over",
            format!("c{checkpoint}\ns{ack}\nr{checkpoint}\na{ack}"),
        ),
    ] {
        corpus.insert(format!("pop_records/{name}"), text.into());
    }
    corpus.insert(
        "op_message/three".to_owned(),
        b"0,17,18446744073709551615,".to_vec(),
    );
}

/// What lies beside the log: units of the timer, the note of a clean stop, changes of topics.
fn small_files(corpus: &mut Corpus) {
    let unit = TimerUnit {
        previous: Some(104),
        kind: UnitKind {
            rolls: true,
            deletes: false,
        },
        write_time_ms: 1_764_054_000_000,
        delay_ms: 3_000,
        physical_offset: PhysicalOffset(1 << 33),
        size_bytes: 300,
        topic_hash: topic_hash("Orders"),
        due_ms: Some(1_764_054_002_345),
    };
    let rolled = unit.encode().to_vec();
    let plain = TimerUnit {
        previous: None,
        kind: UnitKind::default(),
        due_ms: None,
        ..unit
    };
    corpus.insert("timer_unit/rolled".to_owned(), rolled);
    corpus.insert("timer_unit/plain".to_owned(), plain.encode().to_vec());

    // Topics: name, kind, queues; of each queue its id and eight numbers of seven bits a byte.
    let queue = |id: u8| [id, 0x80, 0x01, 0, 20, 40, 1, 2, 1, 0xFF, 0xFF, 0x01];
    let note = [
        &[1, b'T', 0, 2][..],
        &queue(0),
        &queue(7),
        &[2, b'B', b'Q', 1, 1],
        &queue(1),
    ]
    .concat();
    corpus.insert("queues_note/two-topics".to_owned(), note);

    let changes = [
        SavedChange {
            put: Some(TopicConfig::new("Orders", 4)),
            ..SavedChange::default()
        },
        SavedChange {
            removed: Some("Orders".to_owned()),
            ..SavedChange::default()
        },
    ];
    let line = |change| fastjson::to_vec(change).expect("a change is JSON");
    let lines: Vec<u8> = changes
        .iter()
        .flat_map(|change| [line(change), b"\n".to_vec()].concat())
        .collect();
    corpus.insert("topic_changes/put-and-removed".to_owned(), lines);
}

/// Half messages and op messages of a Java broker.
fn transactions(corpus: &mut Corpus) {
    for line in TRANSACTIONS.lines() {
        let (at, hex) = line.split_once(' ').expect("a place and more");
        let record = bytes(hex.rsplit(' ').next().expect("the bytes come last"));
        let record = store::record::decode(&record).expect("a record");
        match record.topic {
            names::TRANS_HALF_TOPIC => {
                corpus.insert(format!("half_message/{at}"), record.properties.into());
            }
            names::TRANS_OP_HALF_TOPIC => {
                corpus.insert(format!("op_message/{at}"), record.body.to_vec());
            }
            _ => {}
        }
    }
}

/// Properties as producers send them, and as the broker's own topics hold them.
fn stored_properties(corpus: &mut Corpus) {
    let text = |pairs: &[(&str, &str)]| -> Vec<u8> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| format!("{name}\u{1}{value}\u{2}"));
        pairs.collect::<String>().into_bytes()
    };
    let (id, place) = (
        "7F0000010001070DEA4E0000000A0000",
        [("REAL_TOPIC", "Orders"), ("REAL_QID", "5")],
    );
    let key = ("UNIQ_KEY", id);
    let sent: [(&str, &[(&str, &str)]); 6] = [
        (
            "usual",
            &[("TAGS", "TagA"), ("KEYS", "k1 k2"), key, ("WAIT", "true")],
        ),
        (
            "delayed",
            &[key, ("DELAY", "3"), ("WAIT", "false"), ("CLUSTER", "c")],
        ),
        (
            "timed",
            &[
                key,
                ("TIMER_DELAY_SEC", "60"),
                ("TIMER_DELIVER_MS", "1764054000000"),
            ],
        ),
        ("half", &[key, ("TRAN_MSG", "true"), ("PGROUP", "g")]),
        (
            "light",
            &[
                key,
                ("__LITE_TOPIC", "l"),
                ("_SYS_MSG_PRIORITY_", "4"),
                ("__SHARDINGKEY", "s"),
            ],
        ),
        (
            "popped",
            &[
                key,
                ("POP_CK", "100 1764054000000 60000 3 1 broker-a 2 101"),
                ("MSG_REGION", "R"),
                ("TRACE_ON", "true"),
            ],
        ),
    ];
    for (number, (name, pairs)) in sent.into_iter().enumerate() {
        corpus.insert(
            format!("send_properties/{name}"),
            chosen(1 << number, &text(pairs)),
        );
    }
    let timed: [(&str, &[(&str, &str)]); 3] = [
        (
            "usual",
            &[("TIMER_OUT_MS", "1764054000000"), ("TIMER_DELAY_MS", "5000")],
        ),
        (
            "rolled",
            &[
                ("TIMER_OUT_MS", "1764054000000"),
                ("TIMER_ROLL_TIMES", "2"),
                ("TIMER_DELIVER_MS", "1764054000500"),
            ],
        ),
        (
            "recall",
            &[
                ("TIMER_OUT_MS", "1764054000000"),
                ("TIMER_DEL_UNIQKEY", "Orders+K"),
                ("TIMER_ENQUEUE_MS", "1"),
            ],
        ),
    ];
    for (name, pairs) in timed {
        let pairs = [&place[..], &[key], pairs].concat();
        corpus.insert(format!("timer_message/{name}"), text(&pairs));
    }
    let delayed = [&[key, ("DELAY", "3")][..], &place, &[("__CRC32#", "0123456789")]].concat();
    corpus.insert("delayed_message/usual".to_owned(), text(&delayed[..4]));
    corpus.insert("delayed_message/checksum".to_owned(), text(&delayed));
    let queues = "%LMQ%$Orders$l1,%LMQ%plain,Orders\u{0}0,17,9223372036854775807";
    corpus.insert("light_queues/three".to_owned(), queues.into());
    for (name, text) in [
        ("ipv4", "7F000001000049DF000000000003A47A"),
        ("ipv6", "20010DB800000000000000000000000100002A9F0000000000000007"),
    ] {
        corpus.insert(format!("message_id/{name}"), text.into());
    }
}

/// Small files and what is changed in tables.
fn tables(corpus: &mut Corpus) {
    corpus.insert(
        "deleted_topics/two".to_owned(),
        b"100 T\n18446744073709551615 %RETRY%a b\n".to_vec(),
    );
    let simple = [
        &(1_u64 << 33).to_be_bytes()[..],
        &300_u32.to_be_bytes(),
        &(-5_i64).to_be_bytes(),
    ]
    .concat();
    let batch = [
        &simple[..],
        &[0; 8],
        &17_u64.to_be_bytes(),
        &[0, 4, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0],
    ]
    .concat();
    corpus.insert("queue_entry/simple".to_owned(), chosen(0, &simple));
    corpus.insert("queue_entry/batch".to_owned(), chosen(1, &batch));

    let config = "listenPort=9877\nkvConfigPath=/data/kvConfig.json\nscanNotActiveBrokerInterval=5000\norderMessageEnable=true\n\
        bindAddress=0.0.0.0\nmetricsExporterType=PROM\nmetricsPromExporterPort=5557\nserverWorkerThreads=8\nsupportActingMastr=true\n";
    corpus.insert("namesrv_config/usual".to_owned(), config.into());
    let table = r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"TopicA":"broker-a:4;broker-b:8"},"ns":{"key":"a\"b\u00e9","other":""}}}"#;
    corpus.insert("kv_config/usual".to_owned(), table.into());
    for (name, choice, text) in [
        (
            "topic",
            0,
            "+message.type=FIFO,+queue.type=SimpleCQ,+reserve.time=5\0+message.type=NORMAL,-reserve.time",
        ),
        (
            "group",
            1,
            "+priority.factor=50,+lite.bind.topic=T\0+lite.sub.reset.offset.exclusive=true,-lite.bind.topic",
        ),
    ] {
        corpus.insert(format!("attributes/{name}"), chosen(choice, text.as_bytes()));
    }

    let change = |batch, offset, reset| BatchChange {
        after_write: 3,
        topic: "Orders".to_owned(),
        group: "g".to_owned(),
        queue_id: 2,
        batch,
        offset,
        reset,
    };
    let batch = OrderInfo {
        attempt_id: Some("a".to_owned()),
        commit_offset_bit: 2,
        invisible_time_ms: Some(60_000),
        last_consume_timestamp_ms: 1_764_054_000_000,
        offset_list: vec![5, 1, 4],
        offset_consumed_count: Some([(5, 1)].into()),
        offset_next_visible_time: Some([(6, 1_764_054_010_000)].into()),
        pop_time_ms: 1_764_053_990_000,
    };
    let lines = [change(Some(batch), Some(7), None), change(None, None, Some(2))].map(|change| {
        let mut line = fastjson::to_vec(&change).expect("a change is JSON");
        line.push(b'\n');
        line
    });
    corpus.insert("order_changes/popped-and-forgotten".to_owned(), lines.concat());

    let mapping = |epoch: i64, places: &str| {
        format!(
            r#"{{"bname":"b","epoch":{epoch},"hostedQueues":{{0:[{places}]}},"scope":"__global__","topic":"T","totalQueues":1}}"#
        )
    };
    let place = |generation: i32, broker: &str, logical: i64, end: i64| {
        format!(
            r#"{{"bname":"{broker}","endOffset":{end},"gen":{generation},"logicOffset":{logical},"queueId":3,"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}}"#
        )
    };
    let first = mapping(1, &place(0, "a", 0, -1));
    let moved = mapping(
        2,
        &format!("{},{}", place(0, "a", 0, 100), place(1, "b", 1_000, -1)),
    );
    corpus.insert(
        "queue_mapping/moved".to_owned(),
        format!("{first}\n{moved}\n").into(),
    );
}

fn corpus() -> Corpus {
    let mut corpus = Corpus::new();
    from_vectors(&mut corpus);
    bodies(&mut corpus);
    headers(&mut corpus);
    config_files(&mut corpus);
    property_strings(&mut corpus);
    filters(&mut corpus);
    handles(&mut corpus);
    system_records(&mut corpus);
    small_files(&mut corpus);
    transactions(&mut corpus);
    stored_properties(&mut corpus);
    tables(&mut corpus);
    corpus
}

#[test]
fn the_corpus_holds_what_the_golden_vectors_give() {
    let write = std::env::var_os("WRITE_CORPUS").is_some();
    for (name, content) in corpus() {
        let path = root().join(&name);
        if write {
            fs::create_dir_all(path.parent().expect("below the corpus")).expect("a directory can be made");
            fs::write(&path, &content).expect("the file can be written");
        }
        let found =
            fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}; write it with WRITE_CORPUS=1"));
        assert!(
            found == content,
            "{name} is not what the vectors give; write it with WRITE_CORPUS=1"
        );
    }
}

#[test]
fn whole_inputs_of_the_corpus_are_understood() {
    // A corpus that every decoder refuses at once would test nothing.
    for (name, input) in corpus() {
        let understood = match name.split_once('/').expect("target/name") {
            ("frame", _) => Frame::decode(Bytes::from(input)).is_ok(),
            ("header", _) => {
                let mut frame = (input.len() as u32 - 2).to_be_bytes().to_vec();
                frame[0] = input[1];
                frame.extend_from_slice(&input[2..]);
                let frame = Frame::decode(Bytes::from(frame)).expect("a frame");
                HEADERS[usize::from(input[0])].2(frame.fields()).is_ok()
            }
            ("body", _) => CLASSES[usize::from(input[0])].1(&input[1..]).is_ok(),
            ("record", _) => store::record::decode(&input).is_ok(),
            ("sql92", _) => input.contains(&0),
            ("pop_handle", _) => PopHandle::parse(&String::from_utf8_lossy(&input)).is_ok(),
            ("timer_unit", _) => TimerUnit::decode(&input).is_some(),
            ("queues_note", _) => rewrite_topics(&input).is_some(),
            ("queue_entry", _) => {
                let kind = [QueueKind::Simple, QueueKind::Batch][usize::from(input[0])];
                rewrite_entry(kind, &input[1..]).is_some()
            }
            ("half_message", _) => input.windows(8).any(|part| part == b"REAL_QID"),
            ("kv_config", _) => namesrv::kv_config::decode(&input).is_ok_and(|table| table.len() == 2),
            ("namesrv_config", _) => {
                let mut config = namesrv::config::Config::default();
                config.read(&String::from_utf8_lossy(&input)).is_ok()
                    && config.check().is_ok()
                    && config.warnings().len() == 1
            }
            ("deleted_topics", _) => store::deleted_topics::decode(&input).len() == 2,
            ("message_id", _) => parse_offset_msg_id(&String::from_utf8_lossy(&input)).is_ok(),
            ("order_changes", _) => order_log::changes(&input).count() == 2,
            ("topic_changes", _) => whole_lines::<SavedChange>(&input).len() == 2,
            ("registry", _) => fastjson::Value::parse(&String::from_utf8_lossy(&input[1..])).is_ok(),
            _ => true,
        };
        assert!(understood, "{name}");
    }
}

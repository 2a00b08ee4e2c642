//! What fastjson2 2.0.59 accepted and printed when asked, as tables; and that nothing read can panic.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::body::MessageQueue;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Sample {
    count: i32,
    #[serde(deserialize_with = "or_default")]
    kind: Kind,
    list: Vec<i64>,
    name: String,
    order: bool,
    remark: Option<String>,
    table: BTreeMap<i32, i64>,
    tps: f64,
}

impl Default for Sample {
    fn default() -> Self {
        Sample {
            count: 16,
            kind: Kind::SingleTag,
            list: vec![],
            name: String::new(),
            order: false,
            remark: None,
            table: BTreeMap::new(),
            tps: 0.0,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Kind {
    #[default]
    SingleTag,
    MultiTag,
}

fn read(text: &str) -> Result<Sample, Error> {
    from_slice(text.as_bytes())
}

fn written<T: Serialize>(value: &T) -> String {
    String::from_utf8(to_vec(value).unwrap()).unwrap()
}

#[test]
fn everything_fastjson_accepts_is_accepted() {
    let base = Sample::default;
    let table = |pairs: &[(i32, i64)]| Sample {
        table: pairs.iter().copied().collect(),
        ..base()
    };
    let rows = [
        ("{}", base()),
        ("\u{feff}{}", base()),
        (r#"{"count":4}"#, Sample { count: 4, ..base() }),
        (r#"{"count":"4"}"#, Sample { count: 4, ..base() }),
        (r#"{"count":4.0}"#, Sample { count: 4, ..base() }),
        (r#"{"count":null}"#, base()),
        (r#"{"count":4,"count":5}"#, Sample { count: 5, ..base() }),
        (r#"{"count":4,"count":null}"#, base()),
        (
            r#"{"name":7}"#,
            Sample {
                name: "7".into(),
                ..base()
            },
        ),
        (
            r#"{"name":{"a":[1]}}"#,
            Sample {
                name: r#"{"a":[1]}"#.into(),
                ..base()
            },
        ),
        (
            r#"{"order":1}"#,
            Sample {
                order: true,
                ..base()
            },
        ),
        (
            r#"{"order":"true"}"#,
            Sample {
                order: true,
                ..base()
            },
        ),
        (r#"{"order":"FALSE"}"#, base()),
        (r#"{"tps":"1.5"}"#, Sample { tps: 1.5, ..base() }),
        (r#"{"tps":2}"#, Sample { tps: 2.0, ..base() }),
        (
            r#"{"kind":"MULTI_TAG"}"#,
            Sample {
                kind: Kind::MultiTag,
                ..base()
            },
        ),
        (
            r#"{"kind":"multi_tag"}"#,
            Sample {
                kind: Kind::MultiTag,
                ..base()
            },
        ),
        (
            r#"{"kind":1}"#,
            Sample {
                kind: Kind::MultiTag,
                ..base()
            },
        ),
        (r#"{"kind":"NO_TAG"}"#, base()),
        (r#"{"kind":9}"#, base()),
        (r#"{"table":{0:5,-1:6}}"#, table(&[(0, 5), (-1, 6)])),
        (r#"{"table":{"0":5,'1':6}}"#, table(&[(0, 5), (1, 6)])),
        (r#"{"table":{0:5,"0":7}}"#, table(&[(0, 7)])),
        (r#"{"table":{0:null}}"#, base()),
        (r#"{"table":null}"#, base()),
        (
            r#"{"list":[1,"2",3.0,null,]}"#,
            Sample {
                list: vec![1, 2, 3],
                ..base()
            },
        ),
        (
            r#"{"list":[9223372036854775807,-9223372036854775808]}"#,
            Sample {
                list: vec![i64::MAX, i64::MIN],
                ..base()
            },
        ),
        (r#"{"remark":null}"#, base()),
        (
            r#"{"remark":"a\u0001\n\"\\\/\ud83d\ude00\ud83dx"}"#,
            Sample {
                remark: Some("a\u{1}\n\"\\/\u{1f600}\u{fffd}x".into()),
                ..base()
            },
        ),
        (
            "{'name':'single \"quotes\"'}",
            Sample {
                name: "single \"quotes\"".into(),
                ..base()
            },
        ),
        (
            "{ /* c */ \"name\" : // d\n\t\"x\" , }",
            Sample {
                name: "x".into(),
                ..base()
            },
        ),
        (
            r#"{"unknown":{"deep":[{}]},{"k":1}:2,"Count":9,"name":"x"}"#,
            Sample {
                name: "x".into(),
                ..base()
            },
        ),
        (
            "{\"name\":\"raw\u{2028}\u{7f}\u{e9}\tcontrol\"}",
            Sample {
                name: "raw\u{2028}\u{7f}\u{e9}\tcontrol".into(),
                ..base()
            },
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(read(text), Ok(expected), "{text}");
    }
}

#[test]
fn what_fastjson_refuses_is_refused() {
    let rows = [
        "",
        "{",
        "nul",
        "{} {}",
        "[]",
        "7",
        "{name:1}",
        r#"{"name" 1}"#,
        r#"{"name":"x}"#,
        r#"{"name":"\q"}"#,
        r#"{"name":"\u12"}"#,
        r#"{"name":1 "order":1}"#,
        r#"{"count":"four"}"#,
        r#"{"count":2147483648}"#,
        r#"{"count":1e400}"#,
        r#"{"count":--1}"#,
        r#"{"count":[1]}"#,
        r#"{"order":"perhaps"}"#,
        r#"{"table":{"x":5}}"#,
        r#"{"table":[[0,5]]}"#,
        r#"{"list":{"0":5}}"#,
        r#"{"list":inf}"#,
        "{/* open",
    ];
    for text in rows {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn an_object_as_key_is_read_in_any_spelling_but_not_as_escaped_text() {
    type Offsets = BTreeMap<MessageQueue, i64>;
    let expected: Offsets = [(MessageQueue::new("t", "b", 0), 5)].into();
    for text in [
        r#"{{"brokerName":"b","queueId":0,"topic":"t"}:5}"#,
        "{ { \"topic\" : \"t\",\n\"queueId\":\"0\", \"brokerName\":\"b\", } : 5 }",
    ] {
        assert_eq!(
            from_slice::<Offsets>(text.as_bytes()),
            Ok(expected.clone()),
            "{text}"
        );
    }
    let escaped = r#"{"{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"t\"}":5}"#;
    assert!(from_slice::<Offsets>(escaped.as_bytes()).is_err());
    assert_eq!(
        written(&expected),
        r#"{{"brokerName":"b","queueId":0,"topic":"t"}:5}"#
    );
}

#[test]
fn values_are_written_as_java_reads_them() {
    assert_eq!(
        written(&Sample {
            table: [(0, 5), (-1, 6)].into(),
            list: vec![1, 2],
            ..Sample::default()
        }),
        r#"{"count":16,"kind":"SINGLE_TAG","list":[1,2],"name":"","order":false,"table":{"-1":6,"0":5},"tps":0.0}"#
    );
    let nothing: BTreeMap<&str, Option<i32>> = [("a", None), ("b", Some(1)), ("c", None)].into();
    assert_eq!(written(&nothing), r#"{"b":1}"#);
    assert_eq!(written(&[Some(1), None]), "[1,null]");
    assert_eq!(written(&None::<Sample>), "");
    assert_eq!(
        written(&"\u{1}\u{8}\t\n\u{c}\r\"\\/<\u{7f}\u{2028}\u{e9}"),
        "\"\\u0001\\b\\t\\n\\f\\r\\\"\\\\/<\u{7f}\u{2028}\u{e9}\""
    );
    assert_eq!(written(&BTreeMap::from([(true, 1)])), r#"{"true":1}"#);
}

#[test]
fn doubles_look_like_double_to_string() {
    let rows = [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.0, "1.0"),
        (1.5, "1.5"),
        (0.001, "0.001"),
        (0.00099, "9.9E-4"),
        (9_999_999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (12_345_678.9, "1.23456789E7"),
        (1e21, "1.0E21"),
        (-2.5e-9, "-2.5E-9"),
        (f64::MAX, "1.7976931348623157E308"),
        (f64::NAN, ""),
        (f64::INFINITY, ""),
    ];
    for (value, text) in rows {
        assert_eq!(written(&value), text);
    }
}

#[test]
fn the_pretty_form_has_one_field_per_line_and_tabs() {
    let sample = Sample {
        list: vec![1, 2],
        table: [(0, 5)].into(),
        ..Sample::default()
    };
    let text = String::from_utf8(to_pretty(&sample).unwrap()).unwrap();
    assert_eq!(
        text,
        "{\n\t\"count\":16,\n\t\"kind\":\"SINGLE_TAG\",\n\t\"list\":[\n\t\t1,\n\t\t2\n\t],\n\t\"name\":\"\",\n\t\"order\":false,\
         \n\t\"table\":{\n\t\t\"0\":5\n\t},\n\t\"tps\":0.0\n}"
    );
    assert_eq!(to_pretty(&BTreeMap::<String, i32>::new()).unwrap(), b"{}");
    assert_eq!(to_pretty(&BTreeMap::from([("a", None::<i32>)])).unwrap(), b"{}");
}

#[test]
fn nesting_stops_at_the_limit_wherever_it_is() {
    let nested = |open: &str, close: &str, depth: usize| open.repeat(depth) + &close.repeat(depth);
    assert!(Value::parse(&nested("[", "]", MAX_DEPTH)).is_ok());
    for hostile in [
        nested("[", "]", MAX_DEPTH + 1),
        "[".repeat(1 << 20),
        "{\"a\":".repeat(1 << 20),
        "{".repeat(1 << 20),
        "{\"unknown\":".repeat(1000),
    ] {
        assert_eq!(read(&hostile), Err(Error::TooDeep));
    }
}

#[test]
fn bytes_that_are_no_utf_8_become_replacement_characters() {
    let sample: Sample = from_slice(b"{\"name\":\"a\xffb\"}").unwrap();
    assert_eq!(sample.name, "a\u{fffd}b");
}

prop_compose! {
    fn samples()(
        count in any::<i32>(), list in any::<Vec<i64>>(), name in any::<String>(), order in any::<bool>(),
        remark in any::<Option<String>>(), table in any::<BTreeMap<i32, i64>>(),
        tps in any::<f64>().prop_filter("finite", |tps| tps.is_finite()), multi in any::<bool>(),
    ) -> Sample {
        let kind = if multi { Kind::MultiTag } else { Kind::SingleTag };
        Sample { count, kind, list, name, order, remark, table, tps }
    }
}

/// Text made of the pieces a parser decides on.
fn json_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "'",
        "\\",
        "\\u",
        "/*",
        "*/",
        "//",
        "\n",
        " ",
        "null",
        "true",
        "1",
        "-",
        "1e9",
        "0.5",
        "\"name\"",
        "\"table\"",
        "\"count\":",
        "\u{e9}",
        "d83d",
        "\"list\":[",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_is_written_reads_back(sample in samples()) {
        prop_assert_eq!(&from_slice::<Sample>(&to_vec(&sample).unwrap()).unwrap(), &sample);
        prop_assert_eq!(&from_slice::<Sample>(&to_pretty(&sample).unwrap()).unwrap(), &sample);
    }

    #[test]
    fn without_objects_as_keys_the_output_is_standard_json(sample in samples()) {
        let text = to_vec(&sample).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        prop_assert_eq!(value["name"].as_str(), Some(sample.name.as_str()));
    }

    #[test]
    fn standard_json_is_understood(text in any::<String>(), number in any::<i64>()) {
        let standard = serde_json::json!({ "name": text, "list": [number] }).to_string();
        let sample = read(&standard).unwrap();
        prop_assert_eq!((sample.name, sample.list), (text, vec![number]));
    }

    #[test]
    fn garbage_never_panics(bytes in any::<Vec<u8>>()) {
        let _ = from_slice::<Sample>(&bytes); // only a panic would be wrong
    }

    #[test]
    fn nearly_json_never_panics_and_what_parses_can_be_written(text in json_like()) {
        let _ = read(&text); // only a panic would be wrong
        if let Ok(value) = Value::parse(&text) {
            prop_assert!(to_vec(&value).is_ok());
        }
    }

    #[test]
    fn a_body_with_one_byte_changed_never_panics(sample in samples(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = to_vec(&sample).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = from_slice::<Sample>(&bytes); // only a panic would be wrong
    }
}

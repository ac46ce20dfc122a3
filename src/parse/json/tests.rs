//! Tests of the JSON reader.

use proptest::prelude::*;

use super::*;

fn problem(bytes: &[u8]) -> String {
    match parse(bytes) {
        Ok(value) => format!("accepted: {value:?}"),
        Err(problem) => problem.to_string(),
    }
}

fn string(text: &str) -> Json {
    Json::String(text.to_owned())
}

#[test]
fn reads_every_kind_of_value() {
    for (text, expected) in [
        ("null", Json::Null),
        (" true\r\n", Json::Bool(true)),
        ("\tfalse", Json::Bool(false)),
        ("0", Json::Number(0.0)),
        ("-0.5e+2", Json::Number(-50.0)),
        ("1E-2", Json::Number(0.01)),
        ("1e999", Json::Number(f64::INFINITY)),
        ("Infinity", Json::Number(f64::INFINITY)),
        ("[-Infinity]", Json::Array(vec![Json::Number(f64::NEG_INFINITY)])),
        ("\"\"", string("")),
        (r#""a\"\\\/\b\f\n\r\t\u00e4ä""#, string("a\"\\/\u{8}\u{c}\n\r\tää")),
        (r#""\ud83d\ude00""#, string("😀")),
        ("[]", Json::Array(vec![])),
        ("{ }", Json::Object(vec![])),
        ("\u{feff}{}", Json::Object(vec![])),
    ] {
        assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
    }
    assert!(parse(b"NaN").unwrap().as_f64().unwrap().is_nan());
}

/// Python writes a file name that is not UTF-8 as a lone surrogate; such a path must not make a
/// whole report unreadable.
#[test]
fn a_surrogate_without_partner_is_replaced() {
    for (text, expected) in [
        (r#""a\udcffb""#, "a\u{fffd}b"),
        (r#""\ud83d""#, "\u{fffd}"),
        (r#""\ud83d\n""#, "\u{fffd}\n"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
    ] {
        assert_eq!(parse(text.as_bytes()), Ok(string(expected)), "{text}");
    }
}

#[test]
fn says_what_is_wrong_and_where() {
    for (text, expected) in [
        ("", "ends in the middle at byte 0"),
        (" {\"a\": [1, 2", "ends in the middle at byte 12"),
        ("tru", "ends in the middle at byte 3"),
        ("\"\\u12", "ends in the middle at byte 5"),
        ("[1,]", "is not JSON: a value expected at byte 3"),
        ("{\"a\":1,}", "is not JSON: a key in quotes expected at byte 7"),
        ("{a:1}", "is not JSON: a key in quotes expected at byte 1"),
        ("{\"a\" 1}", "is not JSON: `:` expected at byte 5"),
        ("[1 2]", "is not JSON: `,` or `]` expected at byte 3"),
        ("{} {}", "is not JSON: the end expected at byte 3"),
        ("01", "is not JSON: the end expected at byte 1"),
        ("-x", "is not JSON: a digit expected at byte 1"),
        ("1.e5", "is not JSON: a digit expected at byte 2"),
        (".5", "is not JSON: a value expected at byte 0"),
        ("+1", "is not JSON: a value expected at byte 0"),
        ("-NaN", "is not JSON: a digit expected at byte 1"),
        ("nan", "is not JSON: null expected at byte 1"),
        ("'a'", "is not JSON: a value expected at byte 0"),
        ("\"\\x41\"", "is not JSON: an escape expected at byte 2"),
        ("\"\\u00g0\"", "is not JSON: a hexadecimal digit expected at byte 5"),
        ("\"\n\"", "is not JSON: a character that needs no escape expected at byte 1"),
    ] {
        assert_eq!(problem(text.as_bytes()), expected, "{text}");
    }
    assert_eq!(problem(b"\"a\xff\""), "is not UTF-8 at byte 2");
    assert_eq!(problem(b"\"a\xc3"), "ends in the middle at byte 3");
}

#[test]
fn depth_and_number_of_values_are_limited() {
    let deepest = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert!(parse(deepest.as_bytes()).is_ok());
    let siblings = format!("[{}[]]", "[],".repeat(2 * MAX_DEPTH));
    assert!(parse(siblings.as_bytes()).is_ok());
    for bracket in ["[", "{\"a\":"] {
        let deep = parse(bracket.repeat(1_000_000).as_bytes());
        assert!(matches!(deep, Err(JsonProblem::TooDeep { .. })), "{deep:?}");
    }
    assert!(parse_bounded(b"[0,1]", 3).is_ok());
    assert_eq!(parse_bounded(b"[0,1]", 2), Err(JsonProblem::TooManyValues { offset: 3 }));
}

#[test]
fn the_last_of_duplicate_keys_counts() {
    let value = parse(br#"{"a": 1, "b": null, "a": 2}"#).unwrap();
    assert_eq!(value.get("a").and_then(Json::as_u64), Some(2));
    assert_eq!(value.get("b"), Some(&Json::Null));
    assert_eq!(value.get("c"), None);
    assert_eq!(Json::Null.get("a"), None);
}

#[test]
fn only_exact_integers_are_integers() {
    for (text, expected) in [
        ("0", Some(0)),
        ("-0", Some(0)),
        ("40.0", Some(40)),
        ("4e2", Some(400)),
        ("9007199254740991", Some(9_007_199_254_740_991)),
        ("9007199254740992", None),
        ("0.5", None),
        ("-1", None),
        ("NaN", None),
        ("Infinity", None),
        ("\"1\"", None),
        ("true", None),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap().as_u64(), expected, "{text}");
    }
}

/// Compares with a value of the other implementation, whose integers may need more than 53 bits.
fn same(ours: &Json, theirs: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (ours, theirs) {
        (Json::Null, Value::Null) => true,
        (Json::Bool(ours), Value::Bool(theirs)) => ours == theirs,
        (Json::Number(ours), Value::Number(theirs)) => theirs
            .as_f64()
            .is_some_and(|theirs| (ours - theirs).abs() <= theirs.abs() * f64::EPSILON),
        (Json::String(ours), Value::String(theirs)) => ours == theirs,
        (Json::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same(a, b))
        }
        (Json::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && theirs.iter().all(|(key, theirs)| {
                    ours.iter().any(|(name, ours)| name == key && same(ours, theirs))
                })
        }
        _ => false,
    }
}

fn document() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        (-1e300..1e300).prop_map(serde_json::Value::from),
        any::<f32>().prop_map(|number| serde_json::Value::from(f64::from(number))),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_serde_json_on_its_documents(value in document(), pretty: bool) {
        let text =
            if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.unwrap();
        let ours = parse(text.as_bytes()).unwrap();
        prop_assert!(same(&ours, &value), "{text}\n{ours:?}");
    }

    #[test]
    fn agrees_with_serde_json_on_what_is_json(text in r#"[\[\]{}",:0-9eE.+\-a-z \\]{0,12}"#) {
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        // The other reader has no infinite numbers, and no half of a surrogate pair.
        let out_of_range = theirs.as_ref().is_err_and(|error| {
            let message = error.to_string();
            message.contains("out of range") || message.contains("surrogate")
        });
        match (parse(text.as_bytes()), theirs) {
            (Ok(ours), Ok(theirs)) => {
                // Duplicate keys are kept here and merged there.
                prop_assert!(text.contains('{') || same(&ours, &theirs), "{text}: {ours:?}");
            }
            (ours, theirs) => {
                prop_assert!(out_of_range || ours.is_ok() == theirs.is_ok(), "{text}: {ours:?}");
            }
        }
    }

    #[test]
    fn a_beginning_is_a_truncation(value in document(), cut in 0.0..1.0) {
        let text = serde_json::to_string(&serde_json::json!([value])).unwrap();
        #[expect(
            clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
            reason = "a share of a small length"
        )]
        let length = (text.len() as f64 * cut) as usize;
        let problem = parse(&text.as_bytes()[..length]).unwrap_err();
        prop_assert!(problem.is_truncation(), "{text} cut at {length}: {problem}");
        prop_assert_eq!(problem.offset(), length);
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        if let Err(problem) = parse(&bytes) {
            prop_assert!(problem.offset() <= bytes.len());
        }
    }
}

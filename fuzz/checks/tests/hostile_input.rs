//! Whatever text or bytes come in, the answer is a value or an error: never a panic, never a hang.
#![allow(missing_docs, reason = "a test's name says what it is for")]

use std::collections::BTreeMap;
use std::path::Path;

use conveyor_fuzz_checks as checks;
use proptest::prelude::*;

/// Text that looks like a cron expression, more or less.
fn nearly_cron() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        Just("*".to_owned()),
        (0u32..70).prop_map(|number| number.to_string()),
        (0u32..70, 0u32..70).prop_map(|(from, to)| format!("{from}-{to}")),
        (0u32..70).prop_map(|step| format!("*/{step}")),
        (0u32..70, 0u32..70, 0u32..9).prop_map(|(from, to, step)| format!("{from}-{to}/{step}")),
        (0u32..9, 0u32..9).prop_map(|(day, nth)| format!("{day}#{nth}")),
        prop::sample::select(vec![
            "L", "W", "15W", "LW", "5L", "MON", "jan", "?", ",", "-", "/", "", "@daily"
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(field, 0..8).prop_map(|fields| fields.join(" "))
}

/// Text that looks like a duration or a backoff, more or less.
fn nearly_duration() -> impl Strategy<Value = String> {
    let unit = prop::sample::select(vec![
        "d", "h", "m", "s", "ms", "us", "µs", "ns", "days", "min", "month", "y", "",
    ]);
    let number = prop_oneof![(0u64..100), any::<u64>()];
    let item = (number, "[ ]{0,1}", unit, "[ ]{0,1}");
    let item = item.prop_map(|(number, gap, unit, end)| format!("{number}{gap}{unit}{end}"));
    prop::collection::vec(prop_oneof![9 => item, 1 => Just("..".to_owned())], 0..4)
        .prop_map(|items| items.concat())
}

const KEYS: &str = "kind queue interval cron timezone priority retries backoff retry_if \
    retry_on_panic timeout cancel_grace concurrency key overlap missed produce_timeout blocking \
    crate colour queu r#kind _ 5";

const VALUES: &str = r#"high -5 - 40000 5 0 0x5 5s 5.5 true false allow skip 'c' b"5s" "mail"x
    |a|a.b |a,b|{a} | |a| |a|->u8 a::b a::<B>::c Self::c crate ::a ::crate self::self a::super a::Self a.b() ["5s"] [5] [|a|a] [a::b]
    -[5] [-5] (5) {} async # = ! 'a"#;

/// Text that looks like the arguments of an attribute, more or less.
fn nearly_attribute() -> impl Strategy<Value = String> {
    let one_of =
        |words: &'static str| prop::sample::select(Vec::from_iter(words.split_whitespace()));
    let value = prop_oneof![
        15 => one_of(VALUES).prop_map(str::to_owned),
        1 => Just(String::new()),
        3 => nearly_duration().prop_map(|text| format!("{text:?}")),
        3 => nearly_cron().prop_map(|text| format!("{text:?}")),
        3 => any::<String>().prop_map(|text| format!("{text:?}")),
    ];
    let equals = prop::sample::select(vec![" = ", " = ", " = ", " = ", " = ", "", " == ", " => "]);
    let entry = (one_of(KEYS), equals, value);
    let entry = entry.prop_map(|(key, equals, value)| key.to_owned() + equals + &value);
    let comma = prop::sample::select(vec![", ", ", ", ", ", ", ", ", ", " ", ",,", ",/* */"]);
    let entries = prop::collection::vec((entry.clone(), comma), 0..4);
    (entries, entry).prop_map(|(entries, last)| {
        entries.into_iter().map(|(entry, comma)| entry + comma).collect::<String>() + &last
    })
}

/// What is worth keeping, such as what once broke a check: a file each, in a directory for each
/// fuzz target.
#[test]
fn seeds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
    let read = |path: &Path| path.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut count = 0;
    for directory in read(&seeds) {
        for seed in read(&directory) {
            let bytes = std::fs::read(&seed).unwrap();
            let text = || std::str::from_utf8(&bytes).unwrap();
            println!("{}", seed.display());
            match directory.file_name().unwrap().to_str().unwrap() {
                "attribute" => checks::attribute(text()),
                "cron" => checks::cron(text()),
                "duration" => checks::duration(text()),
                "name" => checks::name(text()),
                "payload" => checks::envelope(&bytes),
                other => panic!("no fuzz target is called {other}"),
            }
            count += 1;
        }
    }
    assert!(count > 0, "no seed in {}", seeds.display());
}

proptest! {
    #[test]
    fn cron_expressions(
        text in prop_oneof![
            4 => nearly_cron(),
            1 => nearly_cron().prop_map(|text| text + " @ europe/berlin"),
            1 => (nearly_cron(), any::<String>()).prop_map(|(text, zone)| text + " @ " + &zone),
            1 => any::<String>(),
        ],
    ) {
        checks::cron(&text);
    }

    #[test]
    fn durations(text in prop_oneof![4 => nearly_duration(), 1 => any::<String>()]) {
        checks::duration(&text);
    }

    #[test]
    fn names(
        text in any::<String>(),
        length in prop_oneof![0usize..3_000, 127usize..130, 1_023usize..1_026],
    ) {
        checks::name(&text);
        checks::name(&text.repeat(length / (text.len() + 1) + 1));
        checks::name(&"x".repeat(length));
    }

    #[test]
    fn priorities_and_ids(number in any::<i32>(), id in any::<u128>()) {
        checks::name(&number.to_string());
        checks::name(&format!("{:08x}-0000-7000-8000-{:012x}", id >> 96, id as u64 >> 16));
    }

    #[test]
    fn payloads(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            any::<Vec<(String, i64)>>().prop_map(|value| serde_json::to_vec(&value).unwrap()),
            any::<f64>().prop_map(|value| serde_json::to_vec(&value).unwrap()),
            "-?[0-9]{1,20}(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?".prop_map(String::into_bytes),
            any::<(u8, i64, u64, i128, f32, f64)>()
                .prop_map(|numbers| serde_json::to_vec(&BTreeMap::from([("Numbers", numbers)])).unwrap()),
            (0usize..300).prop_map(|depth| "[".repeat(depth).into_bytes()),
        ],
        codec in prop_oneof![4 => Just("json".to_owned()), 1 => any::<String>()],
    ) {
        checks::payload(&codec, &bytes);
    }

    #[test]
    fn attributes(text in prop_oneof![9 => nearly_attribute(), 1 => any::<String>()]) {
        checks::attribute(&text);
    }
}

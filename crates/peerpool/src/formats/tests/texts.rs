//! Lists, dumps and JSON.

use super::*;

const DUMP: &str = "\
# address                                        good  lastSuccess    %(2h)   %(8h)   %(1d)   \
%(7d)  %(30d)  blocks      svcs  version
1.2.3.4:8333                                        1   1700000000  100.00%  99.99%  98.00%  \
97.00%  96.00%  870000  00000c09  70016 \"/Satoshi:28.1.0/\"
[2a01::1]:18333                                     0   1600000000    0.00%   0.00%   0.00%   \
0.00%   0.10%  870000  00000409  70016 \"/a b/\"
2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion:8333 1 1700000001 1% 1% 1% 1% 1% \
870000 0000000000000009 70016 \"\"
1.2.3.5:8333  1  1700000000  100.00%  99.99%
";

#[test]
fn seeder_dumps_are_read() {
    let import = read(DUMP.as_bytes(), &regtest()).unwrap();
    assert_eq!(import.format, Format::Seeder);
    let entry = |address, seen, services: u64| Entry {
        last_seen: UnixTime(seen),
        services: services.into(),
        ..Entry::of(at(address))
    };
    let onion = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion:8333";
    let expected = [entry("1.2.3.4:8333", 1_700_000_000, 0xc09), entry(onion, 1_700_000_001, 9)];
    assert_eq!(import.entries, expected);
    assert_eq!(import.skipped.count(SkipReason::NotGood), 1);
    assert_eq!(import.skipped.count(SkipReason::Unreadable), 1);
}

#[test]
fn snapshots_of_bitnodes_are_read() {
    let json = r#"{
        "timestamp": 1700000000, "total_nodes": 3, "latest_height": 870000, "x": [{"]": "}"}],
        "nodes": {
            "1.2.3.4:8333": [70016, "/Satoshi:28.1.0/", 1690000000, 3081, 870000, "a.test", null,
                "US", 0.0, 0.0, null, "AS1", "One \"quoted\" ]}, org"],
            "[2a01::1]:8334": [70016, "/x/", 1690000000, 1033, 870000, null, null],
            "example.com:8333": [70016, "/x/", 1690000000, 1033, 870000],
            "1.2.3.5:8333": "down"
        }
    }"#;
    let import = read(json.as_bytes(), &regtest()).unwrap();
    assert_eq!(import.format, Format::Bitnodes);
    assert_eq!(texts(&import.entries), ["1.2.3.4:8333", "[2a01::1]:8334"]);
    let seen: Vec<_> = import.entries.iter().map(|entry| entry.last_seen.0).collect();
    assert_eq!(seen, [1_700_000_000; 2]);
    assert_eq!(import.entries[1].services.to_u64(), 1033);
    assert_eq!(
        import.skipped.to_string(),
        "2 unreadable (entry 3: \\\"example.com:8333\\\"; entry 4: \\\"1.2.3.5:8333\\\")"
    );
    // Where there is no timestamp, a node was there since then.
    let json = json.replace("\"timestamp\"", "\"at\"");
    let import = read(json.as_bytes(), &regtest()).unwrap();
    assert_eq!(import.entries[0].last_seen.0, 1_690_000_000);
}

#[test]
fn exports_and_crawls_of_bitnodes_are_read() {
    let json = r#"[
        ["1.2.3.4", 8333, 70016, "/Satoshi:28.1.0/", 1690000000, 3081, 870000, null, null],
        ["2a01::1", 8334, 1033, 870000],
        ["2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion", 8333, 9, 870000],
        ["1.2.3.4", 99999, 9, 870000],
        ["1.2.3.4", 8333, 9, 870000],
        []
    ]"#;
    let import = read(json.as_bytes(), &regtest()).unwrap();
    let told: Vec<_> = import
        .entries
        .iter()
        .map(|entry| (entry.address.port, entry.last_seen.0, entry.services.to_u64()))
        .collect();
    assert_eq!(told, [(8333, 1_690_000_000, 3081), (8334, 0, 1033), (8333, 0, 9)]);
    assert_eq!(import.skipped.count(SkipReason::Unreadable), 2);
    assert_eq!(import.skipped.count(SkipReason::Duplicate), 1);
}

#[test]
fn broken_json_is_an_error_that_says_where() {
    for (json, at, expected) in [
        (r#"[["1.2.3.4", 1, 2, 3]"#, 21, "a comma, or a bracket that closes"),
        (r#"[["1.2.3.4", 1, 2, 3"#, 20, "a bracket that closes"),
        (r#"[["1.2.3.4, 1, 2, 3]"#, 20, "a quote that closes"),
        (r#"[["1.2.3.4\"#, 12, "a quote that closes"),
        ("[[1] [2]]", 5, "a comma, or a bracket that closes"),
        ("[[1],]", 5, "a value"),
        ("[[1]] x", 6, "the end of the file"),
        (r#"{"nodes" {}}"#, 9, "a colon"),
        (r#"{"nodes": {1: []}}"#, 11, "a key in quotes"),
    ] {
        let error = bitnodes::read(json.as_bytes(), 8333);
        assert_eq!(error, Err(FormatError::Json { at, expected }), "{json}");
    }
    for json in [r#"{"peers": {}}"#, "{}", "5", r#"{"nodes": []}"#] {
        assert_eq!(bitnodes::read(json.as_bytes(), 8333), Err(FormatError::NoNodes), "{json}");
    }
}

#[test]
fn plain_lists_are_read() {
    let list = "\u{20}\n# a comment\r\n1.2.3.4\r\n 1.2.3.5:1 # inline\n[2a01::1]\n2a01::2\n\
                [fc00::1]:5\n1.2.3.4:8333\nexample.com\n0.0.0.0\n\u{7}\x1b[2J\u{202e}";
    let import = plain::read(list.as_bytes(), 8333).unwrap();
    assert_eq!(
        texts(&import.entries),
        ["1.2.3.4:8333", "1.2.3.5:1", "[2a01::1]:8333", "[2a01::2]:8333", "[fc00::1]:5"]
    );
    assert_eq!(import.entries[4].address.net(), Net::Cjdns);
    assert_eq!(
        import.skipped.to_string(),
        "2 unreadable (line 9: example.com; line 11: \\x07\\x1b[2J\\xe2\\x80\\xae), \
         1 invalid (line 10: 0.0.0.0:8333), 1 duplicate (line 8: 1.2.3.4:8333)"
    );
}

#[test]
fn json_lines_are_read() {
    let lines = "{\"address\": \"1.2.3.4\", \"services\": [\"network\", \"0x800\"], \"net\": 5}\n\
        {\"last_success\": null, \"last_seen\": 7, \"tried\": true, \"address\": \"[2a01::1]:1\"}\n\
        {\"address\": \"1.2.3.4:8333\"}\n{\"net\": \"ipv4\"}\n[\"1.2.3.5\"]\n{\"address\": 5}\n\
        {\"address\": \"1.2.3.5\", \"services\": [\"nonsense\"]}\n\
        {\"address\": \"1.2.3.5\", \"last_seen\": -1}\n{\"address\": \"1.2.3.5\", \"tried\": 1}\n";
    let import = json_lines::read(lines.as_bytes(), 8333).unwrap();
    let services = ServiceFlags::from(0x801);
    let first = Entry { services, ..Entry::of(at("1.2.3.4:8333")) };
    let second = Entry { last_seen: UnixTime(7), tried: true, ..Entry::of(at("[2a01::1]:1")) };
    assert_eq!(import.entries, [first, second]);
    let (unreadable, duplicate) = (SkipReason::Unreadable, SkipReason::Duplicate);
    let counts = [unreadable, duplicate].map(|reason| import.skipped.count(reason));
    assert_eq!(counts, [6, 1], "{}", import.skipped);
}

#[test]
fn long_lines_are_skipped_and_cut() {
    let list = format!("{}\n1.2.3.4\n{}\n", "x".repeat(MAX_LINE_LEN + 1), "y".repeat(MAX_LINE_LEN));
    let import = plain::read(list.as_bytes(), 8333).unwrap();
    assert_eq!(texts(&import.entries), ["1.2.3.4:8333"]);
    assert_eq!(
        import.skipped.to_string(),
        format!(
            "1 unreadable (line 3: {}...), 1 too_long (line 1: {}...)",
            "y".repeat(MAX_EXAMPLE_LEN),
            "x".repeat(MAX_EXAMPLE_LEN)
        )
    );
    let json = format!("[[\"1.2.3.4\", 1, 2, 3], [\"{}\"]]", "x".repeat(MAX_LINE_LEN));
    let import = bitnodes::read(json.as_bytes(), 8333).unwrap();
    assert_eq!(import.skipped.count(SkipReason::TooLong), 1);
}

#[test]
fn no_more_than_so_many_entries_are_taken() {
    let entry = Entry::of(at("1.2.3.4"));
    let mut found = collect::Collector::default();
    found.entries = vec![entry; MAX_ENTRIES - 1];
    for line in 1..=3 {
        found.take(skipped::Place::Line(line), Entry::of(at(&format!("1.2.3.{line}"))));
    }
    let import = found.finish(Format::Plain);
    assert_eq!(import.entries.len(), MAX_ENTRIES);
    assert_eq!(
        import.skipped.to_string(),
        "2 too_many (line 2: 1.2.3.2:8333; line 3: 1.2.3.3:8333)"
    );
}

//! `peerpool demo`.

use serde_json::Value;

use crate::{Running, json_lines, output, text};

#[test]
fn the_last_lines_are_the_summary_and_the_status() {
    let mut demo = Running::start(&["demo", "--json", "--nodes", "150", "--target", "4"]);
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &Value| line["event"] != "full") {
        lines.push(serde_json::from_str(&demo.line()).expect("a JSON object"));
    }
    demo.signal("INT");
    let (code, rest, errors) = demo.end();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    lines.extend(json_lines(rest.as_bytes()));
    let [events @ .., summary, stopped] = &lines[..] else {
        panic!("too few lines: {lines:?}");
    };
    for event in events {
        assert!(event["at"].is_number() && event["event"].is_string(), "{event}");
    }
    let ready = events.iter().find(|event| event["event"] == "ready").expect("a ready peer");
    assert!(ready["id"].is_number() && ready["address"].is_string(), "{ready}");

    assert_eq!(summary["event"], "summary");
    assert!(summary["time_to_full"].is_number(), "{summary}");
    for key in ["burned_dialled_again", "stale_dialled", "events_missed"] {
        assert_eq!(summary[key], 0, "{key}: {summary}");
    }
    assert_eq!(summary["most_links_to_one_node"], 1, "{summary}");

    assert_eq!(stopped["event"], "stopped");
    let status = &stopped["status"];
    assert_eq!(status["target"], 4);
    assert!(status["ready"].is_array(), "{status}");
    for key in ["available", "dials", "surplus"] {
        assert!(status[key].is_u64(), "{key}: {status}");
    }
    assert!(status["connecting"].is_array() && status["connected"].is_array());
    let burned = status["burned"].as_object().expect("counts by reason");
    assert!(burned.values().all(Value::is_u64), "{status}");
}

#[test]
fn without_a_terminal_people_get_lines() {
    let output = output(&["demo", "--for", "1s", "--nodes", "60", "--target", "2"]);
    let shown = text(&output.stdout);
    // Whoever is dialled, and whatever becomes of it in a second.
    assert!(shown.lines().any(|line| line.contains("s connecting ") && line.contains('#')));
    assert!(shown.contains("burned addresses dialled again: 0   stale dialled: 0\n"), "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("stopped: ready ")), "{shown}");
    assert!(!shown.contains('\x1b'), "{shown}");
}

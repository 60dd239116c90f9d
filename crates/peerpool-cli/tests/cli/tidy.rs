//! House rules that a machine can hold the whole repository to.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/NAME").to_path_buf()
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files(&path, found);
        } else if name.ends_with(".rs") || name.ends_with(".md") || name.ends_with(".toml") {
            found.push(path);
        }
    }
}

#[test]
fn files_are_short_plain_and_bounded() {
    let mut found = Vec::new();
    files(&root(), &mut found);
    assert!(found.len() > 100, "only {} files below {}", found.len(), root().display());
    // Written in two pieces, so that this file does not name them.
    let banned = [concat!("unbounded", "_channel"), concat!("allow(", "dead_code")];
    for path in found {
        let text = fs::read_to_string(&path).expect("UTF-8");
        let (name, lines) = (path.display(), text.lines().count());
        let limit = if path.ends_with("ARCHITECTURE.md") { 150 } else { 800 };
        assert!(lines <= limit, "{name}: {lines} lines; {limit} at most");
        assert!(text.is_ascii(), "{name}: not plain ASCII");
        for word in banned {
            assert!(!text.contains(word), "{name}: {word}");
        }
        if path.extension().is_some_and(|extension| extension == "rs") {
            let head = text.trim_start_matches("#![no_main]").trim_start();
            assert!(head.starts_with("//!"), "{name}: says nothing of itself");
        }
    }
}

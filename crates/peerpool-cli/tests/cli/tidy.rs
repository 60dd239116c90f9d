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

/// The lines at which a condition joins a `let` with something else, or a match arm has one as its
/// guard. Reads what rustfmt writes; strings and comments that look like code may fool it.
fn let_chains(text: &str) -> Vec<usize> {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
    let code = code.join("\n");
    let joined = code.match_indices("&& let ").map(|(at, _)| at);
    let first = ["if let ", "while let "].into_iter().flat_map(|word| code.match_indices(word));
    let first = first.filter(|(at, _)| goes_on(&code[*at..])).map(|(at, _)| at);
    let mut lines: Vec<_> =
        joined.chain(first).map(|at| code[..at].matches('\n').count() + 1).collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

/// Whether the condition that starts here does not end with its first `let`.
fn goes_on(code: &str) -> bool {
    let (mut depth, mut bound) = (0, false);
    for (at, letter) in code.char_indices() {
        match letter {
            // The block: no other brace stands free behind the `=`.
            '{' if depth == 0 && bound => return false,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '=' if depth == 0 && code[at..].starts_with("=>") => return true,
            '=' if depth == 0 => bound = true,
            '&' if depth == 0 && bound && code[at..].starts_with("&& ") => return true,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    false
}

/// A compiler of 1.85 is not to be had everywhere, and clippy knows of items only, not of syntax.
#[test]
fn the_core_has_no_let_chains_which_rust_1_85_lacks() {
    let mut found = Vec::new();
    files(&root().join("crates/peerpool-core/src"), &mut found);
    assert!(found.len() > 20, "only {} files", found.len());
    for path in found {
        let lines = let_chains(&fs::read_to_string(&path).expect("UTF-8"));
        assert!(lines.is_empty(), "{}: let chains in lines {lines:?}", path.display());
    }
}

#[test]
fn let_chains_are_told_from_lets() {
    let chains = [
        "if let Some(a) = b && c {",
        "if let Some(a) = b(|x| x && y)\n    && let Some(d) = a\n{",
        "if a && let Some(b) = c {",
        "} else if let Peer { id, .. } = self.peers[at]\n    && id == 7\n{",
        "while let Some(a) = b.next() && a > 1 {",
        "Some(a) if let Some(b) = c(a) => b,",
    ];
    for chain in chains {
        assert_eq!(let_chains(&format!("fn f() {{\n    {chain}\n")).first(), Some(&2), "{chain}");
    }
    let lets = [
        "if let Some(a) = b {\n    return c && d;\n}",
        "if let Some(&&a) = b.iter().find(|x| x.y && x.z) {",
        "if let Peer { id, .. } = peer {\n    let a = b && c;\n}",
        "let Some(a) = b else { return c && d };",
        "// As in if let Some(a) = b && c {",
        "let a = if let Some(b) = c { b && d } else { e && f };",
    ];
    for plain in lets {
        assert_eq!(let_chains(plain), Vec::<usize>::new(), "{plain}");
    }
}

/// The lines of code of the first Rust block, without comments and what hides from readers.
fn first_block<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let block = lines.skip_while(|line| !line.starts_with("```rust") && *line != "```no_run");
    let code = block.skip(1).take_while(|line| !line.starts_with("```"));
    let code = code.map(|line| line.split(" //").next().unwrap_or_default().trim_end());
    code.filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn the_first_example_of_the_readme_is_the_one_that_is_compiled() {
    let readme = fs::read_to_string(root().join("README.md")).expect("a README");
    let library = root().join("crates/peerpool/src/lib.rs");
    let library = fs::read_to_string(library).expect("a library");
    let docs =
        library.lines().filter_map(|line| line.strip_prefix("//! ").or(line.strip_prefix("//!")));
    let (shown, compiled) = (first_block(readme.lines()), first_block(docs));
    assert_eq!((shown.len(), shown), (5, compiled));
}

//! A process that saves is killed at random, again and again: nothing that it said was committed is
//! lost, no batch is half there, and the file is whole.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use peerpool_core::rng::Rng;

use super::alone::child_dir;
use super::*;

const ADDRESSES: u32 = 40;
const KILLS: usize = 1000;

/// What generation `generation` of the child changes: all of its addresses, one of them burned, and
/// something happened to one.
fn generation(generation: u64) -> Batch {
    let odd = (generation % u64::from(ADDRESSES)) as u32;
    let change = |n| if n == odd { burned(n, generation) } else { kept(n, generation) };
    let mut batch = batch((0..ADDRESSES).map(change));
    let happened = batch.happened.entry(address(0)).or_default();
    happened.successes = 1;
    batch
}

/// Saves generation after generation as the pool's thread does, and says which is committed.
fn save_for_ever(dir: &Path) {
    let mut loaded = load(dir, MAGIC, names(), KEY).unwrap();
    let first = loaded.changes.first().map_or(0, last_seen);
    let store = loaded.store.as_mut().unwrap();
    store.sync_seldom().unwrap();
    // Folded into the file again and again, so that kills hit that too.
    store.connection.pragma_update_and_check(None, "wal_autocheckpoint", 20, |_| Ok(())).unwrap();
    println!("\nbegun {first}");
    for number in first + 1.. {
        store.write(&generation(number), &names(), LIMITS).unwrap();
        println!("\ncommitted {number}");
    }
}

fn last_seen(change: &Change) -> u64 {
    let kept = change.kept.map(|kept| kept.last_seen);
    kept.or(change.burned.map(|(at, _)| at)).unwrap().0
}

/// Holds the file against what the child said; returns the generation that is in it.
fn check(dir: &Dir, committed: u64) -> u64 {
    let loaded = dir.load().expect("the file can be opened");
    assert!(loaded.set_aside.is_none() && loaded.failure.is_none(), "{:?}", loaded.set_aside);
    let store = loaded.store.unwrap();
    let whole: String =
        store.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    let found = loaded.changes.first().map_or(0, last_seen);
    assert!(found >= committed, "{committed} was committed, and {found} is there");
    if found > 0 {
        let expected = generation(found);
        assert_eq!(loaded.changes.len(), ADDRESSES as usize);
        for change in &loaded.changes {
            assert_eq!(change, &expected.changes[&change.address], "{found} is there in part");
        }
        let happened = store.history(&address(0)).unwrap().unwrap();
        assert_eq!(happened.successes, found, "each is counted once");
    }
    found
}

/// Starts a child, kills it at some point, and returns the last generation it said it committed.
fn start_and_kill(dir: &Dir, test: &str, rng: &mut Rng) -> Option<u64> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = format!("store::tests::kills::{test}");
    command.args(["--exact", &name, "--nocapture", "--include-ignored", "--test-threads=1"]);
    command.env("PEERPOOL_STORE_CHILD", &dir.0).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut committed = None;
    let mut note = |line: &str| {
        let number = line.strip_prefix("committed ").or_else(|| line.strip_prefix("begun "));
        if let Some(number) = number {
            committed = Some(number.parse().unwrap());
        }
        number.is_some()
    };
    // Some kills fall while the file is opened, most a while after that.
    let mut lines = rng.below(8);
    while lines > 0 {
        let line = said.next().expect("the child goes on").unwrap();
        lines -= usize::from(note(&line));
    }
    let (begun, wait) = (Instant::now(), Duration::from_micros(rng.below(3000) as u64));
    while begun.elapsed() < wait {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // It said more before it was killed, the last of it perhaps in part.
    let rest: Vec<String> = said.map_while(Result::ok).collect();
    rest.iter().for_each(|line| {
        note(line);
    });
    committed
}

fn kill(test: &str, times: usize) {
    let dir = Dir::new();
    let mut rng = Rng::from_u64(20_261_125);
    let (begun, mut last, mut ahead, mut early) = (Instant::now(), 0, 0, 0);
    for _ in 0..times {
        let committed = start_and_kill(&dir, test, &mut rng);
        early += usize::from(committed.is_none());
        let found = check(&dir, committed.unwrap_or(0).max(last));
        ahead += usize::from(committed.is_some_and(|committed| found > committed));
        last = found;
    }
    println!(
        "{times} kills in {:.1?}: {last} commits, none lost; {ahead} kills fell between a commit \
         and its word, {early} before the child had opened the file",
        begun.elapsed()
    );
    assert!(last > times as u64, "the child got to save");
}

#[test]
fn a_killed_process_loses_nothing_committed() {
    match child_dir() {
        Some(dir) => save_for_ever(&dir),
        None => kill("a_killed_process_loses_nothing_committed", KILLS),
    }
}

//! Disks that are full or fail and directories that are read-only, in processes of their own: the
//! limits are everybody's in one, and the mounts need a namespace.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::super::writer::State;
use super::*;

/// In which directory a child is to work.
const CHILD: &str = "PEERPOOL_STORE_CHILD";

pub(super) fn child_dir() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Runs a test of this module by itself, in a shell that has run `before`, where `$DIR` is the
/// directory. Returns whether it could be run: where `before` is not allowed, that is said.
fn run_alone(test: &str, dir: &Dir, shell: &[&str], before: &str) -> bool {
    let name = format!("store::tests::alone::{test}");
    let script = format!("{before} || exit; exec \"$0\" \"$@\"");
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(["-c", &script]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", &name, "--nocapture", "--test-threads=1"]);
    command.env(CHILD, &dir.0).env("DIR", &dir.0);
    let Ok(output) = command.stdin(Stdio::null()).output() else {
        skip(test, &format!("{} cannot be run here", shell[0]));
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}{}", String::from_utf8_lossy(&output.stderr));
    if !text.contains("running ") {
        skip(test, &format!("{before:?} is not allowed here"));
        return false;
    }
    assert!(output.status.success() && text.contains("1 passed"), "{test} fails by itself");
    true
}

/// Says on the process's own stderr, which the harness does not capture, why a test cannot run.
fn skip(test: &str, why: &str) {
    io::stderr().write_all(format!("SKIPPED: {test}: {why}\n").as_bytes()).unwrap();
}

#[test]
#[should_panic(expected = "no_such_test fails by itself")]
fn a_name_that_is_no_test_does_not_pass() {
    run_alone("no_such_test", &Dir::new(), &SHELL, "true");
}

fn run(script: &str) {
    let status = Command::new("sh").args(["-c", script]).status().unwrap();
    assert!(status.success(), "{script}");
}

const NAMESPACE: [&str; 3] = ["unshare", "-rm", "sh"];
const SHELL: [&str; 1] = ["sh"];
const READ_ONLY: &str = "mount --bind \"$DIR\" \"$DIR\" && mount -o remount,ro,bind \"$DIR\"";

/// Hands over more than there is room for; the failure is told, then the room is made, and all is
/// written. What was on disk before is there all the while.
async fn fill(dir: PathBuf, expected: &str, make_room: impl FnOnce()) {
    let loaded = load(&dir, MAGIC, names(), KEY).unwrap();
    let owner = Owner { dir: dir.clone(), magic: MAGIC };
    let mut saver = Saver::start(owner, loaded, &hasty()).unwrap();
    saver.hand_over((0..10).map(|n| kept(n, 1)).collect(), Vec::new());
    // In the file once the thread has gone round with it; the next batch is another.
    let reader = Store::open_read_only(&dir).unwrap();
    while reader.addresses().unwrap().len() < 10 {
        tokio::task::yield_now().await;
    }
    saver.hand_over((0..20_000).map(|n| kept(n, 2)).collect(), Vec::new());
    until(&mut saver, |state| state.failure.is_some()).await;
    let failure = saver.state().failure.unwrap();
    println!("told: {failure}");
    assert!(failure.contains(expected), "{failure}");
    assert_eq!(reader.addresses().unwrap().len(), 10);
    saver.hand_over(vec![kept(20_000, 2)], Vec::new());
    make_room();
    until(&mut saver, |state| state.failure.is_none()).await;
    assert_eq!(saver.close(Duration::from_secs(60)).await, None);
    drop(reader);
    let rows = load(&dir, MAGIC, names(), KEY).unwrap().changes;
    assert_eq!(rows.len(), 20_001);
    assert!(rows.iter().all(|change| change.kept.unwrap().last_seen == UnixTime(2)));
}

async fn until(saver: &mut Saver, condition: impl Fn(&State) -> bool) {
    while !condition(&saver.state()) {
        saver.changed().await.expect("the thread is alive");
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_loses_nothing() {
    if let Some(dir) = child_dir() {
        let grow = "mount -o remount,size=64m \"$DIR\"";
        return fill(dir, "full", || run(grow)).await;
    }
    let dir = Dir::new();
    let before = "mount -t tmpfs -o size=1m none \"$DIR\"";
    run_alone("a_full_disk_is_told_and_loses_nothing", &dir, &NAMESPACE, before);
}

#[tokio::test]
async fn a_disk_that_fails_to_write_is_told_and_loses_nothing() {
    if let Some(dir) = child_dir() {
        let raise = || {
            let hard = rlimit::Resource::FSIZE.get_hard().unwrap();
            rlimit::Resource::FSIZE.set(hard, hard).unwrap();
        };
        return fill(dir, "I/O error", raise).await;
    }
    let dir = Dir::new();
    // The signal that would end the process is ignored, so the write fails.
    let before = "trap '' XFSZ && ulimit -S -f 1024";
    let test = "a_disk_that_fails_to_write_is_told_and_loses_nothing";
    assert!(run_alone(test, &dir, &SHELL, before), "a shell is there");
}

#[tokio::test]
async fn a_read_only_directory_is_read_and_told_and_saved_to_once_it_can_be() {
    if let Some(dir) = child_dir() {
        let mut loaded = load(&dir, MAGIC, names(), [9; 16]).unwrap();
        let changes = std::mem::take(&mut loaded.changes);
        assert_eq!((changes.len(), loaded.key), (500, KEY));
        assert!(loaded.store.is_none() && loaded.set_aside.is_none());
        let owner = Owner { dir: dir.clone(), magic: MAGIC };
        let mut saver = Saver::start(owner, loaded, &hasty()).unwrap();
        let failure = saver.state().failure.unwrap();
        println!("told: {failure}");
        assert!(failure.contains("cannot be written"), "{failure}");
        saver.hand_over(vec![gone(0)], Vec::new());
        run("mount -o remount,rw,bind \"$DIR\"");
        until(&mut saver, |state| state.wants_all).await;
        saver.hand_over_all(vec![Net::Ipv4], vec![kept(1, 9), kept(2, 9)], Vec::new());
        until(&mut saver, |state| state.failure.is_none()).await;
        assert_eq!(saver.close(Duration::from_secs(60)).await, None);
        let loaded = load(&dir, MAGIC, names(), [9; 16]).unwrap();
        assert_eq!(sorted(loaded.changes), [kept(1, 9), kept(2, 9)]);
        return;
    }
    let dir = Dir::new();
    let mut store = dir.load().unwrap().store.unwrap();
    store.write(&batch((0..500).map(|n| kept(n, 5))), &names(), LIMITS).unwrap();
    drop(store);
    let test = "a_read_only_directory_is_read_and_told_and_saved_to_once_it_can_be";
    run_alone(test, &dir, &NAMESPACE, READ_ONLY);
}

/// A pool starts without a book in a read-only directory that is prepared so, and says why.
fn has_no_book(test: &str, prepare: impl FnOnce(&Dir)) {
    if let Some(dir) = child_dir() {
        let loaded = load(&dir, MAGIC, names(), KEY).unwrap();
        assert!(loaded.store.is_none() && loaded.changes.is_empty());
        assert!(matches!(loaded.failure, Some(StoreError::Unwritable { .. })));
        return;
    }
    let dir = Dir::new();
    prepare(&dir);
    run_alone(test, &dir, &NAMESPACE, READ_ONLY);
}

#[test]
fn a_read_only_directory_without_a_book_is_told() {
    has_no_book("a_read_only_directory_without_a_book_is_told", |_| ());
}

#[test]
fn an_empty_file_in_a_read_only_directory_is_no_book() {
    let empty = |dir: &Dir| fs::write(dir.file(), "").unwrap();
    has_no_book("an_empty_file_in_a_read_only_directory_is_no_book", empty);
}

#[test]
fn a_log_in_a_read_only_directory_is_told() {
    if let Some(dir) = child_dir() {
        let error = Store::open_read_only(&dir).unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
        assert!(error.to_string().contains("peers.sqlite-wal, which is read where"), "{error}");
        // A pool starts all the same, with what is in the file itself.
        let loaded = load(&dir, MAGIC, names(), [9; 16]).unwrap();
        assert_eq!((loaded.changes.len(), loaded.key, loaded.failure), (500, KEY, Some(error)));
        assert!(loaded.store.is_none() && loaded.set_aside.is_none());
        return;
    }
    let (dir, copy) = (Dir::new(), Dir::new());
    let mut store = dir.load().unwrap().store.unwrap();
    store.write(&batch((0..500).map(|n| kept(n, 5))), &names(), LIMITS).unwrap();
    drop(store);
    let mut store = dir.load().unwrap().store.unwrap();
    store.write(&batch([kept(500, 5)]), &names(), LIMITS).unwrap();
    for name in ["peers.sqlite", "peers.sqlite-wal"] {
        fs::copy(dir.0.join(name), copy.0.join(name)).unwrap();
    }
    let test = "a_log_in_a_read_only_directory_is_told";
    run_alone(test, &copy, &NAMESPACE, READ_ONLY);
    assert_eq!(Store::open_read_only(&copy.0).unwrap().addresses().unwrap().len(), 501);
}

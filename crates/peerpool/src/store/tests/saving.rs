//! The thread that writes.

use peerpool_core::event::{DialError, Event};
use peerpool_core::id::PeerId;

use super::super::writer::State;
use super::*;

fn start(dir: &Dir, policy: &Policy) -> (Saver, Vec<Change>) {
    let mut loaded = dir.load().unwrap();
    let changes = std::mem::take(&mut loaded.changes);
    let owner = Owner { dir: dir.0.clone(), magic: MAGIC };
    (Saver::start(owner, loaded, policy).unwrap(), changes)
}

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the thread tells of a state.
async fn until(saver: &mut Saver, condition: impl Fn(&State) -> bool) {
    while !condition(&saver.state()) {
        saver.changed().await.expect("the thread is alive");
    }
}

#[tokio::test]
async fn what_is_handed_over_is_on_disk_once_it_is_closed() {
    let dir = Dir::new();
    let (mut saver, changes) = start(&dir, &Policy::default());
    assert!(changes.is_empty());
    let event =
        Event::DialFailed { peer: PeerId(1), address: address(2), error: DialError::Refused };
    for generation in 1..=1000 {
        saver.note(UnixTime(generation), &event);
        let round_trips = vec![(address(1), Duration::from_millis(generation))];
        let changes = vec![kept(1, generation), burned(2, generation), gone(3)];
        assert!(!saver.hand_over(changes, round_trips));
    }
    assert_eq!(saver.close(PATIENCE).await, None);
    let loaded = dir.load().unwrap();
    assert_eq!(sorted(loaded.changes), [kept(1, 1000), burned(2, 1000)]);
    let store = loaded.store.unwrap();
    let of = |n| store.history(&address(n)).unwrap().unwrap();
    assert_eq!((of(2).failures["refused"], of(2).facts.len()), (1000, 16));
    assert_eq!((of(1).round_trips.len(), of(2).facts[15].at), (32, UnixTime(1000)));
    // The log is folded into the file, and nothing else is left.
    drop(store);
    assert_eq!(dir.files(), ["lock", STORE_FILE]);
}

#[tokio::test]
async fn dropped_without_a_close_it_writes_what_it_has() {
    let dir = Dir::new();
    let (mut saver, _) = start(&dir, &Policy::default());
    let done = saver.take_done();
    saver.hand_over((0..100).map(|n| kept(n, 1)).collect(), Vec::new());
    drop(saver);
    done.await.expect("the thread ends by itself");
    assert_eq!(dir.load().unwrap().changes.len(), 100);
}

#[tokio::test]
async fn a_file_that_is_deleted_is_begun_anew_with_all_there_is() {
    let dir = Dir::new();
    let (mut saver, _) = start(&dir, &hasty());
    saver.hand_over(vec![kept(1, 1), kept(2, 1)], Vec::new());
    fs::remove_file(dir.file()).unwrap();
    saver.hand_over(vec![kept(3, 1)], Vec::new());
    until(&mut saver, |state| state.wants_all).await;
    let all = (1..4).map(|n| kept(n, 1)).collect();
    saver.hand_over_all(vec![Net::Ipv4], all, Vec::new());
    until(&mut saver, |state| !state.wants_all).await;
    assert_eq!(saver.close(PATIENCE).await, None);
    assert_eq!(sorted(dir.load().unwrap().changes), [kept(1, 1), kept(2, 1), kept(3, 1)]);
}

#[tokio::test]
async fn a_file_that_is_gone_as_the_pool_closes_is_written_whole() {
    let dir = Dir::new();
    let (mut saver, _) = start(&dir, &hasty());
    fs::remove_file(dir.file()).unwrap();
    let all: Vec<_> = (1..4).map(|n| kept(n, 1)).collect();
    saver.hand_over_last(vec![Net::Ipv4], all.clone(), Vec::new());
    assert_eq!(saver.close(PATIENCE).await, None);
    assert_eq!(sorted(dir.load().unwrap().changes), all);
}

#[tokio::test]
async fn what_is_handed_over_last_is_not_written_over_what_is_there() {
    let dir = Dir::new();
    let (mut saver, _) = start(&dir, &hasty());
    saver.hand_over(vec![kept(1, 1), kept(2, 1)], Vec::new());
    saver.hand_over_last(vec![Net::Ipv4], vec![kept(3, 1)], Vec::new());
    assert_eq!(saver.close(PATIENCE).await, None);
    assert_eq!(sorted(dir.load().unwrap().changes), [kept(1, 1), kept(2, 1)]);
}

#[tokio::test]
async fn a_directory_that_goes_and_comes_back_is_an_event_and_loses_nothing() {
    let dir = Dir::new();
    let (mut saver, _) = start(&dir, &hasty());
    let away = dir.0.with_extension("away");
    fs::rename(&dir.0, &away).unwrap();
    saver.hand_over(vec![kept(1, 1)], Vec::new());
    until(&mut saver, |state| state.failure.is_some()).await;
    let text = saver.state().failure.unwrap();
    assert!(text.contains(dir.0.to_str().unwrap()), "{text}");
    saver.hand_over(vec![kept(2, 1)], Vec::new());
    fs::rename(&away, &dir.0).unwrap();
    until(&mut saver, |state| state.wants_all).await;
    saver.hand_over_all(Vec::new(), vec![kept(1, 1), kept(2, 1)], Vec::new());
    until(&mut saver, |state| state.failure.is_none()).await;
    assert_eq!(saver.close(PATIENCE).await, None);
    assert_eq!(sorted(dir.load().unwrap().changes), [kept(1, 1), kept(2, 1)]);
}

#[tokio::test]
async fn a_file_damaged_while_it_is_written_is_set_aside() {
    let dir = Dir::new();
    let (saver, _) = start(&dir, &hasty());
    assert_eq!(saver.close(PATIENCE).await, None);
    let mut loaded = dir.load().unwrap();
    let store = loaded.store.as_mut().unwrap();
    store.write(&batch((0..500).map(|n| kept(n, 5))), &names(), LIMITS).unwrap();
    let folded = store.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    folded.unwrap();
    loaded.changes.clear();
    let mut bytes = fs::read(dir.file()).unwrap();
    bytes[8192..].fill(0xa5);
    fs::write(dir.file(), bytes).unwrap();
    // What the connection has in memory is as it was.
    store.connection.release_memory().unwrap();
    store.connection.execute_batch("PRAGMA cache_size = 0").unwrap();
    let owner = Owner { dir: dir.0.clone(), magic: MAGIC };
    let mut saver = Saver::start(owner, loaded, &hasty()).unwrap();
    saver.hand_over((0..500).map(|n| kept(n, 6)).collect(), Vec::new());
    until(&mut saver, |state| state.wants_all).await;
    let (count, path, _) = saver.state().set_aside.unwrap();
    assert!(count == 1 && path.contains(".corrupt-"), "{path}");
    saver.hand_over_all(Vec::new(), vec![kept(1, 6)], Vec::new());
    until(&mut saver, |state| state.failure.is_none()).await;
    assert_eq!(saver.close(PATIENCE).await, None);
    let loaded = dir.load().unwrap();
    assert_eq!((loaded.changes, loaded.key), (vec![kept(1, 6)], KEY));
}

#[tokio::test]
async fn what_waits_for_a_dead_disk_is_bounded() {
    let dir = Dir::new();
    let policy = Policy { max_addresses: 16, max_burned: 16, max_bans: 16, ..Policy::default() };
    let (mut saver, _) = start(&dir, &policy);
    // Somebody else writes, for as long as it takes.
    let other = Connection::open(dir.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let full = (0..200).any(|n| saver.hand_over(vec![kept(n, 1)], Vec::new()));
    assert!(full, "all there is would be less");
    saver.hand_over_all(Vec::new(), (0..10).map(|n| kept(n, 1)).collect(), Vec::new());
    assert!(!saver.hand_over((10..90).map(gone).collect(), Vec::new()));
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(saver.close(PATIENCE).await, None);
    let loaded = dir.load().unwrap();
    assert!((0..10).all(|n| loaded.changes.contains(&kept(n, 1))));
}

#[tokio::test]
async fn bans_that_may_be_are_not_too_much_to_wait() {
    let dir = Dir::new();
    let policy = Policy { max_addresses: 16, max_burned: 16, max_bans: 100, ..Policy::default() };
    let (mut saver, _) = start(&dir, &policy);
    // Somebody else writes, for as long as it takes.
    let other = Connection::open(dir.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    saver.forget_bans((0..100).map(|n| address(n).into()));
    assert!(!saver.hand_over(Vec::new(), Vec::new()), "there may be as many");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(saver.close(PATIENCE).await, None);
}

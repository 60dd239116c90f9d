//! Files that are damaged, of others, or of another time.

use super::*;

/// A store with a few hundred rows, closed.
fn full() -> Dir {
    let dir = Dir::new();
    let mut store = dir.load().unwrap().store.unwrap();
    store.write(&batch((0..500).map(|n| kept(n, 5))), &names(), LIMITS).unwrap();
    drop(store);
    dir
}

fn is_set_aside(dir: &Dir) -> bool {
    dir.files().iter().any(|name| name.starts_with("peers.sqlite.corrupt-"))
}

/// A pool that starts here finds nothing, is told why, and what was there is kept.
fn is_begun_anew(dir: &Dir) {
    let before = fs::read(dir.file()).unwrap();
    let loaded = dir.load().unwrap();
    assert!(loaded.changes.is_empty() && loaded.failure.is_none());
    let (path, error) = loaded.set_aside.unwrap();
    assert!(error.is_corrupt(), "{error}");
    assert!(path.file_name().unwrap().to_str().unwrap().starts_with("peers.sqlite.corrupt-"));
    assert_eq!(fs::read(path).unwrap(), before, "nothing of it is touched");
    loaded.store.unwrap().write(&batch([kept(1, 1)]), &names(), LIMITS).unwrap();
    let loaded = dir.load().unwrap();
    assert_eq!(loaded.changes, [kept(1, 1)]);
    assert!(loaded.set_aside.is_none());
}

#[test]
fn a_file_that_is_no_database_is_set_aside() {
    let dir = full();
    let mut bytes = fs::read(dir.file()).unwrap();
    bytes[..16].fill(b'x');
    fs::write(dir.file(), bytes).unwrap();
    assert!(Store::open(&dir.0).unwrap_err().is_corrupt());
    assert!(!is_set_aside(&dir), "a command leaves it as it is");
    is_begun_anew(&dir);
}

#[test]
fn a_file_with_a_damaged_page_is_set_aside_wherever_that_is() {
    let pages = fs::read(full().file()).unwrap().len() / 4096;
    assert!(pages > 15, "{pages}");
    for page in (1..pages).step_by(5) {
        let dir = full();
        let mut bytes = fs::read(dir.file()).unwrap();
        bytes[page * 4096..][..2048].fill(0xa5);
        fs::write(dir.file(), bytes).unwrap();
        is_begun_anew(&dir);
    }
}

#[test]
fn a_file_that_was_cut_off_is_set_aside() {
    let dir = full();
    let bytes = fs::read(dir.file()).unwrap();
    fs::write(dir.file(), &bytes[..bytes.len() / 2]).unwrap();
    is_begun_anew(&dir);
}

#[test]
fn a_database_of_another_program_is_set_aside() {
    let dir = Dir::new();
    let other = Connection::open(dir.file()).unwrap();
    other.execute_batch("CREATE TABLE wallet (x); PRAGMA user_version = 1").unwrap();
    drop(other);
    is_begun_anew(&dir);
}

#[test]
fn an_empty_file_is_begun() {
    let dir = Dir::new();
    fs::write(dir.file(), "").unwrap();
    let loaded = dir.load().unwrap();
    assert!(loaded.set_aside.is_none() && loaded.store.is_some());
}

#[test]
fn an_empty_file_has_nothing_to_be_read() {
    let dir = Dir::new();
    fs::write(dir.file(), "").unwrap();
    let error = Store::open_read_only(&dir.0).unwrap_err();
    assert_eq!(error, StoreError::Missing { path: dir.file() });
}

#[test]
fn a_file_of_an_earlier_version_is_read_once_it_is_brought_up_to_date() {
    let dir = full();
    let other = Connection::open(dir.file()).unwrap();
    other.execute_batch("DROP TABLE ban; PRAGMA user_version = 1").unwrap();
    drop(other);
    let error = Store::open_read_only(&dir.0).unwrap_err().to_string();
    let expected = "could not be read: its schema is 1, and 2 is read here; a pool";
    assert!(error.contains(expected), "{error}");
    drop(Store::open(&dir.0).unwrap());
    assert_eq!(Store::open_read_only(&dir.0).unwrap().addresses().unwrap().len(), 500);
}

#[test]
fn what_cannot_be_done_with_which_file_is_told() {
    let dir = full();
    let reader = Store::open_read_only(&dir.0).unwrap();
    let path = dir.file().display().to_string();
    let other = Connection::open(dir.file()).unwrap();
    other.execute_batch("ALTER TABLE burned RENAME TO b; ALTER TABLE ban RENAME TO c").unwrap();
    let read = reader.burned().unwrap_err().to_string();
    assert!(read.starts_with(&format!("{path} could not be read: ")), "{read}");
    let mut writer = Store::open(&dir.0).unwrap();
    let ban = Ban { subnet: address(1).into(), since: UnixTime(1), until: UnixTime(2) };
    let write = writer.insert_ban(&ban).unwrap_err().to_string();
    assert!(write.starts_with(&format!("{path} could not be written: ")), "{write}");
}

#[test]
fn a_file_of_a_later_version_is_refused_and_left_alone() {
    let dir = full();
    Connection::open(dir.file()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(dir.file()).unwrap();
    let error = dir.load().unwrap_err();
    let known = schema::MIGRATIONS.len() as u32;
    assert_eq!(error, StoreError::TooNew { path: dir.file(), found: 99, known });
    assert!(error.to_string().contains("later version"));
    assert_eq!(fs::read(dir.file()).unwrap(), before);
    assert!(!is_set_aside(&dir));
}

#[test]
fn the_book_of_another_chain_is_refused_and_left_alone() {
    let dir = full();
    let error = load(&dir.0, [0xf9, 0xbe, 0xb4, 0xd9], names(), KEY).unwrap_err();
    assert!(error.to_string().contains("fabfb5da, not f9beb4d9"), "{error}");
    assert_eq!(dir.load().unwrap().changes.len(), 500);
}

#[test]
fn rows_that_others_wrote_wrong_are_passed_over() {
    let dir = full();
    let other = Connection::open(dir.file()).unwrap();
    let wrong = "UPDATE address SET address = 'nowhere' WHERE id = 1; \
                 UPDATE address SET source = 'a dream', last_seen = -5, failures = -1 WHERE id = 2";
    other.execute_batch(wrong).unwrap();
    drop(other);
    let loaded = dir.load().unwrap();
    assert_eq!(loaded.changes.len(), 499);
    let odd = |change: &&Change| change.kept.unwrap().source == Source::Import;
    let odd = loaded.changes.iter().find(odd).unwrap().kept.unwrap();
    assert_eq!((odd.last_seen, odd.failures), (UnixTime(0), 0));
}

#[test]
fn a_directory_in_place_of_the_file_is_an_error_with_its_name() {
    let dir = Dir::new();
    fs::create_dir(dir.file()).unwrap();
    let error = dir.load().unwrap_err();
    let expected = format!("{} could not be read: ", dir.file().display());
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn a_full_database_takes_all_of_a_batch_or_nothing() {
    let dir = Dir::new();
    let mut store = dir.load().unwrap().store.unwrap();
    store.write(&batch((0..10).map(|n| kept(n, 1))), &names(), LIMITS).unwrap();
    let limit = |store: &Store, pages: u32| {
        store
            .connection
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .unwrap();
    };
    limit(&store, 20);
    let large = batch((0..2000).map(|n| kept(n, 2)));
    let error = store.write(&large, &names(), LIMITS).unwrap_err();
    assert!(matches!(error, StoreError::Unwritable { .. }), "{error}");
    assert_eq!(store.addresses().unwrap().len(), 10);
    assert!(store.addresses().unwrap().iter().all(|row| row.last_seen == UnixTime(1)));
    limit(&store, 1_000_000);
    store.write(&large, &names(), LIMITS).unwrap();
    assert_eq!(store.addresses().unwrap().len(), 2000);
}

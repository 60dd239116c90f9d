//! `peerpool book`, on the book of a pool that ran on a devnet and on lists that were imported.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use peerpool::bitcoin::Network;
use peerpool::formats::{self, Format};
use peerpool::{Chain, UnixTime};
use serde_json::{Value, json};

use crate::{Running, devnet, json_lines, output, printed_flags, text};

/// A directory that is gone after the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("peerpool-cli-book-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// The data directory.
    fn data(&self) -> String {
        self.file("data")
    }

    fn args(&self, args: &[&str]) -> Vec<String> {
        let data = self.data();
        let all = ["book", "--data-dir", &data].into_iter().chain(args.iter().copied());
        all.map(str::to_owned).collect()
    }

    fn run(&self, args: &[&str]) -> std::process::Output {
        let args = self.args(args);
        output(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The lines of a command that goes well.
    fn lines(&self, args: &[&str]) -> Vec<Value> {
        let output = self.run(&[args, &["--json"]].concat());
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{args:?}");
        json_lines(&output.stdout)
    }

    /// The one line of a command that goes well.
    fn line(&self, args: &[&str]) -> Value {
        let mut lines = self.lines(args);
        assert_eq!(lines.len(), 1, "{args:?}: {lines:?}");
        lines.remove(0)
    }

    /// What a command says that goes well, for people.
    fn words(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// What a command says that fails.
    fn error(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stdout));
        assert!(output.stdout.is_empty(), "{args:?}");
        text(&output.stderr)
    }

    fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.0.join(name), content).unwrap();
        self.file(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// So many addresses, each in a /16 of its own.
fn addresses(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{}.{}.3.4:8333", 20 + n / 250, n % 250)).collect()
}

fn run_pool(said: &Value, dir: &Dir, more: &[&str]) -> Running {
    let (flags, data) = (printed_flags(said), dir.data());
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let args = ["run", "--json", "--target", "4", "--for", "1min", "--data-dir", &data];
    Running::start(&[&args[..], &flags, more].concat())
}

fn counted(of: &Value) -> u64 {
    of.as_object().expect("counts").values().filter_map(Value::as_u64).sum()
}

fn strings(lines: &[Value], key: &str) -> Vec<String> {
    lines.iter().map(|line| line[key].as_str().expect("a text").to_owned()).collect()
}

/// A pool ran here, was full, and burned somebody.
fn full_pool(dir: &Dir) {
    let (_devnet, said) = devnet(&["--nodes", "80", "--mix", "honest=1,refusing=2"]);
    // Whoever came too late for a slot would be dialled again as an extra.
    let mut pool = run_pool(&said, dir, &["--set", "block_relay_count=0"]);
    pool.event("full");
    pool.signal("TERM");
    assert_eq!(pool.end().0, Some(0));
}

#[test]
fn what_a_pool_learned_is_counted_and_listed() {
    let dir = Dir::new();
    full_pool(&dir);
    let stats = dir.line(&["stats"]);
    assert_eq!((&stats["event"], &stats["chain"]), (&"stats".into(), &"regtest".into()));
    assert_eq!(stats["magic"], "fabfb5da");
    let count = |key: &str| stats[key].as_u64().expect("a count");
    assert_eq!(count("addresses"), counted(&stats["nets"]), "{stats}");
    assert_eq!(count("addresses"), counted(&stats["standing"]), "{stats}");
    assert_eq!(count("addresses"), count("tried") + count("new"), "{stats}");
    let others = stats["other_sources"]["addresses"].as_u64().expect("a count");
    assert_eq!(count("addresses"), counted(&stats["sources"]) + others, "{stats}");
    assert!(count("experienced") >= 4 && count("anchors") >= 4 && count("bytes") > 0, "{stats}");
    assert_eq!((count("bans"), count("schema")), (0, 2));

    let all = dir.lines(&["list"]);
    assert_eq!(all.len() as u64, count("addresses"));
    let anchors = dir.lines(&["list", "--anchors"]);
    assert_eq!(anchors.len() as u64, count("anchors"));
    let first = strings(&all[..anchors.len()], "address");
    assert_eq!(first, strings(&anchors, "address"), "they come first");
    let tried = dir.lines(&["list", "--tried"]);
    assert_eq!(tried.len() as u64, count("tried"));
    assert!(tried.iter().all(|row| row["table"] == "tried" && row["may_dial"] == true));
    assert_eq!(dir.lines(&["list", "--net", "ipv6"]), [Value::Null; 0]);
    assert_eq!(dir.lines(&["list", "--services", "compact_filters"]), [Value::Null; 0]);
    assert_eq!(dir.lines(&["list", "--services", "network,witness", "--limit", "3"]).len(), 3);
    let burned = dir.lines(&["list", "--burned"]);
    assert_eq!(burned.len() as u64, counted(&stats["burned"]), "{stats}");
    assert!(!burned.is_empty() && burned.iter().all(|row| row["reason"] == "refused"));

    for args in [&["stats"][..], &["list"], &["list", "--burned"]] {
        let words = dir.words(args);
        assert!(words.lines().all(|line| line.len() <= 80), "{words}");
    }
    let listed = dir.words(&["list", "--limit", "2"]);
    assert!(listed.starts_with("address  ") && listed.ends_with(" addresses\n"), "{listed}");
    assert_eq!(listed.lines().count(), 4);

    let anchors_dat = dir.file("anchors.dat");
    let exported = dir.line(&["export", &anchors_dat, "--format", "anchors.dat"]);
    assert_eq!(exported["addresses"].as_u64(), Some(count("anchors")));
    let chain = Chain::from(Network::Regtest);
    let read = formats::read(&fs::read(&anchors_dat).unwrap(), &chain).unwrap();
    let mut found: Vec<_> = read.entries.iter().map(|it| it.address.to_string()).collect();
    let mut expected = strings(&anchors, "address");
    found.sort();
    expected.sort();
    assert_eq!((read.format, found), (Format::AnchorsDat, expected));
}

#[test]
fn of_an_address_its_past_is_told_and_why_it_may_be_dialled_or_not() {
    let dir = Dir::new();
    full_pool(&dir);
    let anchor = strings(&dir.lines(&["list", "--anchors", "--limit", "1"]), "address").remove(0);
    let shown = dir.line(&["show", &anchor]);
    assert_eq!((&shown["in_book"], &shown["anchor"]), (&true.into(), &true.into()));
    assert_eq!((&shown["burned"], &shown["ban"]), (&Value::Null, &Value::Null));
    assert!(matches!(shown["source"]["over"].as_str(), Some("dns" | "ipv4")), "{shown}");
    let history = &shown["history"];
    assert_eq!((&history["successes"], &history["failures"]), (&json!(1), &json!({})));
    assert_eq!(history["transport"], "tcp v1");
    assert!(history["user_agent"].as_str().is_some_and(|agent| agent.starts_with("/devnet")));
    assert_eq!(history["last_end"]["reason"], "pool_closed");
    let whats = strings(history["facts"].as_array().expect("facts"), "what");
    assert_eq!(whats, ["chosen", "connected", "ready", "dropped"]);

    let why = dir.line(&["why", &anchor]);
    assert_eq!((&why["may_dial"], &why["rule"]), (&true.into(), &"experience".into()));
    let success = shown["last_success"].as_u64().expect("a time");
    assert_eq!(why["until"].as_u64(), Some(success + 30 * 86_400));
    assert_eq!(why["chosen"]["connection_type"], "outbound_full_relay");
    assert_eq!(why["chosen"]["chosen"], "hearsay");
    assert_eq!(why["last"]["detail"], "pool_closed");
    let words = dir.words(&["why", &anchor]);
    assert!(words.contains("may be dialled: we shook hands with it lately"), "{words}");
    assert!(words.contains("was dropped (pool closed)"), "{words}");

    let burned = strings(&dir.lines(&["list", "--burned", "--limit", "1"]), "address").remove(0);
    let why = dir.line(&["why", &burned]);
    assert_eq!((&why["may_dial"], &why["rule"]), (&false.into(), &"burned".into()));
    assert_eq!(why["reason"], "refused");
    let (since, until) = (why["since"].as_u64(), why["until"].as_u64());
    assert_eq!(until, since.map(|since| since + 86_400));
    assert_eq!(dir.line(&["show", &burned])["history"]["failures"], json!({ "refused": 1 }));
    for args in [["show", &anchor], ["why", &anchor], ["show", &burned], ["why", &burned]] {
        let words = dir.words(&args);
        assert!(words.lines().all(|line| line.len() <= 80), "{words}");
    }

    assert_eq!(dir.line(&["forget", &burned])["address"], burned.as_str());
    assert_eq!(dir.line(&["why", &burned])["rule"], "unknown");
    let gone = format!("error: {burned} is not in the book\n");
    assert_eq!(dir.error(&["show", &burned]), gone);
    assert_eq!(dir.error(&["forget", &burned]), gone);
}

#[test]
fn while_a_pool_runs_its_book_is_read_and_not_written() {
    let dir = Dir::new();
    let (_devnet, said) = devnet(&["--nodes", "40", "--rng-seed", "7"]);
    let mut pool = run_pool(&said, &dir, &["--set", "save_interval=100ms"]);
    pool.event("full");
    let list = dir.write("list.txt", "1.2.3.4\n");
    let locked = format!(
        "error: the data directory {} is in use by process {}; close the pool that runs there, or \
         name another directory\n",
        dir.data(),
        pool.child.id()
    );
    for args in
        [&["ban", "1.2.3.4"][..], &["unban", "1.2.3.4"], &["forget", "1.2.3.4"], &["import", &list]]
    {
        assert_eq!(dir.error(args), locked, "{args:?}");
    }
    let stats = dir.line(&["stats"]);
    assert_eq!((&stats["chain"], &stats["bans"]), (&"regtest".into(), &0.into()));
    dir.line(&["why", "1.2.3.4"]);
    assert_eq!(dir.lines(&["bans"]), [Value::Null; 0]);
    assert_eq!(dir.line(&["import", &list, "--dry-run"])["taken"], 1);
    dir.line(&["export", &dir.file("peers.dat")]);
    for own in ["peers.sqlite", "../data/peers.sqlite-wal", "lock"] {
        let own = format!("{}/{own}", dir.data());
        let said = dir.error(&["export", &own, "--force"]);
        assert!(said.contains("is the addr book itself"), "{said}");
    }
    pool.signal("TERM");
    assert_eq!(pool.end().0, Some(0));
}

#[test]
fn an_address_that_only_the_user_named_is_told_as_that() {
    let dir = Dir::new();
    let data = dir.data();
    let args = ["run", "--json", "--network", "regtest", "--no-dns", "--add", "127.0.0.1:1"];
    let mut pool = Running::start(&[&args[..], &["--data-dir", &data, "--for", "1min"]].concat());
    pool.event("backed_off");
    pool.signal("TERM");
    assert_eq!(pool.end().0, Some(0));
    let why = dir.line(&["why", "127.0.0.1:1"]);
    assert_eq!((&why["rule"], &why["may_dial"]), (&"named".into(), &false.into()), "{why}");
    let words = dir.words(&["why", "127.0.0.1:1"]);
    assert!(words.contains("was named by the user. A pool dials it if it is named"), "{words}");
    assert_eq!(dir.line(&["stats"])["standing"]["named"], 1);
}

#[test]
fn a_pool_dials_nobody_who_was_banned_by_command() {
    let dir = Dir::new();
    let (_devnet, said) = devnet(&["--nodes", "40", "--rng-seed", "8"]);
    dir.line(&["ban", "127.0.0.0/8", "--for", "1h", "--network", "regtest"]);
    let mut pool = run_pool(&said, &dir, &[]);
    pool.event("starved");
    pool.signal("TERM");
    let (code, rest, _) = pool.end();
    let stopped = json_lines(rest.as_bytes()).pop().expect("a last line");
    assert_eq!((code, &stopped["status"]["dials"]), (Some(0), &0.into()), "{stopped}");
    assert_eq!(dir.line(&["unban", "127.0.0.0/8"])["subnet"], "127.0.0.0/8");
    assert_eq!(dir.lines(&["bans"]), [Value::Null; 0]);
}

#[test]
fn bans_are_made_listed_and_ended() {
    let dir = Dir::new();
    let list = dir.write("list.txt", "1.2.3.4\n1.3.3.4\n[2a01::1]:8334\n");
    dir.line(&["import", &list]);
    let ban = dir.line(&["ban", "1.2.3.99/16"]);
    assert_eq!(ban["subnet"], "1.2.0.0/16");
    assert_eq!(ban["until"].as_u64(), ban["since"].as_u64().map(|since| since + 86_400));
    let forever = dir.line(&["ban", "2a01::/16", "--forever"]);
    assert_eq!(forever["until"], 253_402_300_799_u64);
    let until = dir.line(&["ban", "9.9.9.9", "--until", "4000000000"]);
    assert_eq!(until["until"], 4_000_000_000_u64);
    let subnets = strings(&dir.lines(&["bans"]), "subnet");
    assert_eq!(subnets, ["1.2.0.0/16", "9.9.9.9", "2a01::/16"]);
    let mut banned = strings(&dir.lines(&["list", "--banned"]), "address");
    banned.sort();
    assert_eq!(banned, ["1.2.3.4:8333", "[2a01::1]:8334"]);
    let why = dir.line(&["why", "1.2.3.4"]);
    assert_eq!((&why["rule"], &why["ban"]["subnet"]), (&"banned".into(), &"1.2.0.0/16".into()));
    assert!(dir.words(&["why", "2a01::5"]).contains("the user banned 2a01::/16 for good."));

    let covered = dir.error(&["ban", "1.2.3.4"]);
    assert!(
        covered.starts_with("error: 1.2.3.4 is already banned, by the ban of 1.2.0.0/16, until")
    );
    assert!(dir.error(&["ban", "8.8.8.8", "--until", "5"]).contains("would be over"));
    let part = "error: 1.2.3.4 is not banned by itself; the ban of 1.2.0.0/16 covers it\n";
    assert_eq!(dir.error(&["unban", "1.2.3.4"]), part);
    dir.line(&["unban", "1.2.0.0/16"]);
    assert_eq!(dir.line(&["why", "1.2.3.4"])["rule"], "hearsay");
    assert_eq!(dir.lines(&["list", "--banned"]).len(), 1);
}

#[test]
fn a_list_is_taken_in_and_what_is_refused_is_told_by_its_reason() {
    let dir = Dir::new();
    let all = addresses(20).join("\n");
    let list = dir.write("list.txt", &format!("{all}\n10.0.0.1\n1.1.1.1:25\nnonsense\n"));
    let dry = dir.line(&["import", &list, "--dry-run"]);
    assert_eq!((&dry["taken"], &dry["dry_run"]), (&20.into(), &true.into()));
    assert!(!PathBuf::from(dir.data()).exists(), "nothing is written");
    let taken = dir.line(&["import", &list]);
    assert_eq!((&taken["format"], &taken["entries"]), (&"plain".into(), &22.into()));
    assert_eq!(
        (&taken["taken"], &taken["fresh"], &taken["old"]),
        (&20.into(), &20.into(), &0.into())
    );
    assert_eq!(taken["refused"], json!({ "port": 1, "unroutable": 1 }));
    assert_eq!(taken["skipped"], json!({ "unreadable": 1 }));
    let again = dir.line(&["import", &list]);
    assert_eq!((&again["taken"], &again["known"]), (&0.into(), &20.into()));

    let row = dir.lines(&["list", "--limit", "1"]).remove(0);
    assert_eq!((&row["source"]["kind"], &row["rule"]), (&"import".into(), &"hearsay".into()));
    assert_eq!((&row["last_success"], &row["table"]), (&Value::Null, &"new".into()));
    assert_eq!(dir.line(&["why", "1.1.1.1:25"])["reason"], "port");
    assert_eq!(dir.line(&["why", "10.0.0.1"])["reason"], "unroutable");
    assert!(
        dir.words(&["why", "10.0.0.1"]).contains("10.0.0.1:8333 is never taken in: the public")
    );
    let lenient = dir.line(&["import", &list, "--set", "allow_unroutable=true"]);
    assert_eq!((&lenient["taken"], &lenient["refused"]), (&1.into(), &json!({ "port": 1 })));
    let why = dir.line(&["why", "10.0.0.1"]);
    assert_eq!((&why["reason"], &why["source"]["kind"]), (&"unroutable".into(), &"import".into()));
    for command in ["why", "show"] {
        let words =
            dir.words(&[command, "10.0.0.1"]).split_whitespace().collect::<Vec<_>>().join(" ");
        let told = "10.0.0.1:8333 is in the file, and not dialled: a pool with these settings does \
                    not take it from there, since the public internet cannot reach it";
        assert!(words.contains(told), "{words}");
    }
    let words = dir.words(&["import", &list, "--dry-run"]);
    assert!(words.lines().all(|line| line.len() <= 80), "{words}");
    assert!(words.contains("\nrefused    port 1, unroutable 1\n"), "{words}");

    // Success times of others are hearsay.
    let hour_ago = row["source"]["at"].as_u64().expect("a time") - 3600;
    let shares = "99% 99% 99% 99% 99% 800000 00000409 70016 \"/a/\"";
    let dump = format!(
        "# address good lastSuccess %(2h) %(8h) %(1d) %(7d) %(30d) blocks svcs version\n\
         9.8.7.6:8333 1 1600000000 {shares}\n9.7.7.6:8333 1 {hour_ago} {shares}\n"
    );
    let old = dir.line(&["import", &dir.write("dump.txt", &dump)]);
    assert_eq!(
        (&old["format"], &old["fresh"], &old["old"]),
        (&"seeder".into(), &1.into(), &1.into())
    );
    assert_eq!(dir.line(&["why", "9.7.7.6"])["rule"], "hearsay");
    let strict = dir.line(&["why", "9.7.7.6", "--set", "max_address_age=30min"]);
    assert_eq!((&strict["rule"], &strict["since"]), (&"too_old".into(), &(hour_ago + 1800).into()));
    let why = dir.line(&["why", "9.8.7.6"]);
    assert_eq!(
        (&why["rule"], &why["since"]),
        (&"too_old".into(), &(1_600_000_000 + 10_800).into())
    );
}

#[test]
fn what_is_exported_comes_in_again_the_same_with_times_of_whole_days() {
    let (one, two) = (Dir::new(), Dir::new());
    let list = one.write("list.txt", &addresses(200).join("\n"));
    // Now and then one finds no place in the tables, by their key.
    let count = one.line(&["import", &list])["taken"].as_u64().expect("a count");
    assert!(count > 190, "{count}");
    let exported = one.line(&["export", &one.file("all.json"), "--format", "json"]);
    assert_eq!(exported["addresses"], 200);
    let rows = |dir: &Dir, name: &str| -> BTreeMap<String, Value> {
        let lines = json_lines(&fs::read(dir.file(name)).unwrap()).into_iter();
        lines.map(|row| (row["address"].as_str().expect("a text").to_owned(), row)).collect()
    };
    let all = rows(&one, "all.json");
    assert!(all.values().all(|row| row["last_seen"].as_u64().is_some_and(|at| at % 86_400 == 0)));

    for (format, name) in [("peers.dat", "v3.dat"), ("peers.dat-v4", "v4.dat")] {
        let exported = one.line(&["export", &one.file(name), "--format", format]);
        let left_out = counted(&exported["left_out"]);
        assert_eq!(exported["addresses"].as_u64(), Some(count - left_out), "{exported}");
        let bytes = fs::read(one.file(name)).unwrap();
        let read = formats::read(&bytes, &Chain::from(Network::Bitcoin)).unwrap();
        assert_eq!(read.entries.len() as u64, count - left_out);
        let days = |at: UnixTime| at.0 > 0 && at.0.is_multiple_of(86_400);
        assert!(read.entries.iter().all(|it| days(it.last_seen) && it.last_success.is_none()));
        let taken = two.line(&["import", &one.file(name)]);
        let sum = ["taken", "known"].map(|key| taken[key].as_u64().expect("a count"));
        let refused = counted(&taken["refused"]);
        assert_eq!(sum[0] + sum[1] + refused, count - left_out, "{taken}");
    }
    two.line(&["export", &two.file("all.json"), "--format", "json"]);
    let again = rows(&two, "all.json");
    assert!(again.len() as u64 > count - 10, "{}", again.len());
    again.iter().for_each(|(address, row)| assert_eq!(&all[address], row));

    let three = Dir::new();
    three.line(&["import", &one.file("all.json")]);
    three.line(&["export", &three.file("all.json"), "--format", "json"]);
    let again = rows(&three, "all.json");
    assert!(again.len() as u64 > count - 10, "{}", again.len());
    again.iter().for_each(|(address, row)| assert_eq!(&all[address], row));

    let plain = one.run(&["export", "-", "--format", "plain"]);
    assert_eq!(text(&plain.stdout).lines().count() as u64, count);
}

#[test]
fn an_address_of_cjdns_is_one_wherever_it_comes_from() {
    let (one, two) = (Dir::new(), Dir::new());
    let list = one.write("list.txt", "[fc00:1::2]:8333\n1.2.3.4\n");
    assert_eq!(one.line(&["import", &list])["elsewhere"], 1);
    one.line(&["export", &one.file("peers.dat"), "--format", "peers.dat"]);
    assert_eq!(two.line(&["import", &one.file("peers.dat")])["elsewhere"], 1);
    for dir in [one, two] {
        let listed = dir.lines(&["list", "--net", "cjdns"]);
        assert_eq!(strings(&listed, "address"), ["[fc00:1::2]:8333"]);
        assert_eq!(dir.line(&["stats"])["nets"], json!({ "ipv4": 1, "cjdns": 1 }));
        assert_eq!(dir.line(&["show", "fc00:1::2"])["net"], "cjdns");
    }
}

#[test]
fn a_file_that_is_there_is_not_replaced_unless_that_is_asked_for() {
    let dir = Dir::new();
    dir.line(&["import", &dir.write("list.txt", &addresses(3).join("\n"))]);
    let one = dir.words(&["import", &dir.write("list.txt", "9.9.9.9"), "--dry-run"]);
    assert!(one.contains("\nholds      1 address\n"), "{one}");
    let file = dir.write("mine.txt", "dear to me");
    let error = dir.error(&["export", &file, "--format", "plain"]);
    assert_eq!(error, format!("error: {file} is there already; --force replaces it\n"));
    assert_eq!(fs::read(&file).unwrap(), b"dear to me");
    dir.line(&["export", &file, "--format", "plain", "--force"]);
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 3);
    assert!(
        dir.error(&["export", "/nowhere/at/all"]).contains("/nowhere/at/all cannot be written")
    );
    let left: Vec<_> = fs::read_dir(&dir.0).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn wrong_input_is_answered_with_what_is_wrong_and_nothing_is_begun() {
    let dir = Dir::new();
    let missing = format!("there is no addr book at {}/peers.sqlite", dir.data());
    for args in [
        &["stats"][..],
        &["list"],
        &["show", "1.2.3.4"],
        &["why", "1.2.3.4"],
        &["export", &dir.file("x")],
        &["bans"],
        &["unban", "1.2.3.4"],
        &["forget", "1.2.3.4"],
    ] {
        assert!(dir.error(args).contains(&missing), "{args:?}");
    }
    let blob = dir.file("blob");
    fs::write(&blob, [0; 100]).unwrap();
    assert!(dir.error(&["import", &blob]).contains("the format is not known"));
    let prose = dir.write("prose", "what is this?\n");
    let error = dir.error(&["import", &prose]);
    assert!(error.contains("1 unreadable (line 1: what is this?) (read as plain)"), "{error}");
    assert!(dir.error(&["import", &dir.file("nobody")]).contains("nobody cannot be read"));
    let peers = dir.file("peers.dat");
    let (magic, key) = (Chain::from(Network::Signet).magic, [1; 32]);
    let empty = formats::peers_dat::write(&[], magic, key, Default::default()).unwrap();
    fs::write(&peers, empty.bytes).unwrap();
    let chain = dir.error(&["import", &peers]);
    assert!(chain.contains("magic is 0a03cf40") && chain.contains("--network"), "{chain}");
    assert!(!PathBuf::from(dir.data()).exists(), "nothing is begun");

    let list = dir.write("list.txt", "1.2.3.4");
    dir.line(&["import", &list, "--network", "signet"]);
    assert_eq!(dir.line(&["import", &list])["known"], 1, "the chain is the book's");
    assert_eq!(dir.lines(&["list"])[0]["address"], "1.2.3.4:38333");
    let error = dir.error(&["stats", "--network", "testnet4"]);
    assert!(error.contains("magic 0a03cf40, not 1c163f28"), "{error}");
    assert!(dir.error(&["why", "nobody"]).contains("\"nobody\" is no address"));
    let nowhere = output(&["book", "stats"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).contains("--data-dir DIR"));
    for args in [
        &["ban", "1.2.3.4/33"][..],
        &["ban", "1.2.3.4", "--for", "soon"],
        &["ban", "1.2.3.4", "--for", "1h", "--forever"],
        &["list", "--net", "ipx"],
        &["list", "--services", "all"],
        &["list", "--burned", "--tried"],
        &["import", "x", "--format", "csv"],
        &["export", "x", "--format", "seeder"],
    ] {
        assert_eq!(dir.run(args).status.code(), Some(2), "{args:?}");
    }
    fs::write(dir.0.join("data/peers.sqlite"), "").unwrap();
    assert!(dir.error(&["stats"]).contains(&missing), "an empty file is no book");
    dir.line(&["ban", "1.2.3.4"]);
    assert_eq!(dir.lines(&["bans"]).len(), 1, "and is begun");
    fs::write(dir.0.join("data/peers.sqlite"), [b'x'; 4096]).unwrap();
    assert!(dir.error(&["stats"]).contains("is damaged or not an addr book"));
}

#[test]
fn an_as_map_is_a_file_of_bounded_length() {
    let dir = Dir::new();
    dir.line(&["import", &dir.write("list.txt", "1.2.3.4")]);
    let status = std::process::Command::new("mkfifo").arg(dir.file("data/pipe")).status().unwrap();
    assert!(status.success(), "there are pipes");
    fs::File::create(dir.file("data/long")).unwrap().set_len(1 << 40).unwrap();
    fs::write(dir.file("data/wrong"), [1, 2, 3]).unwrap();
    for (name, expected) in [
        ("pipe", "could not be read: it is not a file"),
        (".", "could not be read: it is not a file"),
        ("long", "cannot be used: it has 67108865 bytes"),
        ("wrong", "cannot be used: its 24 bits are no map"),
    ] {
        let error = dir.error(&["why", "1.2.3.4", "--set", &format!("asmap={name}")]);
        let path = PathBuf::from(dir.data()).join(name);
        let expected = format!("error: the AS map {} {expected}", path.display());
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn an_import_that_is_interrupted_takes_in_all_or_nothing() {
    let dir = Dir::new();
    dir.line(&["import", &dir.write("one.txt", "9.9.9.9")]);
    let mut all = String::new();
    for n in 0..30_000 {
        all += &format!("{}.{}.{}.4\n", 20 + n % 100, n / 100 % 250, n / 25_000);
    }
    let list = dir.write("list.txt", &all);
    let args = dir.args(&["import", &list]);
    for _ in 0..3 {
        let mut import = Running::start(&args.iter().map(String::as_str).collect::<Vec<_>>());
        // Whoever holds the lock says so.
        let lock = dir.0.join("data/lock");
        let id = import.child.id().to_string();
        while fs::read_to_string(&lock).is_ok_and(|it| it != id)
            && import.child.try_wait().unwrap().is_none()
        {
            std::thread::yield_now();
        }
        import.signal("INT");
        import.end();
        let found = dir.line(&["stats"])["addresses"].as_u64().expect("a count");
        assert!(found == 1 || found > 10_000, "{found}");
    }
    let taken = dir.line(&["import", &list]);
    let total = dir.line(&["stats"])["addresses"].as_u64();
    let kept = ["taken", "known"].map(|key| taken[key].as_u64().expect("a count"));
    assert_eq!(total, Some(1 + kept[0] + kept[1]));
}

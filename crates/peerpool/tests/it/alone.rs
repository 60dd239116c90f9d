//! A test in a process of its own: for what is measured of a whole process, and for limits that are
//! everybody's in it.

use std::process::{Command, Output};

const CHILD: &str = "PEERPOOL_TEST_ALONE";

/// Whether this is the process that runs the test called `name` alone; if not, starts it and waits
/// until it has passed.
pub(crate) fn is_alone(name: &str) -> bool {
    if is_child() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(args(name)).env(CHILD, "1");
    passed(name, &command.output().unwrap());
    false
}

/// The same, with no more than `files` descriptors in that process.
pub(crate) fn is_alone_with_files(name: &str, files: u32) -> bool {
    if is_child() {
        return true;
    }
    let limited = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &limited]).arg(std::env::current_exe().unwrap());
    passed(name, &command.args(args(name)).env(CHILD, "1").output().unwrap());
    false
}

/// Whether this process was started to run one test.
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// What this program is told in order to run one test, and nothing else.
pub(crate) fn args(name: &str) -> [&str; 4] {
    ["--exact", name, "--nocapture", "--test-threads=1"]
}

/// Tells `command` that it is a child, for those who start it by themselves.
pub(crate) fn mark(command: &mut tokio::process::Command) -> &mut tokio::process::Command {
    command.env(CHILD, "1")
}

/// Holds a child to have run its test. Its output becomes ours: to be read where ours is, and not
/// to be taken for one more test.
pub(crate) fn passed(name: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} fails by itself");
    assert!(said.contains("test result: ok. 1 passed"), "{name} is no test");
}

//! Wrong unix clocks: set back, or never set.

use std::time::Duration;

use peerpool_core::id::BurnReason;
use peerpool_core::io::Input;

use crate::script::{Node, START, Script, nth};

const HOUR: u64 = 3600;
const YEAR: i64 = 365 * 86_400;

#[test]
fn a_clock_set_back_does_not_keep_hearsay_fresh_for_years() {
    let mut script = Script::seeded(2, &[nth(1), nth(2)]);
    script.unix_error = 4 * YEAR;
    script.others = Node::Unreachable;
    script.run_secs(60);
    script.unix_error = 0;
    script.seeds = vec![Err("gone".to_owned())];
    script.run_secs(4 * HOUR);
    script.others = Node::Alive;
    let before = script.dials.len();
    script.run_secs(HOUR);
    assert_eq!(script.dials.len(), before, "heard of more than 3 h ago");
}

#[test]
fn a_clock_set_back_is_heeded_with_the_next_input_whatever_that_is() {
    let mut script = Script::seeded(1, &[nth(1), nth(2)]);
    script.run_secs(10);
    let peer = script.status().ready[0].id;
    let progress = |script: &mut Script| {
        let before = script.engine.book().revision();
        script.input(Input::Progress { peer });
        script.engine.book().revision() - before
    };
    assert_eq!(progress(&mut script), 0, "bytes change nothing of what is known");
    script.now.unix = script.now.unix - Duration::from_secs(HOUR);
    assert!(progress(&mut script) > 0, "the one that is not dialled was seen later than now");
}

#[test]
fn a_clock_set_back_is_heeded_however_long_ago_the_book_was_last_used() {
    let mut script = Script::seeded(1, &[nth(1), nth(2)]);
    script.run_secs(10);
    let peer = script.status().ready[0].id;
    let min = Duration::from_secs(60);
    script.now.unix = script.now.unix + 8 * min;
    script.input(Input::Progress { peer });
    let before = script.engine.book().revision();
    script.now.unix = script.now.unix - 16 * min;
    script.input(Input::Progress { peer });
    assert!(script.engine.book().revision() > before, "16 min back, 8 of them since then");
}

#[test]
fn a_clock_set_ahead_makes_hearsay_old_and_the_seeds_mend_it() {
    let mut script = Script::seeded(2, &[nth(1), nth(2)]);
    script.others = Node::Unreachable;
    script.run_secs(60);
    script.unix_error = 4 * YEAR;
    script.others = Node::Alive;
    script.run_secs(HOUR);
    assert_eq!(script.ready().len(), 2);
    assert!(!script.status().burned.contains_key(&BurnReason::TimedOut));
}

#[test]
fn a_pool_fills_from_seeds_whatever_the_year() {
    for error in [-(START as i64), 2 * 86_400 - START as i64, 300 * YEAR] {
        let mut script = Script::seeded(2, &[nth(1), nth(2)]);
        script.unix_error = error;
        script.run_secs(10);
        assert_eq!(script.ready().len(), 2, "{error} s off");
    }
}

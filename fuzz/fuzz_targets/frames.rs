//! A link never panics, holds no more than it received, says nothing after a fault, and says the
//! same however its bytes are split.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use peerpool_core::link::{Link, LinkOutput};
use peerpool_core::policy::Policy;
use peerpool_core::time::Monotonic;
use peerpool_fuzz::{MAGIC, Script};

const START: Monotonic = Monotonic::new(Duration::from_secs(1));

/// Limits so low that short streams meet them.
fn policy() -> Policy {
    Policy {
        max_bad_frames: 2,
        max_undecodable: 1,
        max_addr_entries: 10,
        max_message_size: 2_000,
        max_unknown_bytes_per_min: 3_000,
        max_pings_answered_per_min: 3,
        max_pings_per_min: 5,
        max_control_per_min: 10,
        ..Policy::default()
    }
}

fn outputs(watch: bool, pieces: &[&[u8]]) -> Vec<LinkOutput> {
    let mut link = Link::new(MAGIC, &policy());
    link.set_watched(watch);
    let mut received = 0;
    let mut outputs = Vec::new();
    for piece in pieces {
        received += piece.len();
        link.handle_bytes(START, piece);
        outputs.extend(std::iter::from_fn(|| link.poll()));
        assert!(link.memory() <= 2 * received + 1024);
    }
    if let Some(at) = link.wake_at() {
        link.handle_timeout(at);
        outputs.extend(std::iter::from_fn(|| link.poll()));
    }
    assert_eq!(link.wake_at(), None);
    let faults = outputs.iter().filter(|output| matches!(output, LinkOutput::Fault(_))).count();
    assert!(faults == 0 || faults == 1 && matches!(outputs.last(), Some(LinkOutput::Fault(_))));
    outputs
}

fuzz_target!(|data: &[u8]| {
    let mut script = Script::new(data);
    let watch = script.flip();
    let step = usize::from(script.u8());
    let mut stream = Vec::new();
    let mut cuts = Vec::new();
    while !script.is_empty() && stream.len() < 20_000 {
        stream.extend(script.piece());
        cuts.push(script.u16());
    }
    let whole = outputs(watch, &[&stream]);
    assert_eq!(outputs(watch, &stream.chunks(step + 1).collect::<Vec<_>>()), whole);

    let mut rest = stream.as_slice();
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, after) = rest.split_at(usize::from(cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    assert_eq!(outputs(watch, &pieces), whole);
});

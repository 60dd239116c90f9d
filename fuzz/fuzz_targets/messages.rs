//! No payload of any command panics a decoder; what decodes is written back as it will be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use peerpool_core::link::{Link, LinkOutput};
use peerpool_core::policy::Policy;
use peerpool_core::time::Monotonic;
use peerpool_core::wire::{Control, RawMessage, decode, encode_frame, encode_payload};
use peerpool_fuzz::{MAGIC, Script};

const MAX_ADDR_ENTRIES: usize = 1000;

fuzz_target!(|data: &[u8]| {
    let mut script = Script::new(data);
    let command = script.command();
    let payload = script.rest();

    let raw = RawMessage { command, payload: payload.into() };
    let message = decode(&raw);
    assert_eq!(message.command().as_ref(), command.as_str());
    let written = encode_payload(&message);
    let again = decode(&RawMessage { command, payload: written.clone().into() });
    assert_eq!(again.cmd(), message.cmd());
    assert_eq!(encode_payload(&again), written);

    let control = Control::decode(command, payload, MAX_ADDR_ENTRIES);
    // A list of which every entry was dropped has nothing left to write.
    let empty = matches!(&control, Ok(Some(Control::Addr(entries))) if entries.is_empty());
    if let (Ok(Some(control)), false) = (&control, empty) {
        let written = control.encode_payload(None);
        let again = Control::decode(control.command(), &written, MAX_ADDR_ENTRIES);
        assert_eq!(again.as_ref(), Ok(&Some(control.clone())));
    }

    let mut link = Link::new(MAGIC, &Policy::default());
    link.set_watched(true);
    link.handle_bytes(Monotonic::default(), &encode_frame(MAGIC, command, payload));
    let outputs: Vec<_> = std::iter::from_fn(|| link.poll()).collect();
    let passed_on = outputs.iter().find_map(|output| match output {
        LinkOutput::Control(control) => Some(control),
        _ => None,
    });
    assert_eq!(passed_on, control.unwrap_or(None).as_ref());
    for output in &outputs {
        if let LinkOutput::Message(shown) = output {
            assert_eq!(shown, &raw);
        }
    }
});

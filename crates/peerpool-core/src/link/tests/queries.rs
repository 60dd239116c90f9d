//! Queries over a link.

use std::sync::{Arc, Mutex};

use super::*;
use crate::query::{Ping, Query as _, Raw, Reply};

const SECOND: Duration = Duration::from_secs(1);

/// A query for a message of this command, which is invalid if its payload begins with a zero.
#[derive(Debug)]
struct Wanted {
    command: &'static str,
    said: Arc<Mutex<Vec<String>>>,
}

impl Wanted {
    fn tell(&self, text: String) {
        self.said.lock().unwrap().push(text);
    }
}

impl Pending for Wanted {
    fn request(&mut self, _asking: &Asking) -> NetworkMessage {
        NetworkMessage::MemPool
    }

    fn is_abandoned(&self) -> bool {
        false
    }

    fn on_message(&mut self, _now: Monotonic, message: &RawMessage) -> Reply<()> {
        if message.command.as_str() != self.command {
            return Reply::Other;
        }
        self.tell(format!("{} bytes", message.payload.len()));
        match message.payload.first() {
            Some(0) => Reply::Invalid("a zero".to_owned()),
            _ => Reply::Answer(()),
        }
    }

    fn expire(&mut self) {
        self.tell("expired".to_owned());
    }
}

struct Asked {
    link: Link,
    said: Arc<Mutex<Vec<String>>>,
}

impl Asked {
    fn new(command: &'static str) -> Self {
        let mut asked = Self { link: link(), said: Arc::default() };
        asked.ask(command);
        asked
    }

    fn ask(&mut self, command: &'static str) {
        let query = Box::new(Wanted { command, said: Arc::clone(&self.said) });
        let request = self.link.ask(START, query, START + 10 * SECOND, 7, true);
        assert_eq!(request, frame("mempool", b""));
    }

    fn feed(&mut self, command: &str, payload: &[u8]) -> Vec<LinkOutput> {
        let outputs = feed(&mut self.link, START, &frame(command, payload));
        outputs.into_iter().filter(|output| *output != LinkOutput::Progress).collect()
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.said.lock().unwrap())
    }
}

#[test]
fn an_answer_reaches_its_query_and_nobody_else() {
    let mut asked = Asked::new("tx");
    assert_eq!(asked.link.wake_at(), Some(START + 10 * SECOND));
    assert_eq!(asked.feed("block", &[1; 100]), []);
    assert_eq!((asked.said(), asked.link.in_flight()), (vec![], 1));
    assert_eq!(asked.feed("tx", &[1; 50]), []);
    assert_eq!((asked.said(), asked.link.in_flight()), (vec!["50 bytes".to_owned()], 0));
    assert_eq!(asked.link.wake_at(), None);
    assert_eq!(asked.feed("tx", &[1; 50]), []);
    assert_eq!(asked.said(), [""; 0], "nobody asks any more");
    asked.ask("tx");
    asked.link.set_watched(true);
    assert_eq!(asked.feed("tx", b"t"), [], "it has whom it is for");
    assert_eq!(asked.said(), ["1 bytes"]);
    assert_eq!(asked.feed("tx", b"t"), [message("tx", b"t")], "a lease is given all the rest");
}

#[test]
fn a_pong_that_answers_a_query_reaches_the_engine_too() {
    let mut link = link();
    let (mut ping, told) = (Ping::new(), Arc::new(Mutex::new(None)));
    let asking = Asking { now: START, nonce: 7, pow: true, max_bytes: 0 };
    let request = ping.request(&asking);
    let tell = Arc::clone(&told);
    let raw = Raw::new(request, move |message| {
        *tell.lock().unwrap() = Some(message.clone());
        true
    });
    let query = Box::new(Untold(raw));
    let frame_of_it = link.ask(START, query, START + SECOND, 7, true);
    assert_eq!(frame_of_it, frame("ping", &7_u64.to_le_bytes()));
    let mut pong = || feed(&mut link, START, &frame("pong", &7_u64.to_le_bytes()));
    assert_eq!(pong(), [control(Control::Pong(7))]);
    assert_eq!(*told.lock().unwrap(), Some(NetworkMessage::Pong(7)));
}

/// A query whose answer nobody is told.
#[derive(Debug)]
struct Untold(Raw);

impl Pending for Untold {
    fn request(&mut self, asking: &Asking) -> NetworkMessage {
        self.0.request(asking)
    }

    fn is_abandoned(&self) -> bool {
        false
    }

    fn on_message(&mut self, now: Monotonic, message: &RawMessage) -> Reply<()> {
        match self.0.on_message(now, message) {
            Reply::Answer(_) => Reply::Answer(()),
            _ => Reply::Other,
        }
    }

    fn expire(&mut self) {}
}

#[test]
fn an_invalid_answer_is_told() {
    let mut asked = Asked::new("tx");
    assert_eq!(asked.feed("tx", &[0; 5]), [LinkOutput::Invalid("a zero".to_owned())]);
    assert_eq!(asked.said(), ["5 bytes"]);
}

#[test]
fn what_comes_after_its_time_is_looked_at_and_comes_under_the_budget() {
    let mut asked = Asked::new("tx");
    let budget = Policy::default().max_unasked_bytes_per_min;
    let flood = |asked: &mut Asked| {
        let blocks = (0..budget / 1_000_000 + 1).flat_map(|_| asked.feed("block", &[1; 1_000_000]));
        blocks.collect::<Vec<_>>()
    };
    assert_eq!(flood(&mut asked), [], "while somebody asks");
    asked.link.handle_timeout(START + 9 * SECOND);
    assert_eq!(asked.said(), [""; 0]);
    asked.link.handle_timeout(START + 10 * SECOND);
    assert_eq!((asked.said(), asked.link.in_flight()), (vec!["expired".to_owned()], 0));
    assert_eq!(asked.feed("tx", &[0; 5]), [], "too late to be wrong");
    assert_eq!(asked.said(), ["5 bytes"]);
    asked.ask("tx");
    asked.link.handle_timeout(START + 10 * SECOND);
    assert_eq!(flood(&mut asked), fault(LinkFault::Flood));
}

#[test]
fn pongs_that_answer_queries_are_no_flood() {
    let policy = Policy { max_control_per_min: 10, ..Policy::default() };
    let mut link = Link::new(MAGIC, &policy);
    for nonce in 0..50_u64 {
        let wanted = Raw::new(NetworkMessage::Ping(nonce), |_| true);
        link.ask(START, Box::new(Untold(wanted)), START + SECOND, nonce, true);
        let came = feed(&mut link, START, &frame("pong", &nonce.to_le_bytes()));
        assert_eq!(came, [control(Control::Pong(nonce))]);
    }
    let came = (0..11).map(|_| feed(&mut link, START, &frame("pong", &7_u64.to_le_bytes())));
    assert_eq!(came.last(), Some(vec![LinkOutput::Fault(LinkFault::Flood)]));
}

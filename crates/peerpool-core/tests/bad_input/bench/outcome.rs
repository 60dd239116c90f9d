//! What came of a row: its outcome, the verdict on the address, and what must hold whatever the
//! row.

use std::time::Duration;

use bitcoin::p2p::message::NetworkMessage;
use peerpool_core::event::{DialError, Event};
use peerpool_core::id::{BurnReason, DisconnectReason};
use peerpool_core::time::Monotonic;

use super::super::row::{End, Outcome, Phase, secs};
use super::{Bench, CANARY, peer_address};

impl Bench {
    pub(super) fn outcome(&mut self) -> Outcome {
        let mut pongs = 0;
        let mut canary = false;
        for message in &self.said {
            match message {
                NetworkMessage::Pong(CANARY) => canary = true,
                NetworkMessage::Pong(_) => pongs += 1,
                NetworkMessage::Version(_)
                | NetworkMessage::WtxidRelay
                | NetworkMessage::SendAddrV2
                | NetworkMessage::Verack
                | NetworkMessage::GetAddr
                | NetworkMessage::Ping(_) => {}
                other => self.breaches.push(format!("sent a {}", other.cmd())),
            }
        }
        let end = self.events.iter().find_map(|(at, event)| match event {
            Event::Disconnected { peer, reason, .. } if Some(*peer) == self.peer => {
                Some((End::Closed(*reason), at.since(self.began)))
            }
            Event::DialFailed { peer, error, .. } if Some(*peer) == self.peer => {
                Some((self.undialled(*at, *error), at.since(self.began)))
            }
            _ => None,
        });
        let open = if canary { End::Open } else { End::Deaf };
        let (end, after) = end.unwrap_or((open, Duration::ZERO));
        let kept = |(_, event): &(Monotonic, Event)| match event {
            Event::Gossip { kept, .. } => *kept,
            _ => 0,
        };
        let counters = self.wire.as_ref().map_or(self.counters, |wire| wire.link.counters());
        Outcome {
            end,
            after,
            kept: self.events.iter().map(kept).sum(),
            pongs,
            bad_frames: counters.bad_frames,
            undecodable: counters.undecodable,
            pings_ignored: counters.pings_ignored,
        }
    }

    fn undialled(&self, at: Monotonic, error: DialError) -> End {
        let waits = |(when, event): &(Monotonic, Event)| {
            *when == at && matches!(event, Event::VerdictWaits { .. })
        };
        if self.events.iter().any(waits) { End::Waits(error) } else { End::Undialled(error) }
    }

    /// The verdict on the address, and what must hold whatever the row.
    pub(super) fn linger(&mut self, phase: Phase, outcome: &Outcome) {
        let chatter = |(_, event): &&(Monotonic, Event)| !matches!(event, Event::Gossip { .. });
        let events = self.events.iter().filter(chatter).count();
        if events > 64 {
            self.breaches.push(format!("{events} events"));
        }
        let verdict = match outcome.end {
            End::Open | End::Deaf | End::Waits(_) => None,
            End::Closed(DisconnectReason::Handshake(reason)) => Some(Some(reason)),
            End::Closed(_) if phase != Phase::Ready => Some(Some(BurnReason::QuickDrop)),
            End::Closed(_) => Some(None),
            End::Undialled(DialError::Refused) => Some(Some(BurnReason::Refused)),
            End::Undialled(DialError::TimedOut) => Some(Some(BurnReason::TimedOut)),
            End::Undialled(_) => Some(None),
        };
        self.run(secs(1));
        let backed_off = |event: &Event| matches!(event, Event::BackedOff { address, .. } if *address == peer_address());
        let burns = |reason| Event::Burned { address: peer_address(), reason };
        let told = |wanted: &dyn Fn(&Event) -> bool| self.events.iter().any(|(_, e)| wanted(e));
        match verdict {
            None => {}
            Some(Some(reason)) if !told(&|event| *event == burns(reason)) => {
                self.breaches.push(format!("is not burned: {}", reason.as_str()));
            }
            Some(None) if !told(&backed_off) => self.breaches.push("does not back off".to_owned()),
            Some(_) if self.state().is_some() || self.wire.is_some() => {
                self.breaches.push("its slot is not freed".to_owned());
            }
            Some(_) => {}
        }
        self.run(secs(3600));
        if matches!(verdict, Some(Some(_))) && self.dials > 1 {
            self.breaches.push(format!("burned, and dialled {} times", self.dials));
        }
        self.check_book();
    }
}

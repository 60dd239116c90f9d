//! The version handshake of an outbound connection: `version` .. `verack` as states.
//!
//! 1. TCP is up: we send `version`, first and once.
//! 2. Their `version` comes: judged, then answered with `wtxidrelay`, `sendaddrv2` (to 70016 and
//!    later) and `verack`.
//! 3. Their `verack` comes: done. A [`Handshaken`] is the only key to every other message.
//!
//! Core's rules (`net_processing.cpp`) but for the places where it only waits for its time-out:
//! there we close at once.

use bitcoin::p2p::ServiceFlags;

use crate::event::{PeerVersion, UserAgent};
use crate::id::BurnReason;
use crate::policy::meets;
use crate::wire::{Control, PROTOCOL_VERSION, Version};

/// The oldest protocol version accepted: its pings carry nonces (BIP31).
pub const MIN_PROTOCOL_VERSION: u32 = 70001;

/// Proof that the handshake is done, and what it told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshaken {
    version: PeerVersion,
    repeated: bool,
}

impl Handshaken {
    /// What the peer said of itself.
    pub fn version(&self) -> &PeerVersion {
        &self.version
    }

    /// Whether the peer sent its `version` twice. One more is one too many.
    pub fn repeated(&self) -> bool {
        self.repeated
    }
}

/// What a handshake is judged by.
#[derive(Debug)]
pub struct Rules {
    /// Services the peer must have.
    pub required: ServiceFlags,
    /// Whether the message is a `version` with a nonce of ours: then the peer is ourselves.
    pub itself: bool,
}

/// What a message led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send these and wait on; they may be none.
    Send(Vec<Control>),
    /// The handshake is done.
    Done(Handshaken),
    /// The handshake failed: the address's verdict.
    Failed(BurnReason),
    /// The peer is of no use here, through no fault of its own.
    Useless,
}

/// A handshake under way.
#[derive(Clone, Debug)]
pub struct Handshake {
    theirs: Option<PeerVersion>,
    repeated: bool,
    /// Says no more than it must.
    bare: bool,
}

impl Handshake {
    /// Begins the handshake with our `version`, whose `addr_from` is all zero.
    pub fn begin(version: Version) -> (Self, Control) {
        (Self { theirs: None, repeated: false, bare: false }, Control::Version(Box::new(version)))
    }

    /// The same, for a connection that is to tell nothing of us, as Core's private broadcasts: no
    /// feature is negotiated, no ping answered, a peer that takes no transactions is left without
    /// `verack`, and the `version` is the same for everybody but for the nonce.
    pub fn begin_bare(nonce: u64) -> (Self, Control) {
        let version = Version {
            protocol: PROTOCOL_VERSION,
            services: ServiceFlags::NONE,
            timestamp: 0,
            nonce,
            user_agent: UserAgent(b"/pynode:0.0.1/".to_vec()),
            height: 0,
            relay: false,
        };
        let (handshake, message) = Self::begin(version);
        (Self { bare: true, ..handshake }, message)
    }

    /// What the peer said of itself, once it has.
    pub fn version(&self) -> Option<&PeerVersion> {
        self.theirs.as_ref()
    }

    /// Takes a message of the peer.
    pub fn handle(&mut self, message: &Control, rules: &Rules) -> Step {
        match (message, self.theirs.take()) {
            (Control::Version(version), None) => self.on_version(version, rules),
            (Control::Version(_), theirs) => {
                self.theirs = theirs;
                if std::mem::replace(&mut self.repeated, true) {
                    return Step::Failed(BurnReason::Protocol);
                }
                Step::Send(Vec::new())
            }
            (Control::SendAddrV2 | Control::WtxidRelay, theirs) => {
                self.theirs = theirs;
                Step::Send(Vec::new())
            }
            (_, None) => Step::Failed(BurnReason::Protocol),
            (Control::Verack, Some(version)) => {
                Step::Done(Handshaken { version, repeated: self.repeated })
            }
            (Control::Ping(nonce), theirs) => {
                self.theirs = theirs;
                let answers = !self.bare;
                Step::Send(answers.then_some(Control::Pong(*nonce)).into_iter().collect())
            }
            (Control::Pong(_) | Control::Addr(_) | Control::GetAddr, theirs) => {
                self.theirs = theirs;
                Step::Send(Vec::new())
            }
        }
    }

    fn on_version(&mut self, version: &Version, rules: &Rules) -> Step {
        if rules.itself {
            return Step::Failed(BurnReason::Itself);
        }
        if version.protocol < MIN_PROTOCOL_VERSION {
            return Step::Failed(BurnReason::Protocol);
        }
        if !meets(version.services, rules.required) {
            return Step::Failed(BurnReason::Services);
        }
        if self.bare && !version.relay {
            return Step::Useless;
        }
        self.theirs = Some(PeerVersion {
            protocol: version.protocol,
            services: version.services,
            user_agent: version.user_agent.clone(),
            height: version.height,
            relay: version.relay,
        });
        let mut answer = Vec::new();
        if version.protocol >= PROTOCOL_VERSION && !self.bare {
            answer.extend([Control::WtxidRelay, Control::SendAddrV2]);
        }
        answer.push(Control::Verack);
        Step::Send(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> Version {
        Version {
            protocol: PROTOCOL_VERSION,
            services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
            timestamp: 0,
            nonce: 7,
            user_agent: UserAgent(b"/x:1/".to_vec()),
            height: 5,
            relay: true,
        }
    }

    fn run(script: &[Control]) -> Vec<Step> {
        let required = ServiceFlags::NETWORK | ServiceFlags::WITNESS;
        let (mut handshake, _) = Handshake::begin(version());
        let handle = |message: &Control| {
            let itself = matches!(message, Control::Version(version) if version.nonce == 42);
            handshake.handle(message, &Rules { required, itself })
        };
        script.iter().map(handle).collect()
    }

    fn with(change: impl FnOnce(&mut Version)) -> Control {
        let mut version = version();
        change(&mut version);
        Control::Version(Box::new(version))
    }

    #[test]
    fn version_then_verack_is_a_handshake() {
        let steps = run(&[with(|_| ()), Control::SendAddrV2, Control::Ping(3), Control::Verack]);
        let answer = vec![Control::WtxidRelay, Control::SendAddrV2, Control::Verack];
        assert_eq!(steps[0], Step::Send(answer));
        assert_eq!(steps[1], Step::Send(vec![]));
        assert_eq!(steps[2], Step::Send(vec![Control::Pong(3)]));
        assert!(matches!(&steps[3], Step::Done(done) if done.version().height == 5));
    }

    #[test]
    fn an_old_peer_is_not_asked_for_what_it_does_not_know() {
        let steps = run(&[with(|version| version.protocol = 70015)]);
        assert_eq!(steps, [Step::Send(vec![Control::Verack])]);
    }

    #[test]
    fn verdicts() {
        let check = |script: &[Control], reason| {
            assert_eq!(run(script).last(), Some(&Step::Failed(reason)), "{script:?}");
        };
        check(&[Control::Verack], BurnReason::Protocol);
        check(&[Control::Ping(1)], BurnReason::Protocol);
        check(&[Control::GetAddr], BurnReason::Protocol);
        check(&[with(|version| version.protocol = 70000)], BurnReason::Protocol);
        check(&[with(|version| version.protocol = 0)], BurnReason::Protocol);
        check(&[with(|_| ()), with(|_| ()), with(|_| ())], BurnReason::Protocol);
        check(&[with(|version| version.nonce = 42)], BurnReason::Itself);
        check(&[with(|version| version.services = ServiceFlags::NETWORK)], BurnReason::Services);
    }

    #[test]
    fn tolerated() {
        let limited = ServiceFlags::NETWORK_LIMITED | ServiceFlags::WITNESS;
        for script in [
            vec![with(|version| version.protocol = 70001)],
            vec![with(|version| version.protocol = i32::MAX as u32)],
            vec![with(|version| version.timestamp = i64::MIN)],
            vec![with(|version| version.height = -1)],
            vec![with(|version| version.services = limited)],
            vec![Control::SendAddrV2, with(|_| ())],
            vec![with(|_| ()), with(|_| ())],
            vec![with(|_| ()), Control::Addr(vec![])],
        ] {
            let last = run(&script).pop();
            assert!(matches!(last, Some(Step::Send(_))), "{script:?}: {last:?}");
        }
    }
}

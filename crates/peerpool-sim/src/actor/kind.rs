//! What kinds of node there are.

use std::fmt;
use std::str::FromStr;

/// Defines [`Kind`]: the doc of a kind is its help text, too.
macro_rules! kinds {
    ($( $(#[doc = $doc:literal])+ $kind:ident = $name:literal, )+) => {
        /// How a node behaves. The [module docs](crate::actor#the-kinds-of-node) say what a good
        /// client does with each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $( $(#[doc = $doc])+ $kind, )+
        }

        impl Kind {
            /// Every kind, in the order of declaration.
            pub const ALL: [Kind; [$($name),+].len()] = [$(Kind::$kind),+];

            /// The name in options, logs and JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( Kind::$kind => $name, )+
                }
            }

            /// What it does, in a sentence.
            pub fn summary(self) -> &'static str {
                let doc = match self {
                    $( Kind::$kind => concat!($($doc),+), )+
                };
                doc.trim_start()
            }
        }
    };
}

kinds! {
    /// Answers as Bitcoin Core does.
    Honest = "honest",
    /// Refuses connections: nothing is bound to its address.
    Refusing = "refusing",
    /// Lets a connection attempt hang: never accepted, never refused.
    Silent = "silent",
    /// Accepts, reads, and never says a word.
    Mute = "mute",
    /// Accepts and closes at once, as a node without a free slot does.
    Rude = "rude",
    /// Honest, but gossiped with timestamps over 3 h old and never named by the DNS seed.
    Stale = "stale",
    /// Honest, but dies some time after its first connection.
    Vanishing = "vanishing",
    /// Honest, but dies and comes back, again and again.
    Flapping = "flapping",
    /// Honest, but offers no more than recent blocks (NETWORK_LIMITED, BIP159).
    Pruned = "pruned",
    /// Offers no services, though DNS and gossip say that it does.
    Serviceless = "serviceless",
    /// Says a protocol version from before 70001: 60002, of 2012.
    Old = "old",
    /// Answers with the nonce of our own version, as if we had dialled ourselves.
    Echo = "echo",
    /// Speaks with another network's magic.
    WrongMagic = "wrongmagic",
    /// Has the right magic, but the headers of another chain.
    WrongChain = "wrongchain",
    /// Sends so slowly that its handshake takes minutes: a byte a second.
    Slow = "slow",
    /// Shakes hands and closes at once.
    Dropper = "dropper",
    /// Stops reading once hands are shaken.
    Deaf = "deaf",
    /// Announces a message of 4,000,000 bytes once hands are shaken, and never sends it.
    Claimer = "claimer",
    /// Sends addr, ping, inv and unknown messages of up to 4 MB without end.
    Flooder = "flooder",
    /// Gossips addresses that are false, senseless or dead, and messages that do not decode.
    Liar = "liar",
    /// Honest, but far behind: a tenth of the others' height, and no headers yet.
    Lagging = "lagging",
    /// An attacker's: as if honest, but gossips its own cluster only, as fresh as can be.
    Sybil = "sybil",
    /// A sybil close by: it answers without latency.
    NearSybil = "nearsybil",
    /// A sybil that relays ten addresses every 120 ms for a minute, then every minute.
    Spammer = "spammer",
    /// A sybil of a cluster in many netgroups that one AS owns (Erebus).
    Shadow = "shadow",
}

impl Kind {
    /// Whether a node of this kind finishes a handshake from its side: sends version and verack
    /// with the right magic. A slow one takes its time.
    pub const fn shakes_hands(self) -> bool {
        !matches!(self, Kind::Refusing | Kind::Silent | Kind::Mute | Kind::Rude | Kind::WrongMagic)
    }

    /// Whether what a node of this kind does shows in its bytes only, so that no exchange of whole
    /// messages can play it.
    pub const fn needs_bytes(self) -> bool {
        matches!(
            self,
            Kind::WrongMagic | Kind::Slow | Kind::Deaf | Kind::Claimer | Kind::Flooder | Kind::Liar
        )
    }

    /// Whether a pool that looks at handshake, services, liveness and manners may keep a node of
    /// this kind as a peer, as long as it lives. (A wrong chain shows in the headers only, which
    /// are for whoever uses the peer to judge. Whether a pruned node will do depends on the need.)
    ///
    /// DNS and gossip shares count these as living, all others as dead. An attacker's nodes are
    /// living ones there, too: who names them cannot tell, and a handshake shows nothing.
    pub const fn is_usable(self) -> bool {
        matches!(
            self,
            Kind::Honest
                | Kind::Stale
                | Kind::Vanishing
                | Kind::Flapping
                | Kind::Pruned
                | Kind::WrongChain
                | Kind::Lagging
                | Kind::Sybil
                | Kind::NearSybil
                | Kind::Spammer
                | Kind::Shadow
        )
    }

    /// Whether a node of this kind is an attacker's that wants the slots of a pool: it behaves well
    /// enough to be kept, and gossips its own cluster. (Kinds that only do harm want none.)
    pub const fn is_hostile(self) -> bool {
        matches!(self, Kind::Sybil | Kind::NearSybil | Kind::Spammer | Kind::Shadow)
    }

    /// Whether nodes of both kinds belong to one attacker's cluster: shadows are a cluster of their
    /// own, all other hostile nodes another.
    pub const fn is_allied_with(self, other: Kind) -> bool {
        let shadows = (matches!(self, Kind::Shadow), matches!(other, Kind::Shadow));
        self.is_hostile() && other.is_hostile() && shadows.0 == shadows.1
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text names no kind or no mix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseKindError(Fault);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    NotUnderstood(String),
    Repeated(Kind),
}

impl ParseKindError {
    pub(super) fn of(text: &str) -> Self {
        Self(Fault::NotUnderstood(text.to_owned()))
    }

    pub(super) fn repeated(kind: Kind) -> Self {
        Self(Fault::Repeated(kind))
    }
}

impl fmt::Display for ParseKindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.0 {
            Fault::NotUnderstood(text) => text,
            Fault::Repeated(kind) => return write!(f, "{kind} is given more than one share"),
        };
        let names = Kind::ALL.map(Kind::as_str).join(", ");
        write!(f, "{text:?} is not understood; the kinds of node are {names}, ")?;
        f.write_str("and a mix is written honest=30,refusing=70 with any whole shares")
    }
}

impl std::error::Error for ParseKindError {}

impl FromStr for Kind {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| ParseKindError::of(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_round_trip_and_say_what_they_do() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(Kind::ALL[kind as usize], kind);
            assert!(kind.summary().ends_with('.'), "{kind}");
            assert!(kind.shakes_hands() || !kind.is_usable(), "{kind}");
            assert!(kind.is_usable() || !kind.is_hostile(), "{kind}: they behave");
            assert!(!kind.needs_bytes() || !kind.is_usable(), "{kind}: the usable send messages");
        }
        assert_eq!(Kind::Mute.summary(), "Accepts, reads, and never says a word.");
    }

    #[test]
    fn shadows_are_a_cluster_of_their_own() {
        let allies = |kind: Kind| {
            let allied = Kind::ALL.into_iter().filter(move |&other| kind.is_allied_with(other));
            allied.collect::<Vec<_>>()
        };
        assert_eq!(allies(Kind::Sybil), [Kind::Sybil, Kind::NearSybil, Kind::Spammer]);
        assert_eq!(allies(Kind::Shadow), [Kind::Shadow]);
        assert_eq!(allies(Kind::Honest), []);
        assert_eq!(allies(Kind::Liar), []);
    }
}

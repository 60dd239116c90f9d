//! Whom the pool has nothing to do with: banned by the user, or discouraged for misbehavior.

use crate::address::Address;
use crate::banned::{Ban, BanError, Subnet};
use crate::event::{Event, MAX_REASON};
use crate::id::{ConnectionType, DisconnectReason, PeerId};
use crate::misbehavior::Misbehavior;
use crate::peer::Peer;
use crate::time::{Now, UnixTime};

use super::{Engine, Phase};

impl Engine {
    /// Takes in bans of an earlier run, before the first input; returns how many were. Those that
    /// are over are left out, and so are more than `max_bans`.
    pub fn restore_bans(&mut self, now: Now, bans: impl IntoIterator<Item = Ban>) -> usize {
        self.book.restore_bans(now, bans)
    }

    /// The ban that [`Input::Ban`](crate::io::Input::Ban) would make now.
    ///
    /// # Errors
    /// See [`Banned::check`](crate::banned::Banned::check); or the pool is closed.
    pub fn check_ban(&self, now: Now, subnet: Subnet, until: UnixTime) -> Result<Ban, BanError> {
        self.check_open()?;
        self.book.banned().check(self.evened_out(now).unix, subnet, until)
    }

    /// The ban that [`Input::Unban`](crate::io::Input::Unban) would end.
    ///
    /// # Errors
    /// There is none, or the pool is closed.
    pub fn check_unban(&self, subnet: &Subnet) -> Result<Ban, BanError> {
        self.check_open()?;
        self.book.banned().find(subnet)
    }

    fn check_open(&self) -> Result<(), BanError> {
        if self.phase == Phase::Closed { Err(BanError::Closed) } else { Ok(()) }
    }

    pub(super) fn on_ban(&mut self, now: Now, subnet: Subnet, until: UnixTime) {
        if self.phase == Phase::Closed {
            return;
        }
        self.end_bars(now);
        let Ok(ban) = self.book.ban(now, subnet, until) else { return };
        self.tell(Event::Banned { ban });
        let banned = |peer: &Peer| subnet.contains(&peer.address.host);
        self.drop_all(banned, DisconnectReason::Banned);
    }

    pub(super) fn on_unban(&mut self, now: Now, subnet: Subnet) {
        if self.phase == Phase::Closed {
            return;
        }
        self.end_bars(now);
        if self.book.unban(now, &subnet).is_ok() {
            self.tell(Event::Unbanned { subnet, expired: false });
        }
    }

    /// Ends what is over.
    pub(super) fn end_bars(&mut self, now: Now) {
        for Ban { subnet, .. } in self.book.end_bars(now) {
            self.tell(Event::Unbanned { subnet, expired: true });
        }
    }

    pub(super) fn on_report(
        &mut self,
        now: Now,
        peer: PeerId,
        address: Address,
        misbehavior: Misbehavior,
        mut reason: String,
    ) {
        if self.phase == Phase::Closed {
            return;
        }
        let end = (0..=MAX_REASON).rev().find(|end| reason.is_char_boundary(*end));
        reason.truncate(end.unwrap_or(0));
        // It may quote the peer, which must not write to a terminal.
        let reason = reason.replace(char::is_control, " ");
        // Who is there is known; of one that is gone only the caller knows where it was.
        let address = self.peers.get(peer).map_or(address, |peer| peer.address);
        self.on_misbehavior(now, peer, address, misbehavior, reason);
    }

    /// A peer did what no honest one does. As in Core, nothing comes of it if the user named it;
    /// whoever else is on its host is left, and not dialled until that is forgotten.
    pub(super) fn on_misbehavior(
        &mut self,
        now: Now,
        peer: PeerId,
        address: Address,
        misbehavior: Misbehavior,
        reason: String,
    ) {
        self.tell(Event::Misbehaved { peer, address, misbehavior, reason });
        if self.book.is_manual(&address) {
            return;
        }
        let lasts = misbehavior.memory(self.policy());
        self.book.discourage(now, address.host, lasts);
        self.tell(Event::Discouraged { address, lasts });
        let automatic_on_host = |peer: &Peer| {
            peer.address.host == address.host && peer.connection_type != ConnectionType::Manual
        };
        self.drop_all(automatic_on_host, DisconnectReason::Discouraged);
    }

    fn drop_all(&mut self, which: impl Fn(&Peer) -> bool, reason: DisconnectReason) {
        let peers: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| which(peer)).map(|(id, _)| id).collect();
        for peer in peers {
            self.disconnect(peer, reason);
        }
    }
}

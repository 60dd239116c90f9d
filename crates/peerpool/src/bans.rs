//! Bans, as the user makes and ends them. Whom they reach is the engine's business.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peerpool_core::banned::{Ban, BanError, Subnet};
use peerpool_core::io::Input;
use peerpool_core::time::UnixTime;
use tokio::sync::oneshot;

use crate::driver::{Command, Driver};
use crate::pool::Pool;

/// Until when.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    After(Duration),
    At(UnixTime),
}

/// What a caller asks of the driver about bans.
#[derive(Debug)]
pub(crate) enum BanCommand {
    Ban { subnet: Subnet, end: End, reply: oneshot::Sender<Result<Ban, BanError>> },
    Unban { subnet: Subnet, reply: oneshot::Sender<Result<Ban, BanError>> },
    List { reply: oneshot::Sender<Vec<Ban>> },
}

impl Pool {
    /// Bans a host, or a subnet such as `"11.22.33.0/24".parse()?`, for so long; a part of a second
    /// counts as one. Core's default is 24 h; [`Pool::ban_until`] with a time far off bans for
    /// good.
    ///
    /// Its connections are dropped and its addresses no longer dialled, those that you named
    /// yourself among them: they are kept, and dialled again when the ban ends. Gossip and DNS
    /// answers that name it are refused. Cancel safe: a dropped call that was polled once may have
    /// banned all the same.
    ///
    /// # Errors
    /// See [`BanError`].
    pub async fn ban(&self, subnet: impl Into<Subnet>, lasts: Duration) -> Result<Ban, BanError> {
        self.ban_to(subnet.into(), End::After(lasts)).await
    }

    /// As [`Pool::ban`], until a time; at most until [`Ban::FOREVER`].
    ///
    /// # Errors
    /// See [`BanError`].
    pub async fn ban_until(
        &self,
        subnet: impl Into<Subnet>,
        until: SystemTime,
    ) -> Result<Ban, BanError> {
        let since = until.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.ban_to(subnet.into(), End::At(UnixTime(since.as_secs()))).await
    }

    async fn ban_to(&self, subnet: Subnet, end: End) -> Result<Ban, BanError> {
        let (reply, answer) = oneshot::channel();
        self.ask_of_bans(BanCommand::Ban { subnet, end, reply }).await?;
        answer.await.unwrap_or(Err(BanError::Closed))
    }

    /// Ends the ban of just this host or subnet, and returns it. Cancel safe, as [`Pool::ban`].
    ///
    /// # Errors
    /// There is no such ban, or the pool is closed.
    pub async fn unban(&self, subnet: impl Into<Subnet>) -> Result<Ban, BanError> {
        let (reply, answer) = oneshot::channel();
        self.ask_of_bans(BanCommand::Unban { subnet: subnet.into(), reply }).await?;
        answer.await.unwrap_or(Err(BanError::Closed))
    }

    /// Every ban, in the order of subnets; none once the pool is closed. Cancel safe.
    pub async fn bans(&self) -> Vec<Ban> {
        let (reply, answer) = oneshot::channel();
        match self.ask_of_bans(BanCommand::List { reply }).await {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    async fn ask_of_bans(&self, command: BanCommand) -> Result<(), BanError> {
        self.commands().send(Command::Bans(command)).await.map_err(|_| BanError::Closed)
    }
}

impl Driver {
    pub(crate) fn on_ban_command(&mut self, command: BanCommand) {
        // A caller that is gone needs no answer.
        match command {
            BanCommand::Ban { subnet, end, reply } => {
                let _ = reply.send(self.ban(subnet, end));
            }
            BanCommand::Unban { subnet, reply } => {
                let ban = self.engine.check_unban(&subnet);
                if ban.is_ok() {
                    self.handle(Input::Unban { subnet });
                }
                let _ = reply.send(ban);
            }
            BanCommand::List { reply } => {
                let now = self.common.clock.now().unix;
                let lasting = |ban: &Ban| now < ban.until;
                let _ = reply.send(self.engine.book().banned().entries().filter(lasting).collect());
            }
        }
    }

    fn ban(&mut self, subnet: Subnet, end: End) -> Result<Ban, BanError> {
        let now = self.common.clock.now();
        let until = match end {
            End::After(lasts) => {
                let part = u64::from(lasts.subsec_nanos() > 0);
                now.unix + Duration::from_secs(lasts.as_secs().saturating_add(part))
            }
            End::At(until) => until,
        };
        let ban = self.engine.check_ban(now, subnet, until)?;
        self.handle_at(now, Input::Ban { subnet, until });
        Ok(ban)
    }
}

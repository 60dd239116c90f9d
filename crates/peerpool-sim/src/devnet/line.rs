//! One connection: moves bytes between a socket and its actor.

use std::io;
use std::time::Duration;

use peerpool_core::time::Now;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::server::{Logged, hung_up};
use super::transit::Transit;
use crate::actor::ByteActor;

/// Read at once.
const READ_BYTES: usize = 4096;

pub(super) struct Line<'a> {
    stream: &'a TcpStream,
    logged: &'a Logged,
    actor: ByteActor,
    transit: Transit,
}

/// What a line waits for.
enum Ready {
    ToRead,
    ToWrite,
    /// The actor speaks, or something under way becomes due.
    Timer,
}

impl<'a> Line<'a> {
    pub(super) fn new(
        stream: &'a TcpStream,
        actor: ByteActor,
        round_trip: Duration,
        logged: &'a Logged,
    ) -> Self {
        let transit = Transit::new(round_trip);
        Self { stream, logged, actor, transit }
    }

    /// Serves until either side closes, and does nothing while `stalled`.
    pub(super) async fn run(mut self, mut stalled: watch::Receiver<bool>) -> io::Result<()> {
        let next = self.actor.handle_open();
        self.transit.send(self.logged.common.now().mono, Vec::new(), next);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            if stalled.wait_for(|stalled| !stalled).await.is_err() {
                return Ok(());
            }
            let now = self.logged.common.now();
            if self.transit.is_over(now.mono) {
                return Ok(());
            }
            let ready = tokio::select! {
                ready = self.ready(now) => match ready? {
                    Some(ready) => ready,
                    None => return Ok(()),
                },
                // The node is stalled, or at its end: see above.
                _ = stalled.changed() => continue,
            };
            // Held, so that no stall begins meanwhile.
            let stalled = stalled.borrow();
            if !*stalled && !self.go_on(ready, &mut buffer)? {
                return Ok(());
            }
        }
    }

    /// Waits until there is something to do; `None` once the peer has closed.
    async fn ready(&self, now: Now) -> io::Result<Option<Ready>> {
        let has_room = self.transit.has_room();
        let is_reading = has_room && self.actor.is_reading();
        let is_due = self.transit.due(now.mono).is_some();
        let speaks_at = self.actor.wake_at().filter(|_| has_room);
        let leaves_at = self.transit.wake_at().filter(|_| !is_due);
        let wake_at = [speaks_at, leaves_at].into_iter().flatten().min();
        let wake = self.logged.common.until(wake_at.unwrap_or_default());
        Ok(tokio::select! {
            ready = self.stream.readable(), if is_reading => ready.map(|()| Some(Ready::ToRead))?,
            ready = self.stream.writable(), if is_due => ready.map(|()| Some(Ready::ToWrite))?,
            () = wake, if wake_at.is_some() => Some(Ready::Timer),
            () = hung_up(self.stream), if !is_reading => None,
        })
    }

    /// Does what can be done without waiting; false once the peer has closed.
    fn go_on(&mut self, ready: Ready, buffer: &mut [u8]) -> io::Result<bool> {
        let now = self.logged.common.now();
        let is_open = match ready {
            Ready::ToRead => self.read(now, buffer)?,
            Ready::ToWrite => true,
            Ready::Timer => {
                // A timer of the transit must not have a flooder speak that has no room.
                if self.transit.has_room() {
                    let mut said = Vec::new();
                    let mut around = &self.logged.common.roster;
                    let next = self.actor.handle_timeout(&mut around, now, &mut said);
                    self.transit.send(now.mono, said, next);
                }
                true
            }
        };
        self.write(now)?;
        Ok(is_open)
    }

    /// Reads once; false at the end of the stream.
    fn read(&mut self, now: Now, buffer: &mut [u8]) -> io::Result<bool> {
        let count = match self.stream.try_read(buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        let mut said = Vec::new();
        let mut around = &self.logged.common.roster;
        let next = self.actor.handle_bytes(&mut around, now, &buffer[..count], &mut said);
        self.logged.on_read(count, self.actor.stage());
        self.transit.send(now.mono, said, next);
        Ok(true)
    }

    /// Writes as much of what is due as the peer's kernel takes.
    fn write(&mut self, now: Now) -> io::Result<()> {
        while let Some(due) = self.transit.due(now.mono) {
            match self.stream.try_write(due) {
                Ok(count) => self.transit.on_written(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

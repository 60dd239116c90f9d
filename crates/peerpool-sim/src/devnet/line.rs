//! One connection: moves bytes between a socket and its actor.

use std::io;

use peerpool_core::time::Now;
use tokio::net::TcpStream;

use super::node::Common;
use super::transit::Transit;
use crate::actor::Actor;

/// Read at once.
const READ_BYTES: usize = 4096;

pub(super) struct Line<'a> {
    stream: &'a TcpStream,
    common: &'a Common,
    actor: Actor,
    transit: Transit,
}

impl<'a> Line<'a> {
    pub(super) fn new(stream: &'a TcpStream, actor: Actor, common: &'a Common) -> Self {
        Self { stream, common, actor, transit: Transit::new(common.latency) }
    }

    /// Serves until either side closes.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let next = self.actor.handle_open();
        self.transit.send(self.common.now().mono, Vec::new(), next);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let now = self.common.now();
            self.write(now)?;
            if self.transit.is_over(now.mono) {
                return Ok(());
            }
            let has_room = self.transit.has_room();
            let is_due = self.transit.due(now.mono).is_some();
            let speaks_at = self.actor.wake_at().filter(|_| has_room);
            let leaves_at = self.transit.wake_at().filter(|_| !is_due);
            let wake_at = [speaks_at, leaves_at].into_iter().flatten().min();
            tokio::select! {
                ready = self.stream.readable(), if has_room => {
                    ready?;
                    if !self.read(&mut buffer)? {
                        return Ok(());
                    }
                }
                ready = self.stream.writable(), if is_due => ready?,
                () = self.common.until(wake_at.unwrap_or_default()), if wake_at.is_some() => {
                    if speaks_at.is_some() {
                        let (now, mut said) = (self.common.now(), Vec::new());
                        let next = self.actor.handle_timeout(now, &mut said);
                        self.transit.send(now.mono, said, next);
                    }
                }
            }
        }
    }

    /// Reads once; false at the end of the stream.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let count = match self.stream.try_read(buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        let (now, mut said) = (self.common.now(), Vec::new());
        let next = self.actor.handle_bytes(now, &buffer[..count], &mut said);
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

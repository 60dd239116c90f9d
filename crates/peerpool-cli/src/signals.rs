//! When a command is to end: a signal, or its time is up.

use std::io;
use std::time::Duration;

use tokio::sync::watch;

/// Exit code after the second signal, as a shell has it for SIGINT.
const KILLED: i32 = 130;
/// How long an end may take. Every close has a grace of its own that is shorter; what is left is an
/// output that nobody reads.
const OVERDUE: Duration = Duration::from_secs(15);

/// Signals so soon after the first are the same wish.
const ECHO: Duration = Duration::from_millis(200);

/// The wish that the command ends.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Wished for by SIGINT or SIGTERM, or after `lasting`. Should the end hang, a second signal
    /// ends the process at once, and so does [`OVERDUE`].
    ///
    /// # Errors
    /// The system does not let us catch signals.
    pub(crate) fn after(lasting: Option<Duration>) -> io::Result<Self> {
        let (sender, receiver) = watch::channel(false);
        let mut signals = Signals::new()?;
        tokio::spawn(async move {
            let time_is_up = async {
                match lasting {
                    Some(lasting) => tokio::time::sleep(lasting).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = signals.next() => (),
                () = time_is_up => (),
            }
            sender.send_replace(true);
            // One wish may come as two signals: some programs send it to us, and to our group.
            let echoes = tokio::time::Instant::now() + ECHO;
            while tokio::time::timeout_at(echoes, signals.next()).await.is_ok() {}
            // A process that ends in time takes this task with it.
            let hanging = tokio::time::timeout(OVERDUE, signals.next()).await;
            std::process::exit(if hanging.is_ok() { KILLED } else { 1 });
        });
        Ok(Self(receiver))
    }

    /// Waits for the wish. Cancel safe.
    pub(crate) async fn wished(&mut self) {
        // An error means that the runtime is going down: that is an end too.
        let _ = self.0.wait_for(|wished| *wished).await;
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => (),
            _ = self.terminate.recv() => (),
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

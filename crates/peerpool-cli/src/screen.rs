//! Where a running pool is shown: JSON lines, plain lines, or a live table on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime};

use peerpool::{Pool, Stamped, Status};
use serde_json::Value;

use crate::signals::Stop;
use crate::table::Table;
use crate::{json, text};

/// How often the table is drawn anew.
const REDRAW: Duration = Duration::from_millis(200);

/// How long the close of a pool may take.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// The output of a running pool.
pub(crate) enum Screen {
    /// One JSON object a line.
    Json,
    /// One line of text an event.
    Lines {
        /// What the lines count time from.
        start: SystemTime,
    },
    /// The live table.
    Live(Box<Table>),
}

impl Screen {
    /// The form that fits: JSON if asked for, the table on a terminal that can show it, lines
    /// otherwise. `peers` is how many the table should have room for.
    pub(crate) fn open(as_json: bool, peers: usize) -> Self {
        if as_json {
            return Self::Json;
        }
        if io::stdout().is_terminal()
            && let Ok(table) = Table::open(peers)
        {
            return Self::Live(Box::new(table));
        }
        Self::Lines { start: SystemTime::now() }
    }

    fn event(&mut self, stamped: &Stamped) -> io::Result<()> {
        match self {
            Self::Json => print(&Value::from(json::event(stamped)).to_string()),
            Self::Lines { start } => print(&text::event(stamped, *start)),
            Self::Live(_) => Ok(()),
        }
    }

    /// Says something that is no event of the pool: `value` to programs, `words` to people. A
    /// table is left as it is, and the words go below it.
    pub(crate) fn say(&mut self, value: &Value, words: &str) -> io::Result<()> {
        match self {
            Self::Json => print(&value.to_string()),
            Self::Lines { .. } => print(words),
            Self::Live(_) => {
                *self = Self::Lines { start: SystemTime::now() };
                print(words)
            }
        }
    }

    /// Shows the pool until `stop` is wished for or the pool ends, then closes the pool. `seen` is
    /// given every event up to then. Returns the status as it was before the close.
    ///
    /// # Errors
    /// The output cannot be written to; the pool is closed all the same.
    pub(crate) async fn show(
        &mut self,
        pool: &Pool,
        stop: &mut Stop,
        mut seen: impl FnMut(&Stamped),
    ) -> io::Result<Status> {
        let mut events = pool.subscribe();
        let mut redraw = tokio::time::interval(REDRAW);
        let mut result = Ok(());
        while result.is_ok() {
            tokio::select! {
                () = stop.wished() => break,
                stamped = events.next() => match stamped {
                    Some(stamped) => {
                        seen(&stamped);
                        result = self.event(&stamped);
                    }
                    None => break,
                },
                _ = redraw.tick() => result = self.draw(pool).await,
            }
        }
        let status = pool.status().await;
        if result.is_ok()
            && let Self::Live(table) = self
        {
            result = table.draw(&status);
        }
        let drain = async {
            while let Some(stamped) = events.next().await {
                if result.is_ok() {
                    result = self.event(&stamped);
                }
            }
        };
        tokio::join!(pool.close(GRACE), drain);
        result.map(|()| status)
    }

    async fn draw(&mut self, pool: &Pool) -> io::Result<()> {
        match self {
            Self::Live(table) => table.draw(&pool.status().await),
            Self::Json | Self::Lines { .. } => Ok(()),
        }
    }

    /// The last words of a run.
    pub(crate) fn stopped(mut self, status: &Status) -> io::Result<()> {
        self.say(&json::stopped(status), &text::stopped(status))
    }
}

/// One line on stdout. Never panics, unlike `println!`.
pub(crate) fn print(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

//! A bar on stderr, where that is a terminal. Stdout is left alone: it may be a file.

use std::io::{self, IsTerminal, Write as _};

const WIDTH: usize = 20;

/// How much of the work is done.
pub(crate) struct Progress {
    total: usize,
    shown: bool,
}

impl Progress {
    /// Nothing of `total` steps is done.
    pub(crate) fn new(total: usize) -> Self {
        Self { total, shown: io::stderr().is_terminal() }
    }

    /// So many steps are done, and this is under way.
    pub(crate) fn show(&mut self, done: usize, doing: &str) {
        let share = done as f64 / self.total.max(1) as f64;
        self.show_share(share, &format!("{done}/{} {doing}", self.total));
    }

    /// This share of the work is done, and that is said of it.
    pub(crate) fn show_share(&mut self, share: f64, words: &str) {
        if self.shown {
            let filled = (WIDTH as f64 * share) as usize;
            let (bar, rest) =
                ("#".repeat(filled.min(WIDTH)), ".".repeat(WIDTH.saturating_sub(filled)));
            self.draw(&format!("[{bar}{rest}] {words}"));
        }
    }

    /// Replaces the line. The bar is a courtesy: the work goes on without it.
    fn draw(&self, line: &str) {
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            self.draw("");
        }
    }
}

//! A bar on stderr, where that is a terminal. Stdout is left alone: it may be a file.

use std::io::{self, IsTerminal, Write as _};

const WIDTH: usize = 20;

/// How much of the work is done.
pub(super) struct Progress {
    total: usize,
    shown: bool,
}

impl Progress {
    /// Nothing of `total` steps is done.
    pub(super) fn new(total: usize) -> Self {
        Self { total, shown: io::stderr().is_terminal() }
    }

    /// So many steps are done, and this is under way.
    pub(super) fn show(&mut self, done: usize, doing: &str) {
        if self.shown {
            let filled = WIDTH * done / self.total.max(1);
            let (bar, rest) = ("#".repeat(filled), ".".repeat(WIDTH - filled.min(WIDTH)));
            self.draw(&format!("[{bar}{rest}] {done}/{} {doing}", self.total));
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

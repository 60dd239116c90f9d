//! A bar on stderr, where that is a terminal.

use std::io::{self, IsTerminal, Stderr};

use ratatui::backend::CrosstermBackend;
use ratatui::style::{Color, Style};
use ratatui::symbols;
use ratatui::widgets::LineGauge;
use ratatui::{Terminal, TerminalOptions, Viewport};

/// How much of the work is done.
pub(super) struct Progress {
    total: usize,
    terminal: Option<Terminal<CrosstermBackend<Stderr>>>,
}

impl Progress {
    /// Nothing of `total` steps is done.
    pub(super) fn new(total: usize) -> Self {
        let options = TerminalOptions { viewport: Viewport::Inline(1) };
        let open = || Terminal::with_options(CrosstermBackend::new(io::stderr()), options).ok();
        Self { total, terminal: io::stderr().is_terminal().then(open).flatten() }
    }

    /// So many steps are done, and this is under way.
    pub(super) fn show(&mut self, done: usize, doing: &str) {
        let Some(terminal) = &mut self.terminal else { return };
        let gauge = LineGauge::default()
            .label(format!("{done}/{} {doing}", self.total))
            .filled_style(Style::new().fg(Color::Green))
            .filled_symbol(symbols::line::THICK_HORIZONTAL)
            .ratio(done as f64 / self.total.max(1) as f64);
        // The bar is a courtesy: the work goes on without it.
        let _ = terminal.draw(|frame| frame.render_widget(gauge, frame.area()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(terminal) = &mut self.terminal {
            let _ = terminal.clear();
            let _ = terminal.show_cursor();
        }
    }
}

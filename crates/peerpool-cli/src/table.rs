//! The live table: one row a peer, and a line of counters. Drawn in place below the prompt, so
//! that the last picture stays when the command ends.

use std::io::{self, Stdout};

use peerpool::{PeerState, PeerStatus, Status};
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use crate::{json, text};

/// Rows for peers that do not count toward the target: those on their way, and extras.
const SPARE_ROWS: usize = 6;
/// Most rows the table takes, whatever the terminal's height.
const MAX_ROWS: usize = 40;
/// Lines besides those of peers: the header and the counters.
const OTHER_LINES: u16 = 2;

/// The live table on stdout.
pub(crate) struct Table {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Table {
    /// A table with room for `peers` peers and a few on their way, as far as the terminal has it.
    ///
    /// # Errors
    /// The terminal does not tell where its cursor is.
    pub(crate) fn open(peers: usize) -> io::Result<Self> {
        let backend = CrosstermBackend::new(io::stdout());
        let room = backend.size()?.height.saturating_sub(1);
        let rows = (peers + SPARE_ROWS).min(MAX_ROWS) as u16;
        let viewport = Viewport::Inline((rows + OTHER_LINES).min(room));
        Ok(Self { terminal: Terminal::with_options(backend, TerminalOptions { viewport })? })
    }

    /// Draws the pool as it is.
    pub(crate) fn draw(&mut self, status: &Status) -> io::Result<()> {
        self.terminal.draw(|frame| render(frame, status)).map(|_| ())
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // Leaves the cursor below the last picture. Nothing is left to do if that fails.
        let bottom = self.terminal.get_frame().area().bottom().saturating_sub(1);
        let _ = self.terminal.set_cursor_position((0, bottom));
        let _ = self.terminal.show_cursor();
        let _ = crate::screen::print("");
    }
}

fn render(frame: &mut Frame<'_>, status: &Status) {
    let [counters, peers] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(frame.area());
    frame.render_widget(Line::raw(text::counters(status)), counters);
    let header = ["state", "address", "user agent", "services", "height", "ping", "age"];
    // Those that may be used come first: on a small terminal the rest is cut off.
    let all = status.ready.iter().chain(&status.connected).chain(&status.connecting);
    let rows = all.take(usize::from(peers.height)).map(row);
    let widths = widths(peers.width);
    let table = ratatui::widgets::Table::new(rows, widths)
        .header(Row::new(header).style(Style::new().fg(Color::DarkGray)));
    frame.render_widget(table, peers);
}

/// Columns that a narrow terminal has no room for go, those first that tell least of a peer's
/// state: services, user agent, height, ping.
fn widths(terminal: u16) -> [Constraint; 7] {
    let room = |needed: u16, width: Constraint| {
        if terminal >= needed { width } else { Constraint::Length(0) }
    };
    [
        Constraint::Length(10),
        // With its port, the longest IPv4 address has 21 letters, the longest IPv6 address 47.
        Constraint::Length(if terminal >= 150 { 47 } else { 21.min(terminal.saturating_sub(19)) }),
        room(75, Constraint::Fill(3)),
        room(110, Constraint::Fill(3)),
        room(58, Constraint::Length(8)),
        room(50, Constraint::Length(8)),
        Constraint::Length(7),
    ]
}

fn row(peer: &PeerStatus) -> Row<'static> {
    let color = match peer.state {
        PeerState::Connecting => Color::DarkGray,
        PeerState::Connected => Color::Yellow,
        PeerState::Ready => Color::Green,
    };
    let (agent, services, height) = match &peer.version {
        Some(said) => (
            said.user_agent.to_string(),
            json::services(said.services).join(","),
            said.height.to_string(),
        ),
        None => Default::default(),
    };
    Row::new([
        Cell::from(peer.state.as_str()).style(Style::new().fg(color)),
        Cell::from(peer.address.to_string()),
        Cell::from(agent),
        Cell::from(services),
        Cell::from(height),
        Cell::from(peer.ping.map(text::short).unwrap_or_default()),
        Cell::from(text::short(peer.age)),
    ])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use peerpool::{ConnectionType, PeerId, PeerVersion, ServiceFlags, UserAgent};
    use ratatui::backend::TestBackend;

    use super::*;

    #[test]
    fn a_peer_is_a_row_and_its_user_agent_is_escaped() {
        let version = PeerVersion {
            protocol: 70016,
            services: ServiceFlags::NETWORK | ServiceFlags::WITNESS,
            user_agent: UserAgent(b"/evil:\x1b[2J/".to_vec()),
            height: 840_000,
            relay: false,
        };
        let peer = |state, version| PeerStatus {
            id: PeerId(1),
            address: "127.1.2.3:18444".parse().expect("an address"),
            state,
            connection_type: ConnectionType::OutboundFullRelay,
            age: Duration::from_secs(75),
            version,
            ping: Some(Duration::from_micros(12_300)),
            ping_min: None,
            pool: None,
            leases: 0,
            requests: 0,
        };
        let status = Status {
            target: 8,
            ready: vec![peer(PeerState::Ready, Some(version))],
            connecting: vec![peer(PeerState::Connecting, None)],
            dials: 3,
            ..Status::default()
        };
        let mut terminal = Terminal::new(TestBackend::new(120, 6)).expect("a terminal in memory");
        terminal.draw(|frame| render(frame, &status)).expect("drawn");
        let shown = terminal.backend().to_string();
        let lines: Vec<_> = shown.lines().map(|line| line.trim_matches(['"', ' '])).collect();
        assert!(lines[0].starts_with("ready 1/8  connected 0  connecting 1"), "{shown}");
        assert!(lines[1].starts_with("state      address"), "{shown}");
        let cells: Vec<_> = lines[2].split_whitespace().collect();
        let expected = [
            "ready",
            "127.1.2.3:18444",
            r"/evil:\x1b[2J/",
            "network,witness",
            "840000",
            "12.3ms",
            "1m15s",
        ];
        assert_eq!(cells, expected);
        assert!(lines[3].starts_with("connecting"), "{shown}");

        let mut terminal = Terminal::new(TestBackend::new(40, 6)).expect("a terminal in memory");
        terminal.draw(|frame| render(frame, &status)).expect("drawn");
        let shown = terminal.backend().to_string();
        let narrow: Vec<_> =
            shown.lines().nth(2).expect("a row").trim_matches('"').split_whitespace().collect();
        assert_eq!(narrow, ["ready", "127.1.2.3:18444", "1m15s"], "{shown}");
    }
}

//! The control plane: one machine that makes every decision. Routing only, no policy.

use crate::address::Address;
use crate::event::Status;
use crate::io::{Input, Output};
use crate::policy::{Policy, PolicyError};
use crate::rng::Rng;
use crate::time::{Monotonic, Now};

/// What an engine is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Every number.
    pub policy: Policy,
    /// Host names of the DNS seeds, for events; the shell asks them by their place in this list.
    pub seeds: Vec<String>,
    /// Port assumed for addresses from DNS seeds.
    pub default_port: u16,
    /// Addresses the user named.
    pub manual: Vec<Address>,
    /// Dial only `manual`: no seeds, no gossip.
    pub connect_only: bool,
    /// Sent in our `version`.
    pub user_agent: String,
    /// Height of our best block, sent in our `version`; 0 where the user keeps no chain.
    pub height: i32,
}

/// The machine.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// A pool that has not started: the first [`Input::Wake`] starts it.
    ///
    /// # Errors
    /// A number of the policy is out of its bounds.
    pub fn new(config: Config, rng: Rng) -> Result<Self, PolicyError> {
        config.policy.check()?;
        let _ = rng;
        Ok(Self {})
    }

    /// Takes one input. Drain [`Engine::poll`] after it.
    pub fn handle(&mut self, now: Now, input: Input) {
        let _ = (now, input);
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// When to call [`Engine::handle`] with [`Input::Wake`], unless an input comes first.
    pub fn wake_at(&self) -> Option<Monotonic> {
        None
    }

    /// A snapshot of the pool.
    pub fn status(&self, now: Now) -> Status {
        let _ = now;
        Status::default()
    }
}

//! `peerpool bench`: what users feel, measured on a stand-in network: how long until the pool is
//! full, what it costs to hold peers, and, in virtual time, what an attacker holds of it.

mod eclipse;
mod fill;
mod hold;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::args;
use crate::failure::Failure;
use crate::json;
use crate::screen::print;

/// Runs the benchmark asked for.
pub(crate) async fn run(args: args::Bench) -> Result<(), Failure> {
    match args {
        args::Bench::Eclipse(args) => eclipse::run(args).await,
        args::Bench::Fill(args) => fill::run(args).await,
        args::Bench::Hold(args) => hold::run(args).await,
    }
}

/// Where figures go as they come: stdout if JSON is asked for, and the file of raw runs.
struct Records {
    json: bool,
    raw: Option<File>,
}

impl Records {
    fn open(json: bool, raw: Option<&Path>) -> Result<Self, Failure> {
        let create = |path: &Path| {
            File::create(path)
                .map_err(|error| Failure::said(format_args!("--raw {}: {error}", path.display())))
        };
        Ok(Self { json, raw: raw.map(create).transpose()? })
    }

    /// Writes one record: its kind, the time, and `rest`.
    fn write(&mut self, event: &str, rest: Map<String, Value>) -> io::Result<()> {
        let mut record = Map::new();
        record.insert("event".into(), event.into());
        record.insert("at".into(), json::unix_seconds(SystemTime::now()).into());
        record.extend(rest);
        let line = Value::from(record).to_string();
        if let Some(raw) = &mut self.raw {
            writeln!(raw, "{line}")?;
        }
        if self.json { print(&line) } else { Ok(()) }
    }

    /// Says so if not all runs were made, to be returned after what there is was shown.
    fn stopped(&mut self, done: usize, total: usize) -> Result<(), Failure> {
        if done == total {
            return Ok(());
        }
        let mut rest = Map::new();
        rest.insert("done".into(), done.into());
        rest.insert("total".into(), total.into());
        self.write("stopped", rest)?;
        Err(Failure::said(format_args!("stopped after {done} of {total} runs")))
    }

    /// A table for people.
    fn say(&self, words: &str) -> io::Result<()> {
        if self.json { Ok(()) } else { print(words) }
    }
}

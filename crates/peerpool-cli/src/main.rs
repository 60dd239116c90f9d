//! The command `peerpool`: runs a pool, probes nodes, and stands a network up to try it on.
//!
//! Everything the commands can do, the library can; this crate only reads flags and prints.

mod args;
mod bench;
mod book;
mod demo;
mod devnet;
mod failure;
mod figures;
mod json;
mod machine;
mod probe;
mod progress;
mod run;
mod screen;
mod signals;
mod sim;
mod table;
mod tally;
mod text;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    let args = Args::parse();
    // Silent unless asked: the log would run through the live table.
    if let Ok(filter) = EnvFilter::try_from_default_env() {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(Failure::from).and_then(|runtime| {
        let result = runtime.block_on(async {
            match args.command {
                Command::Run(args) => run::run(args).await,
                Command::Probe(args) => probe::run(args).await,
                Command::Book(args) => book::run(args),
                Command::Devnet(args) => devnet::run(args).await,
                Command::Demo(args) => demo::run(args).await,
                Command::Sim(args) => sim::run(args).await,
                Command::Bench(args) => bench::run(args).await,
            }
        });
        // A name that the system's resolver still looks for must not hold the exit up.
        runtime.shutdown_background();
        result
    });
    failure::exit_code(result)
}

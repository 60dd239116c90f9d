//! `peerpool run`: one pool, shown until it is to end.

use crate::args::Run;
use crate::failure::Failure;
use crate::screen::Screen;
use crate::signals::Stop;

/// Runs it.
pub(crate) async fn run(args: Run) -> Result<(), Failure> {
    let settings = args.settings(std::env::vars_os())?;
    let mut stop = Stop::after(args.lasting)?;
    let mut screen = Screen::open(args.json, settings.policy.target_connect_count);
    let pool = settings.into_builder().start().await.map_err(Failure::said)?;
    let status = screen.show(&pool, &mut stop, |_| ()).await?;
    screen.stopped(&status)?;
    Ok(())
}

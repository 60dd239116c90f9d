//! `peerpool book bans | ban | unban`.

use peerpool::{Ban, BanError, Subnet, UnixTime};
use serde_json::json;

use super::{Place, row};
use crate::args::BanArgs;
use crate::failure::Failure;
use crate::{json, screen};

/// The bans of a store as a table, those that are over left out.
fn bans(place: &Place, store: &peerpool::Store) -> Result<peerpool::Banned, Failure> {
    let mut banned = peerpool::Banned::new(place.settings.policy.max_bans);
    for ban in store.bans().map_err(Failure::said)? {
        banned.restore(place.now, ban);
    }
    Ok(banned)
}

pub(super) fn list(place: &mut Place) -> Result<(), Failure> {
    let store = place.read()?;
    let all = bans(place, &store)?;
    for ban in all.entries() {
        let end = row::ban_end(place.now, &ban);
        place.say("ban", json::ban(&ban), || format!("{}  {end}", ban.subnet))?;
    }
    if all.is_empty() && !place.json {
        screen::print("nobody is banned")?;
    }
    Ok(())
}

pub(super) fn ban(place: &mut Place, args: &BanArgs) -> Result<(), Failure> {
    let until = match args.until {
        Some(until) => UnixTime(until),
        None if args.forever => Ban::FOREVER,
        None => place.now + args.lasting,
    };
    let mut store = place.write()?;
    let ban = bans(place, &store)?.check(place.now, args.subnet, until).map_err(Failure::said)?;
    store.insert_ban(&ban).map_err(Failure::said)?;
    let end = row::ban_end(place.now, &ban);
    place.say("banned", json::ban(&ban), || format!("{} is banned {end}", ban.subnet))
}

pub(super) fn unban(place: &mut Place, subnet: Subnet) -> Result<(), Failure> {
    let mut store = place.change()?;
    let found: Result<Ban, BanError> = bans(place, &store)?.find(&subnet);
    let ban = found.map_err(Failure::said)?;
    store.remove_ban(&subnet).map_err(Failure::said)?;
    let text = ban.subnet.to_string();
    let value = json!({ "subnet": text, "expired": false });
    place.say("unbanned", value, || format!("{text} is no longer banned"))
}

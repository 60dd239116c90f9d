//! `peerpool book list`: the addresses, filtered.

use std::cmp::Reverse;

use peerpool::store::{AddressRow, now_at};
use peerpool::{Address, Book, Rule, UnixTime};
use serde_json::json;

use super::{Place, row};
use crate::args::List;
use crate::failure::Failure;
use crate::{screen, text};

/// Columns for an address; a longer one has a line of its own.
const ADDRESS: usize = 21;

pub(super) fn run(place: &mut Place, filter: &List) -> Result<(), Failure> {
    let store = place.read()?;
    let book = place.book(&store)?;
    let limit = filter.limit.unwrap_or(usize::MAX);
    if filter.burned {
        return burned(place, &store, &book, filter, limit);
    }
    let mut rows = store.addresses().map_err(Failure::said)?;
    rows.retain(|row| {
        on(filter, &row.address)
            && (!filter.tried || row.tried)
            && (!filter.anchors || row.anchor)
            && filter.services.is_none_or(|wanted| row.services.has(wanted))
            && (!filter.banned || book.banned().contains(&row.address.host))
    });
    rows.sort_by_key(|row| Reverse((row.anchor, row.last_success, row.last_seen)));
    let found = rows.len();
    rows.truncate(limit);
    if !place.json {
        header(["standing", "table", "success", "seen", "failed", "from"])?;
    }
    for row in &rows {
        let explained = book.explain(now_at(place.now), &row.address);
        if place.json {
            let mut map = row::address(row);
            map.extend(row::rule(&explained));
            screen::print(&place.line("address", map.into()))?;
        } else {
            print_row(place.now, row, &explained.rule)?;
        }
    }
    last_line(place, rows.len(), found)
}

fn burned(
    place: &Place,
    store: &peerpool::Store,
    book: &Book,
    filter: &List,
    limit: usize,
) -> Result<(), Failure> {
    let mut rows = store.burned().map_err(Failure::said)?;
    rows.retain(|row| {
        let banned = || book.banned().contains(&row.address.host);
        on(filter, &row.address) && (!filter.banned || banned())
    });
    rows.sort_by_key(|row| Reverse(row.at));
    let found = rows.len();
    rows.truncate(limit);
    if !place.json {
        header(["reason", "", "burned", "", "", ""])?;
    }
    for row in &rows {
        if place.json {
            let value = json!({
                "address": row.address.to_string(),
                "net": row.address.net().as_str(),
                "reason": row.reason.as_str(),
                "burned_at": row.at.0,
            });
            screen::print(&place.line("burned", value))?;
        } else {
            let when = text::moment(place.now, row.at);
            print_cells(&row.address, &format!("{:<21}  {when}", row.reason.as_str()))?;
        }
    }
    last_line(place, rows.len(), found)
}

fn on(filter: &List, address: &Address) -> bool {
    filter.net.is_empty() || filter.net.contains(&address.net())
}

fn header(cells: [&str; 6]) -> Result<(), Failure> {
    let [a, b, c, d, e, f] = cells;
    let text = format!("{:<ADDRESS$}  {a:<14} {b:<6} {c:>7} {d:>7} {e:>6}  {f}", "address");
    Ok(screen::print(text.trim_end())?)
}

fn print_row(now: UnixTime, row: &AddressRow, rule: &Rule) -> Result<(), Failure> {
    let standing = row::standing(row, rule);
    let anchor = if row.anchor { "anchor" } else { "new" };
    let table = if row.tried && !row.anchor { "tried" } else { anchor };
    let age = |at: Option<UnixTime>| {
        let told = at.filter(|at| *at > UnixTime(0));
        told.map_or("-".to_owned(), |at| text::age(now.since(at)))
    };
    let (success, seen) = (age(row.last_success), age(Some(row.last_seen)));
    let (failed, from) = (row.failures, row::origin_word(&row.origin));
    let cells = format!("{standing:<14} {table:<6} {success:>7} {seen:>7} {failed:>6}  {from}");
    print_cells(&row.address, &cells)
}

fn print_cells(address: &Address, cells: &str) -> Result<(), Failure> {
    let address = address.to_string();
    if address.len() > ADDRESS {
        screen::print(&address)?;
        return Ok(screen::print(&format!("{:<ADDRESS$}  {cells}", ""))?);
    }
    Ok(screen::print(&format!("{address:<ADDRESS$}  {cells}"))?)
}

/// How many there are, for people.
fn last_line(place: &Place, shown: usize, found: usize) -> Result<(), Failure> {
    if place.json {
        return Ok(());
    }
    let all = text::counted(found, "address");
    let text = if shown < found { format!("{shown} of {all}") } else { all };
    Ok(screen::print(&text)?)
}

//! `peerpool book import | export`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use peerpool::formats::{self, FormatError, Import as Found, MAX_FILE_LEN, SkipReason};
use peerpool::store::{ExportFormat, Importer, STORE_FILE, Taken};
use serde_json::{Map, Value, json};

use super::Place;
use crate::args::{Export, ExportAs, Import};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::text;

/// Entries between two pictures of the bar.
const STEP: usize = 2000;

// ---- import ----

pub(super) fn import(place: &mut Place, args: &Import) -> Result<(), Failure> {
    let name = args.file.display();
    let bytes = read(&args.file)
        .map_err(|error| Failure::said(format_args!("{name} cannot be read: {error}")))?;
    // The book says of which chain the file is to be; it is written once the file is known for
    // good.
    let looked_at = place.read_if_any();
    let chain = place.settings.chain.clone();
    let found = match args.format {
        Some(format) => formats::read_as(format, &bytes, &chain),
        None => formats::read(&bytes, &chain),
    };
    let found = found.map_err(|error| {
        let hint = match error {
            FormatError::Magic { .. } => "; --network says which chain",
            _ => "",
        };
        Failure::said(format_args!("{name}: {error}{hint}"))
    })?;
    if found.entries.is_empty() && found.skipped.total() > 0 {
        return Err(Failure::said(format_args!(
            "{name}: it names no address that could be taken in: {} (read as {})",
            found.skipped, found.format
        )));
    }
    let mut store = if args.dry_run { looked_at? } else { Some(place.write()?) };
    let importer = Importer::new(store.as_ref(), &chain, &place.settings.policy, place.now);
    let mut importer = importer.map_err(Failure::said)?;
    let mut progress = Progress::new(found.entries.len());
    for (done, entry) in found.entries.iter().enumerate() {
        if done % STEP == 0 {
            progress.show(done, "addresses");
        }
        importer.take(entry, found.format);
    }
    if !args.dry_run {
        progress.show(found.entries.len(), "addresses, saving");
    }
    let taken = match &mut store {
        Some(store) if !args.dry_run => importer.save(store).map_err(Failure::said)?,
        _ => importer.taken().clone(),
    };
    drop(progress);
    let value = json!({
        "file": name.to_string(),
        "format": found.format.as_str(),
        "dry_run": args.dry_run,
        "entries": found.entries.len(),
        "taken": taken.fresh + taken.old + taken.elsewhere,
        "fresh": taken.fresh,
        "old": taken.old,
        "elsewhere": taken.elsewhere,
        "known": taken.known,
        "refused": taken.refused.iter().map(|(why, n)| ((*why).to_owned(), (*n).into()))
            .collect::<Map<String, Value>>(),
        "skipped": skipped(&found.skipped),
    });
    place.say("imported", value, || summary(&name.to_string(), &found, &taken, args.dry_run))
}

/// The whole of a file, or of stdin; a byte more than is allowed of a longer one.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let most = MAX_FILE_LEN as u64 + 1;
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn skipped(skipped: &formats::Skipped) -> Map<String, Value> {
    skipped.iter().map(|(reason, it)| (reason.as_str().to_owned(), it.count.into())).collect()
}

fn summary(name: &str, found: &Found, taken: &Taken, dry: bool) -> String {
    let mut page = String::new();
    let mut line = |name: &str, parts: &[String]| text::wrapped(&mut page, name, ", ", parts);
    line("file", &[name.to_owned(), format!("format {}", found.format)]);
    line("holds", &[text::counted(found.entries.len(), "address")]);
    for (reason, skips) in found.skipped.iter() {
        // What came from a file fits on the line.
        let cut = |text: &String| text.chars().take(36).collect::<String>();
        let first = skips.examples.first().map(cut);
        let first = first.map(|it| format!(" (first: {it})")).unwrap_or_default();
        line("", &[format!("{} {}{first}", skips.count, reason.as_str().replace('_', " "))]);
    }
    let mut parts = vec![(taken.fresh + taken.old + taken.elsewhere).to_string()];
    if taken.fresh > 0 {
        parts.push(format!("{} may be dialled now", taken.fresh));
    }
    if taken.old > 0 {
        parts.push(format!("{} too old until heard of anew", taken.old));
    }
    if taken.elsewhere > 0 {
        parts.push(format!("{} on networks that are not dialled", taken.elsewhere));
    }
    line(if dry { "would take" } else { "taken" }, &parts);
    line("known", &[taken.known.to_string()]);
    let refused = taken.refused.iter().map(|(why, n)| format!("{} {n}", why.replace('_', " ")));
    let refused: Vec<String> = refused.collect();
    line("refused", &if refused.is_empty() { vec!["none".to_owned()] } else { refused });
    page.trim_end().to_owned()
}

// ---- export ----

pub(super) fn export(place: &mut Place, args: &Export) -> Result<(), Failure> {
    let store = place.read()?;
    let to_stdout = args.file == Path::new("-");
    if !to_stdout && !args.force && args.file.symlink_metadata().is_ok() {
        return Err(exists(&args.file));
    }
    if !to_stdout && is_ours(&args.file, store.path()) {
        let path = args.file.display();
        return Err(Failure::said(format_args!(
            "{path} is the addr book itself; name another file"
        )));
    }
    let magic = place.settings.chain.magic;
    let format = match args.format {
        ExportAs::PeersDat => ExportFormat::PeersDat(formats::peers_dat::Version::V3),
        ExportAs::PeersDatV4 => ExportFormat::PeersDat(formats::peers_dat::Version::V4),
        ExportAs::AnchorsDat => ExportFormat::AnchorsDat,
        ExportAs::Plain => ExportFormat::Plain,
        ExportAs::Json => ExportFormat::Json,
    };
    let export = store.export(format, magic).map_err(Failure::said)?;
    let (bytes, entries, left_out) = (export.bytes, export.entries, export.skipped);
    if to_stdout {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&bytes)?;
        return Ok(stdout.flush()?);
    }
    write(&args.file, &bytes, args.force).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(&args.file),
        _ => Failure::said(format_args!("{} cannot be written: {error}", args.file.display())),
    })?;
    let name = args.file.display();
    let value = json!({
        "file": name.to_string(),
        "format": args.format.as_str(),
        "addresses": entries,
        "bytes": bytes.len(),
        "left_out": skipped(&left_out),
    });
    place.say("exported", value, || {
        let (format, size) = (args.format.as_str(), text::bytes_of(bytes.len() as f64));
        let held = text::counted(entries, "address");
        let mut words = format!("{name}: {held}, {format}, {size}");
        for (reason, skips) in left_out.iter() {
            let line = format!("left out: {} ({})", skips.count, because(reason));
            words += "\n";
            words += &text::filled(&line, "");
        }
        words
    })
}

/// Why the file has no place for an address.
fn because(reason: SkipReason) -> String {
    match reason {
        SkipReason::Collision => {
            "collision: others have their places in the tables that Bitcoin Core makes of the file"
                .to_owned()
        }
        SkipReason::OtherPort => {
            "other port: the file has one of each host, and peers.dat-v4 all of them".to_owned()
        }
        reason => reason.as_str().replace('_', " "),
    }
}

/// Whether a file is one of those that the book consists of, whatever it is called.
fn is_ours(file: &Path, book: &Path) -> bool {
    let whole = |path: &Path| {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        let dir = fs::canonicalize(dir.unwrap_or(Path::new("."))).ok()?;
        Some(fs::canonicalize(path).unwrap_or(dir.join(path.file_name()?)))
    };
    let (file, book) = (whole(file), whole(book));
    let Some(dir) = book.as_deref().and_then(Path::parent) else { return false };
    let name = file.as_deref().filter(|file| file.parent() == Some(dir)).and_then(Path::file_name);
    let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.starts_with(STORE_FILE) || name == "lock"
}

fn exists(path: &Path) -> Failure {
    let path = path.display();
    Failure::said(format_args!("{path} is there already; --force replaces it"))
}

/// Writes a file whole, or not at all: to another beside it, which then takes its name.
fn write(path: &Path, bytes: &[u8], replace: bool) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let aside = PathBuf::from(name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        if replace {
            return fs::rename(&aside, path);
        }
        // To link fails if somebody made the file meanwhile, which renaming would not.
        match fs::hard_link(&aside, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            Err(_) => fs::rename(&aside, path),
            Ok(()) => fs::remove_file(&aside),
        }
    })();
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

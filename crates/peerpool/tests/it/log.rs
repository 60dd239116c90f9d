//! What is written to the log, counted.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Level, Metadata, Subscriber};

/// Counts what code on this thread logs, at every level, until it is dropped.
#[derive(Debug)]
pub(crate) struct LogCount {
    counts: Arc<Counts>,
    _guard: DefaultGuard,
}

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicUsize,
    lines: AtomicUsize,
    errors: AtomicUsize,
}

impl LogCount {
    pub(crate) fn start() -> Self {
        let counts = Arc::new(Counts::default());
        let guard = tracing::subscriber::set_default(Counter(Arc::clone(&counts)));
        Self { counts, _guard: guard }
    }

    /// Bytes as a plain line would have them, with 64 for a time, a level and a line's end.
    pub(crate) fn bytes(&self) -> usize {
        self.counts.bytes.load(Relaxed)
    }

    pub(crate) fn lines(&self) -> usize {
        self.counts.lines.load(Relaxed)
    }

    /// Lines at the level of errors: a task that panicked makes one.
    pub(crate) fn errors(&self) -> usize {
        self.counts.errors.load(Relaxed)
    }
}

struct Counter(Arc<Counts>);

impl Subscriber for Counter {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        self.0.bytes.fetch_add(64 + line.0.len(), Relaxed);
        self.0.lines.fetch_add(1, Relaxed);
        let error = *event.metadata().level() == Level::ERROR;
        self.0.errors.fetch_add(usize::from(error), Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

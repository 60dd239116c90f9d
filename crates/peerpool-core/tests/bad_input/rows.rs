//! All rows.

use super::row::{Row, Site};
use super::{rows_addr, rows_framing, rows_messages, rows_transport, rows_version};

pub(crate) fn all(site: &Site) -> Vec<Row> {
    [
        rows_framing::rows(site),
        rows_version::rows(site),
        rows_addr::rows(site),
        rows_messages::rows(site),
        rows_transport::rows(site),
    ]
    .concat()
}

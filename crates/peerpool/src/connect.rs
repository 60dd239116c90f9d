//! How a dial becomes a stream. Not who is dialled, nor for how long: the engine decides both.

#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used,
        reason = "nothing that a peer sends may panic"
    )
)]

mod tcp;

pub(crate) use tcp::connect;

//! How a dial becomes a stream. Not who is dialled, nor for how long: the engine decides both.

mod tcp;

pub(crate) use tcp::connect;

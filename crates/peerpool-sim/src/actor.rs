//! Virtual Bitcoin nodes.

mod kind;

pub use kind::{Kind, Mix, ParseKindError};

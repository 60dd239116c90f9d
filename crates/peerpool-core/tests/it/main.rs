//! Scenario tests of the engine, one per rule, named after the rule; virtual time.

mod addresses;
mod anchors;
mod attacks;
mod bars;
mod book;
mod burning;
mod clocks;
mod cores_as_map;
mod dialling;
mod extras;
mod handshaking;
mod hostile;
mod leasing;
mod needs;
mod nets;
mod offline;
mod offsets;
mod pool;
mod pools;
mod private;
mod random;
mod requiring;
mod resources;
mod saved;
mod script;
mod starving;

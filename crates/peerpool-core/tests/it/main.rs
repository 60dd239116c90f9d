//! Scenario tests of the engine, one per rule, named after the rule; virtual time.

mod addresses;
mod burning;
mod dialling;
mod leasing;
mod offline;
mod pool;
mod script;
mod starving;

//! Scenario tests of the engine, one per rule, named after the rule; virtual time.

mod addresses;
mod burning;
mod clocks;
mod dialling;
mod hostile;
mod leasing;
mod offline;
mod pool;
mod script;
mod starving;

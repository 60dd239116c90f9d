//! The checkers under test: the real engine through random days without a breach, and each rule
//! with its fault planted.

mod bars;
mod days;
mod duties;
mod extras;
mod forge;
mod planted;
mod pools;
mod restarts;
mod town;
mod verdicts;

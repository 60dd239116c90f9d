//! stub
pub mod seeds;

//! stub
pub mod seeds;
pub mod settings;

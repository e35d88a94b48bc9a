//! The built programs together, as a user would run them.

mod demo;
mod fleet;
mod metrics;
mod secrets;

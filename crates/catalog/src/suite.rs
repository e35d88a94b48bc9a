//! The promises every catalog keeps.

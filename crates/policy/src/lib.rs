//! Pure decisions that carry their reason: whether a failed attempt is tried again, and when.
//!
//! Reads no clock, no database and no random source; whoever asks brings the facts. Start at
//! [`retry::after`].

pub mod retry;

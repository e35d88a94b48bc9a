//! Tidy: what the source tree promises about itself (ARCHITECTURE.md, "Code map").
//!
//! Every check prints file:line and the fix.

mod cases;
mod docs;
mod limits;
mod policy_words;
mod ranks;
mod source;
mod sql;
mod tree;

//! The routes, by what they are about. [`crate::router`] lists them.

pub(crate) mod drain;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod jobs;
pub(crate) mod lanes;
pub(crate) mod loops;
pub(crate) mod probes;
pub(crate) mod recommendation;
pub(crate) mod runs;
pub(crate) mod submit;
pub(crate) mod tables;
pub(crate) mod trigger;

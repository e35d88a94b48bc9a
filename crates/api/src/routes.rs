//! The routes, by what they are about. [`crate::router`] lists them.

pub(crate) mod drain;
pub(crate) mod jobs;
pub(crate) mod lanes;
pub(crate) mod loops;
pub(crate) mod probes;
pub(crate) mod submit;

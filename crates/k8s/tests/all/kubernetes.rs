//! All that needs an API server.

mod cronjob;
mod events;
mod lease;
mod place;
mod stake;

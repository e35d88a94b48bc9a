//! What every route can reach. Made once, by [`crate::serve`].

use std::sync::Arc;

use pg::Pool;
use runtime::Admin;

use crate::auth::{Guard, Rates};
use crate::kubernetes::{Jobs, Leader};
use crate::lakehouse::Lakehouse;
use crate::metrics::{Gauges, Requests};
use crate::trigger::Triggers;

/// The API's parts. Routes take it as `State<Arc<Api>>`.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) pool: Pool,
    pub(crate) lakehouse: Arc<Lakehouse>,
    pub(crate) triggers: Arc<Triggers>,
    /// Passes that Kubernetes runs instead.
    pub(crate) jobs: Jobs,
    pub(crate) leader: Option<Leader>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) rates: Rates,
    /// Proxies of ours in front, each of which names the caller's address.
    pub(crate) proxies: usize,
    pub(crate) admin: Admin,
    pub(crate) gauges: Gauges,
    pub(crate) requests: Requests,
}

//! The statements of `sql/`, written for one lane, and how they are sent.

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{GenericClient, Row};

use crate::{Error, IdType};

macro_rules! statements {
    ($($name:ident = $path:literal,)+) => {
        /// Every statement, with `{lane}` and `{id}` filled in.
        #[derive(Debug)]
        pub(crate) struct Statements {
            $(pub(crate) $name: String,)+
        }

        impl Statements {
            pub(crate) fn new(lane: &str, id: IdType) -> Self {
                Self { $($name: fill(include_str!($path), lane, id),)+ }
            }

            /// (name, text), in the order of the list below.
            pub(crate) fn list(self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }
    };
}

statements! {
    cancel = "../sql/cancel.sql",
    claim = "../sql/claim.sql",
    claim_one = "../sql/claim_one.sql",
    depth = "../sql/depth.sql",
    enqueue = "../sql/enqueue.sql",
    finish = "../sql/finish.sql",
    guard_limits = "../sql/guard_limits.sql",
    hand_back = "../sql/hand_back.sql",
    hold = "../sql/hold.sql",
    keda = "../sql/keda.sql",
    lock_holder = "../sql/lock_holder.sql",
    lock_insert = "../sql/lock_insert.sql",
    lock_take_over = "../sql/lock_take_over.sql",
    notify = "../sql/notify.sql",
    pause = "../sql/pause.sql",
    paused = "../sql/paused.sql",
    renew = "../sql/renew.sql",
    resume = "../sql/resume.sql",
    sweep = "../sql/sweep.sql",
    tick = "../sql/tick.sql",
    workers = "../sql/workers.sql",
}

/// Writes a template for one lane.
pub(crate) fn fill(template: &str, lane: &str, id: IdType) -> String {
    template
        .replace("{lane}", &format!("\"{lane}\""))
        .replace("{id}", id.as_str())
}

/// Parameters with their types: with them a statement needs one round trip and no name on the
/// server, so it works through a transaction-pooling proxy.
pub(crate) type Params<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

pub(crate) async fn rows<C: GenericClient + Sync>(
    client: &C,
    doing: &'static str,
    statement: &str,
    params: Params<'_>,
) -> Result<Vec<Row>, Error> {
    client
        .query_typed(statement, params)
        .await
        .map_err(|source| Error::Database { doing, source })
}

pub(crate) async fn one<C: GenericClient + Sync>(
    client: &C,
    doing: &'static str,
    statement: &str,
    params: Params<'_>,
) -> Result<Row, Error> {
    client
        .query_typed_one(statement, params)
        .await
        .map_err(|source| Error::Database { doing, source })
}

pub(crate) async fn run<C: GenericClient + Sync>(
    client: &C,
    doing: &'static str,
    statement: &str,
    params: Params<'_>,
) -> Result<u64, Error> {
    client
        .execute_typed(statement, params)
        .await
        .map_err(|source| Error::Database { doing, source })
}

//! A pooled connection, and what becomes of it when its caller has gone.
//!
//! A caller may be dropped in the middle of a statement: a time limit, a client that hung up. The
//! statement runs on, and whoever got its connection next would wait behind it. So a connection goes
//! back to the pool when the server has answered everything asked on it, and otherwise it ends.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object};
use tokio::runtime::Handle;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::pool::CONNECT_WITHIN;

/// A server with nothing left to do on a connection says so within this.
const QUIET_WITHIN: Duration = Duration::from_secs(3);

/// A pooled connection. Dropped, it goes back once nothing runs on it any more; until then it
/// counts as taken. `&mut **client` is the `tokio_postgres::Client`.
pub struct Client {
    /// `None` while it is being dropped.
    object: Option<Object>,
    tls: MakeRustlsConnect,
}

impl Client {
    pub(crate) fn new(object: Object, tls: MakeRustlsConnect) -> Self {
        Self {
            object: Some(object),
            tls,
        }
    }

    /// Goes back at once, without the question whether anything still runs on it: for a caller that
    /// has every answer and is asked for often.
    pub fn give_back(mut self) {
        drop(self.object.take());
    }

    /// Ends the connection and what runs on it: for a caller whose answer is overdue.
    pub fn close(mut self) {
        if let Some(object) = self.object.take() {
            end(object, self.tls.clone());
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else {
            return;
        };
        if object.is_closed() {
            drop(Object::take(object));
            return;
        }
        // Without a runtime the process is about to end, and so is the connection.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(settle(object, self.tls.clone()));
        }
    }
}

/// Answers come in the order of the questions, so the answer to one more says that all are there.
async fn settle(object: Object, tls: MakeRustlsConnect) {
    match tokio::time::timeout(QUIET_WITHIN, object.simple_query("")).await {
        Ok(Ok(_)) => drop(object),
        Ok(Err(_)) => drop(Object::take(object)),
        Err(_) => end(object, tls),
    }
}

/// Its place in the pool is free at once. The server is told before the connection is cut: a
/// backend that waits for a lock looks at neither, and would be left waiting.
fn end(object: Object, tls: MakeRustlsConnect) {
    let client = Object::take(object);
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    runtime.spawn(async move {
        let cancel = client.cancel_token();
        let told = tokio::time::timeout(CONNECT_WITHIN, cancel.cancel_query(tls)).await;
        tracing::debug!(
            told = matches!(told, Ok(Ok(()))),
            "ended a connection that did not answer"
        );
    });
}

impl Deref for Client {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        self.object.as_ref().expect("it is there until dropped")
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        self.object.as_mut().expect("it is there until dropped")
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

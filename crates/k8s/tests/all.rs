//! What the crate does against a real API server with RBAC, etcd behind it.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "all/kubernetes.rs"]
mod kubernetes;

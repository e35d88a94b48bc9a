//! The maintenance lane's own tables: submit, jobs, actions, ledger.

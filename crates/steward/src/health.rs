//! Assesses tables: load, measure, judge, store.

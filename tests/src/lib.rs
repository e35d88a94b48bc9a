//! Tests of the whole; see `tidy/` and `e2e/`.

//! Pure decisions that carry their reason; for now retry and backoff.

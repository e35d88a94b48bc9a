//! Keeps the table cache like the catalog.

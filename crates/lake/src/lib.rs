//! The native engine: reads, rewrites and commits Iceberg tables.

//! Everything that touches Parquet: schemas by field id, write properties, reading, writing.

pub(crate) mod bounds;
pub(crate) mod constant;
pub(crate) mod footer;
pub(crate) mod output;
pub(crate) mod place;
pub(crate) mod properties;
pub(crate) mod schema;
pub(crate) mod shape;
pub(crate) mod sound;
pub(crate) mod source;
mod thrift;

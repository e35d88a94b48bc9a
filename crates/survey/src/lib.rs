//! Looks at one table: loads what a pure plan needs, and plans. Writes nothing, sees no Arrow, so
//! that light programs can plan too.

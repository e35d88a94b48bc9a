//! Plans without changing anything, and records the job as completed.

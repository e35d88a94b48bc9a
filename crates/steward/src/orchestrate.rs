//! Candidates, policy, submission, record of it all.

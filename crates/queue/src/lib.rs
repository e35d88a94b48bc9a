//! Claim, lease, fence, hand-back: one queue, several lanes.

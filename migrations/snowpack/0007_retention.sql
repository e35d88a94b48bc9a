-- For retention: what was settled, in the order it grows old.

create index pending_deletions_settled on snowpack.pending_deletions (changed_at)
    where state <> 'pending';

create index expiry_intents_closed on snowpack.expiry_intents (closed_at)
    where closed_at is not null;

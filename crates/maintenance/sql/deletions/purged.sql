-- A failed file is due again after a pause that doubles from a minute up to a day.
update snowpack.pending_deletions
set state = case when fate.state = 'failed' then 'pending' else fate.state end,
    note = fate.note,
    changed_at = now(),
    changed_by = $1,
    failed_count = failed_count + (fate.state = 'failed')::integer,
    delete_after = case
        when fate.state = 'failed'
            then now() + least(
                interval '1 minute' * power(2, least(failed_count, 12)), interval '1 day'
            )
        else delete_after
    end
from unnest($3::text[], $4::text[], $5::text[]) as fate (path, state, note)
where pending_deletions.table_uuid = $2
  and pending_deletions.path = fate.path
  and pending_deletions.state = 'pending'

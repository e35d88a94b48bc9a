update snowpack.settings
set drained_at = now(),
    drained_by = $1,
    reason = $2
where id = 1
  and drained_at is null

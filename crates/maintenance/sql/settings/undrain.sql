update snowpack.settings
set drained_at = null,
    drained_by = null,
    reason = null
where id = 1

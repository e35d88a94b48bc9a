update {lane}.lane_state
set paused_at = coalesce(paused_at, now()),
    paused_by = $1,
    reason = $2
where id = 1

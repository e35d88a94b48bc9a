update {lane}.lane_state
set paused_at = null,
    paused_by = null,
    reason = null
where id = 1

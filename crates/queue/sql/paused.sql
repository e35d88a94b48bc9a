select paused_at, paused_by, reason
from {lane}.lane_state
where id = 1 and paused_at is not null

select ready, running, demand, scheduled, oldest_ready_seconds, exhausted
from {lane}.depth_v1($1, $2)

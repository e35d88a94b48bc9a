select job_id::text, attempt_id, state, cancel_requested, seconds
from {lane}.renew_v1($1::text[]::{id}[], $2, make_interval(secs => $3))

-- The lock makes it a fence: `exists (..)` alone passes while a takeover is uncommitted.
select 1
from {lane}.job_queue
where job_id = $1::text::{id} and attempt_id = $2
for key share

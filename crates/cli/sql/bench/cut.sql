-- Ends every connection of that program's.
select clock_timestamp(), count(pg_terminate_backend(pid))
from pg_stat_activity
where application_name = $1
  and datname = current_database()

update snowpack.loops
set ended_at = clock_timestamp(),
    outcome = $2,
    detail = $3
where name = $1
returning name

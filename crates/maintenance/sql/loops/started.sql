insert into snowpack.loops (name, holder, started_at)
values ($1, $2, clock_timestamp())
on conflict (name) do update
set holder = excluded.holder,
    started_at = excluded.started_at,
    ended_at = null,
    outcome = null,
    detail = null

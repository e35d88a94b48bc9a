with old as (
    select job_id
    from snowpack.job_history
    where completed_at < now() - make_interval(days => $1)
    order by completed_at, job_id
    limit $2
    for update skip locked
)
delete from snowpack.job_history
using old
where job_history.job_id = old.job_id

-- From the first claim to the last finish, and why a job did not do well if there is one.
select
    count(*) filter (where jobs.status = 'completed'),
    extract(epoch from max(jobs.completed_at) - min(jobs.started_at))::float8,
    min(jobs.error)
from snowpack.jobs

select count(*) as jobs
from (
    select
    from snowpack.job_queue
    limit $1
) as live

insert into snowpack.job_actions (
    job_id, attempt_id, action, outcome, success, error, message, elapsed_seconds, result
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (job_id, action, attempt_id) do nothing

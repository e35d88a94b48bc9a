update snowpack.jobs
set plan = coalesce(plan, '{}'::jsonb) || jsonb_build_object($2::text, $3::jsonb)
where job_id = $1

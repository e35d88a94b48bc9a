update snowpack.attempt_files
set committed_at = now()
where path = any ($2)
  and attempt_id = $1

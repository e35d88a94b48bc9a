-- Counts a path this attempt reserved before as reserved again; another attempt's is left out.
insert into snowpack.attempt_files (path, job_id, attempt_id, table_uuid, kind)
select file.path, $1, $2, $3, file.kind
from unnest($4::text[], $5::text[]) as file (path, kind)
on conflict (path) do update
set kind = excluded.kind
where attempt_files.attempt_id = excluded.attempt_id

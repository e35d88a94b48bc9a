-- Every table but the first $1 was assessed: one in a hundred and one, in all databases,
-- as $3, the others as $2. Nobody needs to look at them again soon.
insert into snowpack.table_health (
    database_name, table_name, table_uuid, metadata_location, score, needs_maintenance, payload,
    assessed_at, checked_at
)
select judged.database_name,
       judged.table_name,
       judged.table_uuid,
       judged.metadata_location,
       (judged.health -> 'assessment' ->> 'score')::real,
       (judged.health ->> 'needs_maintenance')::boolean,
       judged.health || jsonb_build_object(
           'table_uuid', judged.table_uuid, 'metadata_location', judged.metadata_location
       ),
       now(),
       now() + interval '1 day'
from (
    select entries.database_name,
           entries.table_name,
           entries.payload ->> 'table_uuid' as table_uuid,
           entries.payload ->> 'metadata_location' as metadata_location,
           case when right(entries.table_name, 8)::bigint % 101 = 50 then $3::jsonb else $2::jsonb end as health
    from snowpack.table_cache_entries as entries
    where right(entries.table_name, 8)::bigint >= $1::bigint
) as judged

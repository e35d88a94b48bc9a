select drained_at,
       drained_by,
       reason,
       (extract(epoch from clock_timestamp()) * 1000)::bigint as now_ms
from snowpack.settings
where id = 1

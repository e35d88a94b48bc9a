select name,
       holder,
       started_at,
       ended_at,
       outcome,
       detail
from snowpack.loops
order by name

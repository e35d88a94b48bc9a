select decision,
       reason,
       count(*) as tables
from snowpack.orchestrator_decisions
where run_id = $1
group by decision, reason
order by tables desc, reason

-- An attempt is over when it is not the one its job's queue row names: ids are not used twice.
select expiry_intents.intent,
       expiry_intents.job_id,
       expiry_intents.attempt_id,
       expiry_intents.table_uuid,
       expiry_intents.planned_location,
       expiry_intents.ids,
       expiry_intents.grace_ms,
       not exists (
           select 1
           from snowpack.job_queue
           where job_queue.job_id = expiry_intents.job_id
             and job_queue.attempt_id = expiry_intents.attempt_id
       ) as attempt_over,
       expiry_intents.created_at + interval '24 hours' <= now() as old
from snowpack.expiry_intents
where expiry_intents.table_uuid = $1
  and expiry_intents.closed_at is null
order by expiry_intents.intent
limit $2

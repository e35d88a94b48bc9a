select attempt_id
from {lane}.finish_v1($1::text[]::{id}[], $2, $3, $4, $5)

select status, reason
from {lane}.hand_back_v1($1::text::{id}, $2, make_interval(secs => $3), $4, $5, $6)

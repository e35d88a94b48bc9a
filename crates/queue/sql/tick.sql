select exhausted, deadline, cancelled, reset, flipped
from {lane}.tick_v1($1)

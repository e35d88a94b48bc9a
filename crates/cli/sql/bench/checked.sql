-- Everything that was assessed was looked at just now.
update snowpack.table_health
set checked_at = now()
where checked_at > now()

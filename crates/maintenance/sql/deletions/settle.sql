-- A closed intent keeps its ids: they say what was expired.
update snowpack.expiry_intents
set ids = case
        when cardinality($2::bigint[]) = 0 then ids
        else (
            select coalesce(jsonb_agg(expiring), '[]')
            from jsonb_array_elements(ids) as expiring
            where (expiring ->> 'snapshot-id')::bigint = any ($2)
        )
    end,
    closed_at = case when cardinality($2) = 0 then now() end
where intent = $1
  and closed_at is null

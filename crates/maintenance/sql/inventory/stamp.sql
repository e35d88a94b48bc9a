update snowpack.table_cache_meta as meta
set generation = meta.generation + 1,
    last_synced_at = clock_timestamp(),
    attempted_at = $1,
    outcome = $2,
    error = null,
    failed_namespaces = (
        select coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'namespace', failed.namespace,
                    'error', failed.error,
                    'since', coalesce(before.since, meta.last_synced_at)
                )
                order by failed.namespace
            ),
            '[]'
        )
        from jsonb_to_recordset($3::jsonb) as failed (namespace text, error text)
        left join jsonb_to_recordset(meta.failed_namespaces)
            as before (namespace text, since timestamptz)
            on before.namespace = failed.namespace
    ),
    table_count = (select count(*) from snowpack.table_cache_entries),
    unreadable_count = $4,
    elapsed_seconds = extract(epoch from clock_timestamp() - $1)::real
where meta.id = 1
returning meta.table_count

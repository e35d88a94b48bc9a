-- The queue's part of a lane: {lane} is the quoted schema, {id} the key type of its record table
-- {record}. The functions are the statements of the hot path: one round trip from any language
-- and through any pooler, with the planner pinned, because a claim planned with stale statistics
-- read 34,363 buffers where a pinned one reads 14. A function is never changed, only followed by
-- one with the next version in its name.
--
-- Lock order everywhere: queue rows, then record rows, then table_locks by key. Rows of others
-- are skipped when locked, own rows are waited for.

create table {lane}.job_queue (
    job_id {id} primary key,
    enqueued_at timestamptz not null default now(),
    -- Unclaimed: not due before this. Claimed: the end of the lease.
    visible_at timestamptz not null,
    claimed_at timestamptz,
    claimed_by text,
    attempt_id text,
    attempt_count int not null default 0,
    max_attempts int not null default 5,
    hand_back_count int not null default 0,
    deadline_at timestamptz,
    priority smallint not null default 0,
    sort_key timestamptz not null default now(),
    -- visible_at lies ahead because of a delay or backoff; such rows are in no index of the claim.
    scheduled boolean not null default false,
    pool text not null default 'default',
    concurrency_key text,
    cancel_requested_at timestamptz,
    constraint job_queue_job_id_fkey foreign key (job_id) references {lane}.{record},
    constraint job_queue_priority_check check (priority between -3 and 3),
    constraint job_queue_attempts_check check (attempt_count >= 0 and max_attempts >= 1),
    constraint job_queue_hand_backs_check check (hand_back_count >= 0),
    constraint job_queue_pool_check check (pool <> ''),
    -- No claim can count from or to infinity, and one such row would fail everybody's.
    constraint job_queue_times_check check (
        isfinite(enqueued_at) and isfinite(visible_at) and isfinite(sort_key)
        and isfinite(deadline_at)
    ),
    constraint job_queue_claim_check check (
        (claimed_at is null) = (attempt_id is null)
        and (claimed_at is null) = (claimed_by is null)
        and (claimed_at is null or not scheduled)
    )
) with (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05
);

-- The seed's, for its own query: claimed_at is null and visible_at <= now().
create index idx_job_queue_ready on {lane}.job_queue (claimed_at, visible_at);

create index idx_job_queue_claim on {lane}.job_queue (pool, sort_key, job_id)
    where claimed_at is null and not scheduled;

create index idx_job_queue_scheduled on {lane}.job_queue (pool, visible_at) where scheduled;

create index idx_job_queue_lease on {lane}.job_queue (visible_at) include (pool)
    where claimed_at is not null;

-- Part of the fence, not of the speed: it makes every change of attempt_id a key update, so even a
-- careless plain update waits for whoever holds the row `for key share`.
create unique index idx_job_queue_attempt on {lane}.job_queue (attempt_id);

create table {lane}.lane_state (
    id int primary key default 1,
    paused_at timestamptz,
    paused_by text,
    reason text,
    constraint lane_state_id_check check (id = 1),
    constraint lane_state_paused_check check ((paused_at is null) = (paused_by is null))
);

insert into {lane}.lane_state (id) values (1);

-- The lock belongs to the job, from submission to its terminal state.
create table {lane}.table_locks (
    table_key text primary key,
    holder {id} not null,
    acquired_at timestamptz not null default now(),
    -- For people: never earlier than the holder's lease. No decision looks at it.
    expires_at timestamptz not null
) with (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- Ends jobs whose queue rows the caller has locked: row, record and lock. With p_wait false, a lock
-- that somebody else holds this moment is left behind: its job is not live any more, so whoever
-- wants the key next takes it over.
create function {lane}.end_rows_v1(
    p_ids {id}[], p_statuses text[], p_reasons text[], p_errors text[], p_wait boolean
) returns void
language plpgsql
as $$
declare
    v_keys text[];
begin
    with gone as (
        delete from {lane}.job_queue as q
        where q.job_id = any (p_ids)
        returning q.concurrency_key
    )
    select array_agg(gone.concurrency_key) into v_keys
    from gone
    where gone.concurrency_key is not null;
    perform {lane}.record_ended(p_ids, p_statuses, p_reasons, p_errors);
    if v_keys is null then
        return;
    end if;
    if p_wait then
        delete from {lane}.table_locks as l
        where l.holder = any (p_ids)
            and l.table_key = any (array(
                select held.table_key
                from {lane}.table_locks as held
                where held.table_key = any (v_keys)
                order by held.table_key
                for update
            ));
    else
        delete from {lane}.table_locks as l
        where l.holder = any (p_ids)
            and l.table_key = any (array(
                select held.table_key
                from {lane}.table_locks as held
                where held.table_key = any (v_keys)
                order by held.table_key
                for update skip locked
            ));
    end if;
end
$$;

-- Ends rows that may not run again and that the caller has locked, and says why each ended.
create function {lane}.end_spent_v1(p_ids {id}[])
returns table (job_id {id}, pool text, sort_key timestamptz, reason text)
language plpgsql
as $$
declare
    v_ids {id}[];
    v_pools text[];
    v_sort_keys timestamptz[];
    v_reasons text[];
    v_statuses text[];
    v_errors text[];
begin
    select
        array_agg(spent.job_id),
        array_agg(spent.pool),
        array_agg(spent.sort_key),
        array_agg(spent.reason),
        array_agg(case spent.reason when 'cancelled' then 'cancelled' else 'failed' end),
        array_agg(
            case spent.reason
                when 'deadline' then 'the deadline passed before it was done'
                when 'exhausted' then format(
                    'attempt %s of %s did not end: its lease ran out',
                    spent.attempt_count, spent.max_attempts
                )
            end
        )
    into v_ids, v_pools, v_sort_keys, v_reasons, v_statuses, v_errors
    from (
        select
            q.job_id, q.pool, q.sort_key, q.attempt_count, q.max_attempts,
            case
                when q.cancel_requested_at is not null then 'cancelled'
                when q.deadline_at <= now() then 'deadline'
                else 'exhausted'
            end as reason
        from {lane}.job_queue as q
        where q.job_id = any (p_ids)
        order by q.job_id
    ) as spent;
    perform {lane}.end_rows_v1(v_ids, v_statuses, v_reasons, v_errors, false);
    return query select * from unnest(v_ids, v_pools, v_sort_keys, v_reasons);
end
$$;

-- Hands out rows that the caller has locked and that may run. The lease counts from the statement:
-- its holder counts from when it sent that, and now() may lie long before, at the beginning of a
-- transaction that submitted the job.
create function {lane}.hand_out_v1(p_ids {id}[], p_lease interval, p_worker text)
returns table (
    job_id {id},
    attempt_id text,
    attempt_count int,
    max_attempts int,
    hand_back_count int,
    pool text,
    priority smallint,
    sort_key timestamptz,
    concurrency_key text,
    deadline_seconds float8,
    age_seconds float8,
    ended text
)
language plpgsql
as $$
begin
    return query
    with claimed as (
        update {lane}.job_queue as q
        set claimed_at = statement_timestamp(),
            claimed_by = p_worker,
            attempt_id = gen_random_uuid()::text,
            visible_at = statement_timestamp() + p_lease,
            attempt_count = q.attempt_count + 1,
            scheduled = false
        where q.job_id = any (p_ids)
        returning q.*
    ),
    recorded as materialized (
        select {lane}.record_claimed(
            array_agg(c.job_id order by c.job_id), array_agg(c.attempt_id order by c.job_id)
        )
        from claimed as c
        having count(*) > 0
    ),
    behind as materialized (
        select l.table_key
        from {lane}.table_locks as l
        where l.table_key = any (array(select c.concurrency_key from claimed as c))
            and l.expires_at < statement_timestamp() + p_lease
        order by l.table_key
        for no key update skip locked
    ),
    extended as (
        update {lane}.table_locks as l
        set expires_at = statement_timestamp() + p_lease
        where l.table_key = any (array(select b.table_key from behind as b))
            and l.holder = any (p_ids)
    )
    select
        c.job_id, c.attempt_id, c.attempt_count, c.max_attempts, c.hand_back_count, c.pool,
        c.priority, c.sort_key, c.concurrency_key,
        extract(epoch from c.deadline_at - now())::float8,
        extract(epoch from now() - c.enqueued_at)::float8,
        null::text
    from claimed as c
    cross join recorded;
end
$$;

-- Up to p_count due rows, pool after pool in the order given, each in order of (sort_key, job_id).
-- p_floors names for each pool the sort key to begin at, null for the start. Rows that may not run
-- again are ended instead of handed out, and answered with the reason in `ended`, so that nothing
-- that may not run sits at the head. The ids go through an array: a limit in a subquery of the
-- update may be passed over by the planner, and a parameter of limit is guessed as a tenth of
-- the table.
create function {lane}.claim_v1(
    p_count int,
    p_lease interval,
    p_worker text,
    p_pools text[],
    p_floors timestamptz[] default '{}'
) returns table (
    job_id {id},
    attempt_id text,
    attempt_count int,
    max_attempts int,
    hand_back_count int,
    pool text,
    priority smallint,
    sort_key timestamptz,
    concurrency_key text,
    deadline_seconds float8,
    age_seconds float8,
    ended text
)
language plpgsql
set jit = off
set enable_bitmapscan = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
as $$
declare
    v_run {id}[] := '{}';
    v_spent {id}[] := '{}';
    v_run_more {id}[];
    v_spent_more {id}[];
begin
    if exists (select 1 from {lane}.lane_state as s where s.id = 1 and s.paused_at is not null) then
        return;
    end if;
    for i in 1 .. cardinality(p_pools) loop
        exit when cardinality(v_run) + cardinality(v_spent) >= p_count;
        select
            array_agg(due.job_id) filter (where not due.spent),
            array_agg(due.job_id) filter (where due.spent)
        into v_run_more, v_spent_more
        from (
            select
                q.job_id,
                (
                    q.attempt_count >= q.max_attempts
                    or q.deadline_at <= now()
                    or q.cancel_requested_at is not null
                ) is true as spent
            from {lane}.job_queue as q
            where q.pool = p_pools[i]
                and q.claimed_at is null
                and not q.scheduled
                and q.visible_at <= now()
                and q.sort_key >= coalesce(p_floors[i], '-infinity')
            order by q.sort_key, q.job_id
            limit p_count - cardinality(v_run) - cardinality(v_spent)
            for update skip locked
        ) as due;
        v_run := v_run || v_run_more;
        v_spent := v_spent || v_spent_more;
    end loop;
    if cardinality(v_spent) > 0 then
        return query
        select
            e.job_id, null::text, null::int, null::int, null::int, e.pool, null::smallint,
            e.sort_key, null::text, null::float8, null::float8, e.reason
        from {lane}.end_spent_v1(v_spent) as e;
    end if;
    if cardinality(v_run) > 0 then
        return query select * from {lane}.hand_out_v1(v_run, p_lease, p_worker);
    end if;
end
$$;

-- The same for one row by name, expired leases included.
create function {lane}.claim_one_v1(p_id {id}, p_lease interval, p_worker text)
returns table (
    job_id {id},
    attempt_id text,
    attempt_count int,
    max_attempts int,
    hand_back_count int,
    pool text,
    priority smallint,
    sort_key timestamptz,
    concurrency_key text,
    deadline_seconds float8,
    age_seconds float8,
    ended text
)
language plpgsql
set jit = off
set enable_bitmapscan = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    v_spent boolean;
begin
    if exists (select 1 from {lane}.lane_state as s where s.id = 1 and s.paused_at is not null) then
        return;
    end if;
    select
        (
            q.attempt_count >= q.max_attempts
            or q.deadline_at <= now()
            or q.cancel_requested_at is not null
        ) is true
    into v_spent
    from {lane}.job_queue as q
    where q.job_id = p_id and q.visible_at <= now()
    for update skip locked;
    if not found then
        return;
    end if;
    if v_spent then
        return query
        select
            e.job_id, null::text, null::int, null::int, null::int, e.pool, null::smallint,
            e.sort_key, null::text, null::float8, null::float8, e.reason
        from {lane}.end_spent_v1(array[p_id]) as e;
    else
        return query select * from {lane}.hand_out_v1(array[p_id], p_lease, p_worker);
    end if;
end
$$;

-- What time has passed by: expired rows are ended or wait again, delayed ones that are due become
-- claimable. At most p_batch rows of each kind; nobody is waited for.
create function {lane}.tick_v1(p_batch int)
returns table (exhausted int, deadline int, cancelled int, reset int, flipped int)
language plpgsql
set jit = off
set enable_bitmapscan = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_variable
declare
    v_spent {id}[];
    v_reset {id}[];
    v_pool text := '';
    v_flipped int;
begin
    exhausted := 0;
    deadline := 0;
    cancelled := 0;
    flipped := 0;
    select
        array_agg(expired.job_id) filter (where expired.spent),
        array_agg(expired.job_id order by expired.job_id) filter (where not expired.spent)
    into v_spent, v_reset
    from (
        select
            q.job_id,
            (
                q.attempt_count >= q.max_attempts
                or q.deadline_at <= now()
                or q.cancel_requested_at is not null
            ) is true as spent
        from {lane}.job_queue as q
        where q.claimed_at is not null and q.visible_at <= now()
        order by q.visible_at
        limit p_batch
        for update skip locked
    ) as expired;
    if v_spent is not null then
        select
            count(*) filter (where e.reason = 'exhausted'),
            count(*) filter (where e.reason = 'deadline'),
            count(*) filter (where e.reason = 'cancelled')
        into exhausted, deadline, cancelled
        from {lane}.end_spent_v1(v_spent) as e;
    end if;
    reset := coalesce(cardinality(v_reset), 0);
    if reset > 0 then
        update {lane}.job_queue as q
        set claimed_at = null,
            claimed_by = null,
            attempt_id = null,
            visible_at = now()
        where q.job_id = any (v_reset);
        perform {lane}.record_reset(v_reset);
    end if;
    -- Pools are found one by one through the index, so that a million rows that are not due cost
    -- nothing.
    while flipped < p_batch loop
        select q.pool into v_pool
        from {lane}.job_queue as q
        where q.scheduled and q.pool > v_pool
        order by q.pool
        limit 1;
        exit when not found;
        update {lane}.job_queue as q
        set scheduled = false
        where q.job_id = any (array(
            select due.job_id
            from {lane}.job_queue as due
            where due.scheduled and due.pool = v_pool and due.visible_at <= now()
            order by due.visible_at
            limit p_batch - flipped
            for update skip locked
        ));
        get diagnostics v_flipped = row_count;
        flipped := flipped + v_flipped;
    end loop;
    return next;
end
$$;

-- The tick, and what only a bug or a hand in psql leaves behind: locks whose holder is not live,
-- rows whose record has ended. Those are looked for p_batch at a time behind a cursor.
create function {lane}.sweep_v1(p_batch int, p_job {id} default null, p_key text default null)
returns table (
    exhausted int,
    deadline int,
    cancelled int,
    reset int,
    flipped int,
    locks int,
    queue_rows int,
    next_job {id},
    next_key text
)
language plpgsql
set jit = off
set enable_bitmapscan = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_variable
declare
    v_jobs {id}[];
    v_keys text[];
begin
    if p_job is null then
        v_jobs := array(select q.job_id from {lane}.job_queue as q order by q.job_id limit p_batch);
    else
        v_jobs := array(
            select q.job_id from {lane}.job_queue as q
            where q.job_id > p_job
            order by q.job_id limit p_batch
        );
    end if;
    next_job := case when cardinality(v_jobs) = p_batch then v_jobs[p_batch] end;
    -- Locked first, judged in the next statement, by a snapshot that is not older than the locks.
    v_jobs := array(
        select q.job_id from {lane}.job_queue as q
        where q.job_id = any (v_jobs)
            and not exists (
                select 1 from {lane}.record_live(v_jobs) as live (job_id)
                where live.job_id = q.job_id
            )
        order by q.job_id
        for update skip locked
    );
    v_jobs := array(
        select ended.job_id from unnest(v_jobs) as ended (job_id)
        where not exists (
            select 1 from {lane}.record_live(v_jobs) as live (job_id)
            where live.job_id = ended.job_id
        )
    );
    delete from {lane}.job_queue as q where q.job_id = any (v_jobs);
    get diagnostics queue_rows = row_count;

    -- After the orphans, which are nothing to be reset or ended.
    select t.exhausted, t.deadline, t.cancelled, t.reset, t.flipped
    into exhausted, deadline, cancelled, reset, flipped
    from {lane}.tick_v1(p_batch) as t;

    v_keys := array(
        select l.table_key from {lane}.table_locks as l
        where l.table_key > coalesce(p_key, '')
        order by l.table_key limit p_batch
    );
    next_key := case when cardinality(v_keys) = p_batch then v_keys[p_batch] end;
    v_keys := array(
        select l.table_key from {lane}.table_locks as l
        where l.table_key = any (v_keys)
            and not exists (select 1 from {lane}.job_queue as q where q.job_id = l.holder)
        order by l.table_key
        for update skip locked
    );
    delete from {lane}.table_locks as l
    where l.table_key = any (v_keys)
        and not exists (select 1 from {lane}.job_queue as q where q.job_id = l.holder);
    get diagnostics locks = row_count;
    return next;
end
$$;

-- Extends the leases of these attempts and the locks behind them. One answer for each: renewed,
-- busy (somebody has the row, the attempt is current) or lost. A cancelled job is renewed for at
-- most two more leases.
create function {lane}.renew_v1(p_ids {id}[], p_attempts text[], p_lease interval)
returns table (
    job_id {id}, attempt_id text, state text, cancel_requested boolean, seconds float8
)
language plpgsql
set jit = off
set enable_bitmapscan = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
    v_renewed text[];
    v_cancels boolean[];
    v_seconds float8[];
begin
    with mine as materialized (
        select q.job_id
        from unnest(p_ids, p_attempts) as asked (job_id, attempt_id)
        join {lane}.job_queue as q
            on q.job_id = asked.job_id and q.attempt_id = asked.attempt_id
        order by q.job_id
        for no key update of q skip locked
    ),
    renewed as (
        update {lane}.job_queue as q
        set visible_at = case
            when q.cancel_requested_at is null then statement_timestamp() + p_lease
            else greatest(
                q.visible_at,
                least(statement_timestamp() + p_lease, q.cancel_requested_at + 2 * p_lease)
            )
        end
        where q.job_id = any (array(select m.job_id from mine as m))
        returning q.*
    ),
    behind as materialized (
        select l.table_key
        from {lane}.table_locks as l
        where l.table_key = any (array(select r.concurrency_key from renewed as r))
        order by l.table_key
        for no key update skip locked
    ),
    extended as (
        update {lane}.table_locks as l
        set expires_at = greatest(l.expires_at, statement_timestamp() + p_lease)
        where l.table_key = any (array(select b.table_key from behind as b))
            and l.holder = any (p_ids)
            and exists (
                select 1 from renewed as r
                where r.concurrency_key = l.table_key and r.job_id = l.holder
            )
    )
    select
        array_agg(r.attempt_id),
        array_agg(r.cancel_requested_at is not null),
        array_agg(extract(epoch from r.visible_at - statement_timestamp())::float8)
    into v_renewed, v_cancels, v_seconds
    from renewed as r;
    return query
    select
        asked.job_id,
        asked.attempt_id,
        case
            when r.attempt_id is not null then 'renewed'
            when q.job_id is not null then 'busy'
            else 'lost'
        end,
        coalesce(r.cancel, false),
        coalesce(r.seconds, 0)
    from unnest(p_ids, p_attempts) as asked (job_id, attempt_id)
    left join unnest(v_renewed, v_cancels, v_seconds) as r (attempt_id, cancel, seconds)
        on r.attempt_id = asked.attempt_id
    left join {lane}.job_queue as q
        on q.job_id = asked.job_id and q.attempt_id = asked.attempt_id;
end
$$;

-- Ends jobs under their fences, item by item; the answer names those that took effect. Own rows
-- are waited for: only an attempt that is not current after waiting was replaced.
create function {lane}.finish_v1(
    p_ids {id}[], p_attempts text[], p_statuses text[], p_reasons text[], p_errors text[]
) returns table (job_id {id}, attempt_id text)
language plpgsql
set jit = off
set enable_bitmapscan = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set lock_timeout = '10s'
as $$
declare
    v_ids {id}[];
    v_attempts text[];
    v_statuses text[];
    v_reasons text[];
    v_errors text[];
begin
    select
        array_agg(mine.job_id), array_agg(mine.attempt_id), array_agg(mine.status),
        array_agg(mine.reason), array_agg(mine.error)
    into v_ids, v_attempts, v_statuses, v_reasons, v_errors
    from (
        select q.job_id, q.attempt_id, asked.status, asked.reason, asked.error
        from unnest(p_ids, p_attempts, p_statuses, p_reasons, p_errors)
            as asked (job_id, attempt_id, status, reason, error)
        join {lane}.job_queue as q
            on q.job_id = asked.job_id and q.attempt_id = asked.attempt_id
        order by q.job_id
        for update of q
    ) as mine;
    if v_ids is null then
        return;
    end if;
    perform {lane}.end_rows_v1(v_ids, v_statuses, v_reasons, v_errors, true);
    return query select * from unnest(v_ids, v_attempts);
end
$$;

-- Gives a job back under its fence. No row: replaced. A row of nulls: it waits for another
-- attempt. Otherwise it may not run again and has ended as answered. Due at once keeps its place;
-- a delay moves it. A hand-back that does not count restores the attempt, at most 20 times.
create function {lane}.hand_back_v1(
    p_id {id}, p_attempt text, p_after interval, p_counts boolean, p_reason text, p_error text
) returns table (status text, reason text)
language plpgsql
set jit = off
set enable_bitmapscan = off
set enable_seqscan = off
set lock_timeout = '10s'
as $$
#variable_conflict use_variable
declare
    v_row {lane}.job_queue%rowtype;
    v_free boolean;
begin
    select q.* into v_row
    from {lane}.job_queue as q
    where q.job_id = p_id and q.attempt_id = p_attempt
    for update;
    if not found then
        return;
    end if;
    v_free := not p_counts and v_row.hand_back_count < 20;
    reason := case
        when v_row.cancel_requested_at is not null then 'cancelled'
        when v_row.deadline_at <= now() then 'deadline'
        when not v_free and v_row.attempt_count >= v_row.max_attempts then p_reason
    end;
    if reason is not null then
        status := case reason when 'cancelled' then 'cancelled' else 'failed' end;
        perform {lane}.end_rows_v1(
            array[p_id], array[status], array[reason], array[p_error], true
        );
    else
        update {lane}.job_queue as q
        set claimed_at = null,
            claimed_by = null,
            attempt_id = null,
            visible_at = now() + p_after,
            scheduled = p_after > interval '0',
            sort_key = case
                when p_after > interval '0' then now() + p_after + q.priority * interval '10 min'
                else q.sort_key
            end,
            attempt_count = q.attempt_count - v_free::int,
            hand_back_count = q.hand_back_count + v_free::int
        where q.job_id = p_id;
        perform {lane}.record_reset(array[p_id]);
    end if;
    return next;
end
$$;

-- at_once, requested or not_live. The mark on a running job is no key update, so it does not have
-- to wait for the worker's guard.
create function {lane}.cancel_v1(p_id {id})
returns text
language plpgsql
set jit = off
set enable_bitmapscan = off
set enable_seqscan = off
set lock_timeout = '10s'
as $$
declare
    v_claimed boolean;
begin
    select q.claimed_at is not null into v_claimed
    from {lane}.job_queue as q
    where q.job_id = p_id
    for no key update;
    if not found then
        return 'not_live';
    end if;
    if v_claimed then
        update {lane}.job_queue as q
        set cancel_requested_at = coalesce(q.cancel_requested_at, now())
        where q.job_id = p_id;
        return 'requested';
    end if;
    perform {lane}.end_rows_v1(
        array[p_id], array['cancelled'], array['cancelled'], array[null::text], true
    );
    return 'at_once';
end
$$;

-- How much there is to do, each number counted up to p_cap, never null. Expired leases are ready
-- work although nobody has reset them; a paused lane has none.
create function {lane}.depth_v1(p_pool text default null, p_cap bigint default 1000)
returns table (
    ready bigint,
    running bigint,
    demand bigint,
    scheduled bigint,
    oldest_ready_seconds float8,
    exhausted bigint
)
language plpgsql
set jit = off
set enable_bitmapscan = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_sort = off
as $$
#variable_conflict use_column
declare
    v_expired bigint;
    v_oldest timestamptz;
    v_oldest_expired timestamptz;
begin
    if p_pool is null then
        select count(*) into ready from (
            select 1 from {lane}.job_queue as q
            where q.claimed_at is null and q.visible_at <= now() limit p_cap
        ) as r;
        select count(*) into scheduled from (
            select 1 from {lane}.job_queue as q
            where q.claimed_at is null and q.visible_at > now() limit p_cap
        ) as s;
        -- claimed_at is null throughout, but only named here does the index give the order.
        select q.visible_at into v_oldest from {lane}.job_queue as q
        where q.claimed_at is null and q.visible_at <= now()
        order by q.claimed_at, q.visible_at limit 1;
        select count(*) into v_expired from (
            select 1 from {lane}.job_queue as q
            where q.claimed_at is not null and q.visible_at <= now() limit p_cap
        ) as e;
        select count(*) into running from (
            select 1 from {lane}.job_queue as q
            where q.claimed_at is not null and q.visible_at > now() limit p_cap
        ) as r;
        select q.visible_at into v_oldest_expired from {lane}.job_queue as q
        where q.claimed_at is not null and q.visible_at <= now()
        order by q.visible_at limit 1;
    else
        -- The claim's index does not hold visible_at, and need not: a row in it is due, or the
        -- count would have to read the table.
        select (
            select count(*) from (
                select 1 from {lane}.job_queue as q
                where q.pool = p_pool and q.claimed_at is null and not q.scheduled limit p_cap
            ) as r
        ) + (
            select count(*) from (
                select 1 from {lane}.job_queue as q
                where q.pool = p_pool and q.scheduled and q.visible_at <= now() limit p_cap
            ) as f
        ) into ready;
        select count(*) into scheduled from (
            select 1 from {lane}.job_queue as q
            where q.pool = p_pool and q.scheduled and q.visible_at > now() limit p_cap
        ) as s;
        select q.visible_at into v_oldest from {lane}.job_queue as q
        where q.pool = p_pool and q.claimed_at is null and not q.scheduled
        order by q.sort_key, q.job_id limit 1;
        select count(*) into v_expired from (
            select 1 from {lane}.job_queue as q
            where q.claimed_at is not null and q.visible_at <= now() and q.pool = p_pool limit p_cap
        ) as e;
        select count(*) into running from (
            select 1 from {lane}.job_queue as q
            where q.claimed_at is not null and q.visible_at > now() and q.pool = p_pool limit p_cap
        ) as r;
        select q.visible_at into v_oldest_expired from {lane}.job_queue as q
        where q.claimed_at is not null and q.visible_at <= now() and q.pool = p_pool
        order by q.visible_at limit 1;
    end if;
    select count(*) filter (where e.attempt_count >= e.max_attempts) into exhausted
    from (
        select q.attempt_count, q.max_attempts from {lane}.job_queue as q
        where q.claimed_at is not null and q.visible_at <= now()
            and (p_pool is null or q.pool = p_pool)
        order by q.visible_at limit least(p_cap, 100)
    ) as e;
    ready := least(ready + v_expired, p_cap);
    if exists (select 1 from {lane}.lane_state as s where s.id = 1 and s.paused_at is not null) then
        ready := 0;
    end if;
    demand := ready + running;
    oldest_ready_seconds := 0;
    if ready > 0 then
        oldest_ready_seconds := coalesce(
            extract(epoch from now() - least(v_oldest, v_oldest_expired)), 0
        );
    end if;
    return next;
end
$$;

-- Order keys for less: the acknowledgement of a key's head hands the next job of the key to the same worker.
--
-- One by one, each job behind a key went from `job_blocked` into `job_ready`, was claimed from there, and its
-- key was passed on by five statements of its own. Now a batch of acknowledgements locks all its keys in one
-- statement and decides on all their next jobs in a second one, and where the worker asks for it the next
-- job becomes its lease at once. The functions before these stay, for executables that call them; both may
-- be at work on one database.

alter table job_key add column head_seq bigint not null default 0;
comment on column job_key.head_seq is 'No job that waits behind the head has this `seq` or a lower one. A walk to the next job starts here, and not at the entries of all before it, which an old transaction may keep. Too low a value only makes the walk longer.';

-- A line is as short-lived as the ready set, and is kept as clean.
alter table job_blocked set (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000000000, vacuum_truncate = off);

-- job_claim_v2, which also tells whether a job has an order key: of those that have none, nobody needs to
-- ask for the next when they are done.
create function job_claim_v3(
    p_worker uuid, p_lease_ms integer, p_kinds text[], p_pools integer[], p_limits integer[], p_marks bigint[], p_tokens uuid[])
returns table (
    job_id bigint, token uuid, pool_id integer, priority smallint, pos bigint, ready_at timestamptz, attempt smallint, crashes smallint,
    max_attempts smallint, kind text, keyed boolean, tenant_id uuid, trace_parent text, created_at timestamptz, payload jsonb)
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_paused integer[] := array(select q.id from job_queue q where q.paused_at is not null);
    v_i integer;
    v_used integer := 0;
begin
    for v_i in 1 .. cardinality(p_pools) loop
        continue when p_limits[v_i] <= 0;
        return query
        with c as materialized (
            select x.ctid
            from unnest(array[0, 1, 2, 3]::smallint[], p_marks[v_i * 4 - 3 : v_i * 4]) as w(priority, mark)
            cross join lateral (
                select r.ctid from job_ready r
                where r.pool_id = p_pools[v_i] and r.priority = w.priority and r.pos > w.mark
                  and r.kind = any(p_kinds) and r.queue_id <> all(v_paused)
                order by r.pos limit p_limits[v_i] for update skip locked
            ) x
            limit p_limits[v_i]
        ),
        d as (delete from job_ready r where r.ctid = any(array(select c.ctid from c)) returning r.*),
        t as materialized (select d.*, p_tokens[v_used + row_number() over ()] as token from d),
        l as (
            insert into job_lease (job_id, token, worker_id, lease_until, pool_id, queue_id, priority, attempt, crashes, kind)
            select t.job_id, t.token, p_worker, now() + p_lease_ms * interval '1 millisecond', t.pool_id, t.queue_id, t.priority, t.attempt + 1, t.crashes, t.kind
            from t
        )
        select t.job_id, t.token, t.pool_id, t.priority, t.pos, t.ready_at, (t.attempt + 1)::smallint, t.crashes, j.max_attempts, t.kind,
            j.order_key is not null, j.tenant_id, j.trace_parent, j.created_at, j.payload
        -- Not a join, of which the planner could make a walk over all jobs for each: the offset keeps it apart.
        from t cross join lateral (select * from job x where x.id = t.job_id offset 0) j;
        v_used := v_used + p_limits[v_i];
    end loop;
end $$;

-- job_poll_v1 over job_claim_v3.
create function job_poll_v2(
    p_after timestamptz, p_batch integer,
    p_worker uuid, p_lease_ms integer, p_kinds text[], p_pools integer[], p_limits integer[], p_marks bigint[], p_tokens uuid[])
returns table (
    promoted integer, woken integer[], last_run_at timestamptz, next_run_at timestamptz,
    job_id bigint, token uuid, pool_id integer, priority smallint, pos bigint, ready_at timestamptz, attempt smallint, crashes smallint,
    max_attempts smallint, kind text, keyed boolean, tenant_id uuid, trace_parent text, created_at timestamptz, payload jsonb)
language plpgsql as $$
declare
    v_due record;
begin
    -- A statement of its own, so that the claim sees what it moved.
    select * into v_due from job_promote_v1(p_after, p_batch);
    return query
    select v_due.promoted, v_due.woken, v_due.last_run_at, v_due.next_run_at, c.*
    from (select) one left join job_claim_v3(p_worker, p_lease_ms, p_kinds, p_pools, p_limits, p_marks, p_tokens) c on true;
end $$;

-- The acknowledgement of attempts that are all done: job_done_v1, which also passes order keys on set by set.
-- Where the worker keeps the slot of a job for the next of its order key, p_pools holds the slot's pool and
-- p_heirs a random token: the next is then leased to p_worker under that token, if it belongs to this pool, its
-- kind is among p_kinds and its queue is not paused. Otherwise it becomes ready. One row at least, with
-- `accepted` and `woken` in the first alone; a row whose job is null hands nothing over.
create function job_done_v2(
    p_ids bigint[], p_tokens uuid[], p_run_ms integer[], p_pools integer[], p_heirs uuid[],
    p_worker uuid, p_lease_ms integer, p_kinds text[])
returns table (
    accepted bigint[], woken integer[],
    after_id bigint, job_id bigint, token uuid, pool_id integer, priority smallint, attempt smallint, crashes smallint,
    max_attempts smallint, kind text, tenant_id uuid, trace_parent text, payload jsonb)
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
-- The keys are met by their index: merged, all keys that there are would be walked over.
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_attempts smallint[];
    v_crashes smallint[];
    v_workers uuid[];
    v_started timestamptz[];
    v_run integer[];
    v_tried boolean;
    v_unique text[];
    v_keys text[];
    v_heads bigint[];
    v_marks bigint[];
    v_paused integer[];
begin
    woken := '{}';
    with l as (
        delete from job_lease l where l.job_id = any(p_ids) and l.token = p_tokens[width_bucket(l.job_id, p_ids)]
        returning l.job_id, l.attempt, l.crashes, l.worker_id, l.leased_at
    )
    select array_agg(s.job_id), array_agg(s.attempt), array_agg(s.crashes), array_agg(s.worker_id), array_agg(s.leased_at), bool_or(s.attempt > 1 or s.crashes > 0)
    into accepted, v_attempts, v_crashes, v_workers, v_started, v_tried
    from (select * from l order by l.job_id) s;
    if accepted is null then
        accepted := '{}';
        return next;
        return;
    end if;
    -- Nearly always all were accepted, and then the times stand in the same places.
    v_run := p_run_ms;
    if cardinality(accepted) < cardinality(p_ids) then
        select array_agg(p_run_ms[width_bucket(x.id, p_ids)] order by x.o) into v_run from unnest(accepted) with ordinality as x(id, o);
    end if;

    with d as (delete from job j where j.id = any(accepted) returning j.*),
    h as (
        insert into job_history (job_id, created_at, started_at, worker_id, run_ms, queue_id, priority, attempt, crashes, outcome, kind, tenant_id, trace_parent, payload, attempts)
        select d.id, d.created_at, v_started[b.i], v_workers[b.i], v_run[b.i], d.queue_id, d.priority, v_attempts[b.i], v_crashes[b.i],
            0, d.kind, d.tenant_id, d.trace_parent, d.payload,
            case when v_tried then (select jsonb_agg(to_jsonb(a) - 'job_id' order by a.recorded_at) from job_attempt a where a.job_id = d.id) end
        -- The offset keeps the place from being looked up anew for each column.
        from d cross join lateral (select width_bucket(d.id, accepted) as i offset 0) b
    )
    select array_agg(d.unique_key) filter (where d.unique_key is not null), array_agg(d.order_key) filter (where d.order_key is not null)
    into v_unique, v_keys from d;
    if v_tried then
        delete from job_attempt a where a.job_id = any(accepted);
    end if;
    if v_unique is not null then
        delete from job_unique u where u.key = any(v_unique) and u.job_id = any(accepted) and (u.keep_until is null or u.keep_until <= now());
    end if;
    if v_keys is not null then
        -- In order, as everybody locks them.
        select array_agg(s.key), array_agg(s.head_id), array_agg(s.head_seq) into v_keys, v_heads, v_marks
        from (select k.key, k.head_id, k.head_seq from job_key k where k.key = any(v_keys) and k.head_id = any(accepted) order by k.key for update) s;
    end if;
    if v_keys is null then
        return next;
        return;
    end if;

    v_paused := array(select q.id from job_queue q where q.paused_at is not null);
    -- A statement of its own after the keys are locked: it sees all who stand behind them.
    return query
    with n as materialized (
        select x.key, x.head, b.*,
            case when b.pool_id = p_pools[w.i] and b.kind = any(p_kinds) and b.queue_id <> all(v_paused) then p_heirs[w.i] end as heir
        from unnest(v_keys, v_heads, v_marks) as x(key, head, mark)
        cross join lateral (select width_bucket(x.head, p_ids) as i offset 0) w
        cross join lateral (
            -- Locked before it is taken: one that is being cancelled is waited for and then stepped over.
            select b.job_id, b.seq, b.pool_id, b.queue_id, b.priority, b.attempt, b.crashes, b.kind
            from job_blocked b where b.order_key = x.key and b.seq > x.mark order by b.seq limit 1 for update
        ) b
    ),
    d as (delete from job_blocked b where b.job_id = any(array(select n.job_id from n))),
    u as (update job_key k set head_id = n.job_id, head_seq = n.seq from n where k.key = n.key),
    e as (delete from job_key k where k.key = any(array(select x.key from unnest(v_keys) x(key) except select n.key from n))),
    l as (
        insert into job_lease (job_id, token, worker_id, lease_until, pool_id, queue_id, priority, attempt, crashes, kind)
        select n.job_id, n.heir, p_worker, now() + p_lease_ms * interval '1 millisecond', n.pool_id, n.queue_id, n.priority, n.attempt + 1, n.crashes, n.kind
        from n where n.heir is not null
    ),
    r as (
        insert into job_ready (job_id, pool_id, queue_id, priority, attempt, crashes, kind)
        select n.job_id, n.pool_id, n.queue_id, n.priority, n.attempt, n.crashes, n.kind from n where n.heir is null
        returning pool_id
    ),
    w as (select coalesce(array_agg(distinct r.pool_id), '{}') as woken from r),
    g as (
        select n.*, j.max_attempts, j.tenant_id, j.trace_parent, j.payload
        from n cross join lateral (select * from job x where x.id = n.job_id offset 0) j where n.heir is not null
    )
    select case when row_number() over () = 1 then accepted end, case when row_number() over () = 1 then w.woken end,
        g.head, g.job_id, g.heir, g.pool_id, g.priority, (g.attempt + 1)::smallint, g.crashes, g.max_attempts, g.kind, g.tenant_id, g.trace_parent, g.payload
    from w left join g on true;
end $$;

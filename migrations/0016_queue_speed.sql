-- The hot path again, for less: a claim in one statement per pool with tokens that its caller draws, and an
-- acknowledgement of its own for what nearly all jobs come to. The functions before them stay, for
-- executables that call them.

-- Leases up to p_limits[i] jobs of pool p_pools[i] to a worker, best priority first, oldest first, of
-- kinds that it knows and queues that are not paused. p_marks holds four positions per pool, one per
-- priority: entries at or before them are not looked at. p_tokens holds as many random tokens as jobs are
-- wanted in all, each for one attempt: drawn here, they took a tenth of the claim.
create function job_claim_v2(
    p_worker uuid, p_lease_ms integer, p_kinds text[], p_pools integer[], p_limits integer[], p_marks bigint[], p_tokens uuid[])
returns table (
    job_id bigint, token uuid, pool_id integer, priority smallint, pos bigint, ready_at timestamptz, attempt smallint, crashes smallint,
    max_attempts smallint, kind text, tenant_id uuid, trace_parent text, created_at timestamptz, payload jsonb)
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
        select t.job_id, t.token, t.pool_id, t.priority, t.pos, t.ready_at, (t.attempt + 1)::smallint, t.crashes, j.max_attempts, t.kind, j.tenant_id, j.trace_parent, j.created_at, j.payload
        -- Not a join, of which the planner could make a walk over all jobs for each: the offset keeps it apart.
        from t cross join lateral (select * from job x where x.id = t.job_id offset 0) j;
        v_used := v_used + p_limits[v_i];
    end loop;
end $$;

-- The acknowledgement of attempts that are all done: job_ack_v1 with nothing but outcome 0. Takes leases by
-- (job, token); only what `accepted` names was taken.
create function job_done_v1(p_ids bigint[], p_tokens uuid[], p_run_ms integer[], out accepted bigint[], out woken integer[])
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_attempts smallint[];
    v_crashes smallint[];
    v_workers uuid[];
    v_started timestamptz[];
    v_run integer[];
    v_tried boolean;
    v_unique text[];
    v_keys text[];
begin
    woken := '{}';
    with l as (
        delete from job_lease where job_id = any(p_ids) and token = p_tokens[width_bucket(job_id, p_ids)]
        returning job_id, attempt, crashes, worker_id, leased_at
    )
    select array_agg(s.job_id), array_agg(s.attempt), array_agg(s.crashes), array_agg(s.worker_id), array_agg(s.leased_at), bool_or(s.attempt > 1 or s.crashes > 0)
    into accepted, v_attempts, v_crashes, v_workers, v_started, v_tried
    from (select * from l order by job_id) s;
    if accepted is null then
        accepted := '{}';
        return;
    end if;
    -- Nearly always all were accepted, and then the times stand in the same places.
    v_run := p_run_ms;
    if cardinality(accepted) < cardinality(p_ids) then
        select array_agg(p_run_ms[width_bucket(x.id, p_ids)] order by x.o) into v_run from unnest(accepted) with ordinality as x(id, o);
    end if;

    with d as (delete from job where id = any(accepted) returning *),
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
        delete from job_attempt where job_id = any(accepted);
    end if;
    if v_unique is not null then
        delete from job_unique where key = any(v_unique) and job_id = any(accepted) and (keep_until is null or keep_until <= now());
    end if;
    if v_keys is not null then
        woken := job_pass_keys_v1(v_keys, accepted);
    end if;
end $$;

-- A worker's poll: job_promote_v1 and then job_claim_v2, so that an idle worker asks once and not twice. One
-- row at least, whose job is null when none was claimed.
create function job_poll_v1(
    p_after timestamptz, p_batch integer,
    p_worker uuid, p_lease_ms integer, p_kinds text[], p_pools integer[], p_limits integer[], p_marks bigint[], p_tokens uuid[])
returns table (
    promoted integer, woken integer[], last_run_at timestamptz, next_run_at timestamptz,
    job_id bigint, token uuid, pool_id integer, priority smallint, pos bigint, ready_at timestamptz, attempt smallint, crashes smallint,
    max_attempts smallint, kind text, tenant_id uuid, trace_parent text, created_at timestamptz, payload jsonb)
language plpgsql as $$
declare
    v_due record;
begin
    -- A statement of its own, so that the claim sees what it moved.
    select * into v_due from job_promote_v1(p_after, p_batch);
    return query
    select v_due.promoted, v_due.woken, v_due.last_run_at, v_due.next_run_at, c.*
    from (select) one left join job_claim_v2(p_worker, p_lease_ms, p_kinds, p_pools, p_limits, p_marks, p_tokens) c on true;
end $$;

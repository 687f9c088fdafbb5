-- A promotion that waits for nobody's lock, and a rescue whose plan no table can outgrow.
--
-- A delayed job with an order key enters the key's line when it falls due, and for that the key is locked.
-- job_promote_v1 waited for whoever held it, and with it waited the poll of the worker, which promotes on its way: one
-- transaction held open over a key kept every worker from claiming anything.

-- Lets these in by their order keys, as job_admit_v1 does, in the order of their ids. None of them where a key is held for
-- longer than a commit takes, which is null; the pools that they belong to otherwise.
create function job_admit_due_v1(p_ids bigint[]) returns integer[]
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
-- A key that somebody is just making cannot be seen, so it cannot be passed by: this is how long it is waited for.
set lock_timeout = '5ms'
as $$
begin
    delete from job_scheduled where job_id = any(p_ids);
    perform job_admit_v1(j.id, j.order_key, j.pool_id, j.queue_id, j.priority, 0::smallint, 0::smallint, j.kind)
    from (select * from job where id = any(p_ids) order by order_key, id) j;
    return array(select distinct j.pool_id from job j where j.id = any(p_ids));
exception when lock_not_available then
    return null;
end $$;

-- Moves due jobs to ready, in order of time. p_after is the time up to which the caller has promoted
-- before, or -infinity for a full sweep. Jobs whose order key another transaction holds are left for the next call, which
-- starts before them: last_run_at says so. Tells when the next one falls due.
--
-- Those that are left are looked at again by each call, and 10 * p_limit at most: what falls due behind that many waits
-- with them. Keys are held by transactions, which a worker's connections let stand idle for half a minute.
create function job_promote_v2(p_after timestamptz, p_limit integer, out promoted integer, out woken integer[], out last_run_at timestamptz, out next_run_at timestamptz)
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    -- Where the next look goes on.
    v_at timestamptz := p_after;
    v_id bigint := 9223372036854775807;
    v_want integer;
    v_seen integer;
    v_moved integer;
    v_pools integer[];
    -- Those of a look that need a key: ids in ascending order, their keys and times.
    v_ids bigint[];
    v_keys text[];
    v_times timestamptz[];
    v_locked text[];
    v_known text[];
    v_some bigint[];
    v_key text;
    -- Keys that were held once are held for the whole call, or later jobs of a key would go before earlier ones.
    v_held text[] := '{}';
    v_held_at timestamptz;
    -- Keys that are being made and were waited for in vain; four of them, and the others are not tried.
    v_waits integer := 0;
begin
    promoted := 0;
    woken := '{}';
    for v_round in 1 .. 10 loop
        v_want := p_limit - promoted;
        with c as materialized (
            select s.ctid, s.run_at, s.job_id, s.holds_key from job_scheduled s
            where (s.run_at, s.job_id) > (v_at, v_id) and s.run_at <= now()
            order by s.run_at, s.job_id limit v_want for update skip locked
        ),
        k as materialized (
            select c.ctid, c.run_at, c.job_id, case when not c.holds_key then (select j.order_key from job j where j.id = c.job_id) end as key from c
        ),
        d as (delete from job_scheduled where ctid = any(array(select k.ctid from k where k.key is null)) returning *),
        r as (
            insert into job_ready (job_id, pool_id, queue_id, priority, attempt, crashes, kind)
            select d.job_id, d.pool_id, d.queue_id, d.priority, d.attempt, d.crashes, d.kind from d order by d.run_at
        )
        select count(*), (select count(*) from d), (select array_agg(distinct d.pool_id) from d),
            coalesce(max(k.run_at), v_at), (select x.job_id from k x order by x.run_at desc, x.job_id desc limit 1),
            array_agg(k.job_id order by k.job_id) filter (where k.key is not null),
            array_agg(k.key order by k.job_id) filter (where k.key is not null),
            array_agg(k.run_at order by k.job_id) filter (where k.key is not null)
        into v_seen, v_moved, v_pools, v_at, v_id, v_ids, v_keys, v_times from k;
        promoted := promoted + v_moved;
        woken := woken || coalesce(v_pools, '{}');

        if v_ids is not null then
            v_locked := array(select k.key from job_key k where k.key = any(v_keys) and k.key <> all(v_held) order by k.key for update skip locked);
            -- A statement of its own after the locks: what it does not see was not there to be locked.
            v_known := array(select k.key from job_key k where k.key = any(v_keys));
            v_held := v_held || array(select k from unnest(v_known) k where k <> all(v_locked) and k <> all(v_held));
            v_some := array(select x.id from unnest(v_ids, v_keys) x(id, key) where x.key <> all(v_held) order by x.id);
            v_pools := case when cardinality(v_some) > 0 then job_admit_due_v1(v_some) end;
            if v_pools is not null then
                promoted := promoted + cardinality(v_some);
                woken := woken || v_pools;
            else
                -- Key by key: not always in the same order, so that none is never tried.
                for v_key in select x.key from unnest(v_keys) x(key) where x.key <> all(v_held) group by x.key order by x.key = any(v_locked) desc, random() loop
                    v_pools := null;
                    if v_waits < 4 or v_key = any(v_locked) then
                        v_some := array(select x.id from unnest(v_ids, v_keys) x(id, key) where x.key = v_key order by x.id);
                        v_pools := job_admit_due_v1(v_some);
                    end if;
                    if v_pools is null then
                        v_waits := v_waits + 1;
                        v_held := v_held || v_key;
                    else
                        promoted := promoted + cardinality(v_some);
                        woken := woken || v_pools;
                    end if;
                end loop;
            end if;
            select least(v_held_at, min(x.run_at)) into v_held_at from unnest(v_keys, v_times) x(key, run_at) where x.key = any(v_held);
        end if;
        -- Once more only where so many were left that others may stand behind them.
        exit when v_seen < v_want or promoted >= p_limit;
    end loop;
    last_run_at := case when v_held_at is not null then v_held_at - interval '1 microsecond' else nullif(v_at, p_after) end;
    select min(s.run_at) into next_run_at from job_scheduled s where s.run_at > now();
end $$;

-- job_poll_v2 over job_promote_v2.
create function job_poll_v3(
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
    select * into v_due from job_promote_v2(p_after, p_batch);
    return query
    select v_due.promoted, v_due.woken, v_due.last_run_at, v_due.next_run_at, c.*
    from (select) one left join job_claim_v3(p_worker, p_lease_ms, p_kinds, p_pools, p_limits, p_marks, p_tokens) c on true;
end $$;

-- Up to p_limit expired leases of jobs that are to run again, locked. There is no index to find them by, so the leases are
-- walked over once, in the order in which they lie.
create function job_expired_v1(p_limit integer, p_poison integer) returns bigint[]
language plpgsql
set enable_indexscan = off
set enable_bitmapscan = off
as $$
begin
    return array(
        select job_id from job_lease
        where lease_until < now() and not cancel_requested and crashes + 1 < p_poison limit p_limit for update skip locked);
end $$;

-- job_rescue_living_v1, whose plan could be a walk over all jobs for each of them: a session that had rescued some while
-- there were few kept to what was best then.
create function job_rescue_living_v2(p_limit integer, p_poison integer, out rescued integer, out woken integer[])
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_ids bigint[] := job_expired_v1(p_limit, p_poison);
begin
    rescued := 0;
    woken := '{}';
    if cardinality(v_ids) = 0 then
        return;
    end if;
    with l as (delete from job_lease where job_id = any(v_ids) returning *),
    a as (
        insert into job_attempt (job_id, attempt, crashed, started_at, run_ms, worker_id, error)
        select l.job_id, l.attempt, true, l.leased_at, least(extract(epoch from now() - l.leased_at) * 1000, 2147483647)::integer,
            l.worker_id, 'the worker died or lost touch: its lease ran out'
        from l
    ),
    r as (
        insert into job_ready (job_id, pool_id, queue_id, priority, attempt, crashes, kind)
        select l.job_id, j.pool_id, j.queue_id, j.priority, l.attempt - 1, l.crashes + 1, j.kind
        from (select * from l order by job_id) l
        cross join lateral (select * from job j where j.id = l.job_id offset 0) j
        returning pool_id
    )
    select (select count(*) from l), coalesce((select array_agg(distinct r.pool_id) from r), '{}') into rescued, woken;
end $$;

-- One order of locks at order keys: ascending, as a bulk enqueue takes them.
--
-- An acknowledgement or a rescue that ends jobs in several ways ends them group by group, and passed the
-- keys of one group on before it touched those of the next: beside a transaction that enqueued under the
-- same keys either could wait for the other. Now all keys are locked first. What is left is a caller that
-- enqueues in several statements against that order: Postgres ends one of the two, which is repeated.

-- Locks the order keys of these jobs, in order.
create function job_lock_keys_v1(p_ids bigint[]) returns void
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_keys text[];
begin
    select array_agg(distinct j.order_key) into v_keys from job j where j.id = any(p_ids) and j.order_key is not null;
    if v_keys is not null then
        perform from job_key k where k.key = any(v_keys) order by k.key for update;
    end if;
end $$;

-- job_ack_v1 with the keys locked in order. The leases come first, as everywhere: whoever has the lease
-- of a key's head waits for the key, never the other way round.
create function job_ack_v2(
    p_ids bigint[], p_tokens uuid[], p_outcomes smallint[], p_delays_ms bigint[], p_errors text[], p_run_ms integer[],
    out accepted bigint[], out died bigint[], out woken integer[])
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_held bigint[];
begin
    -- Where all ended in one way their keys are passed on in one go, and in order.
    if exists (select from unnest(p_outcomes) o where o <> p_outcomes[1]) or p_outcomes[1] = 1 then
        v_held := array(
            select l.job_id from job_lease l where l.job_id = any(p_ids) and l.token = p_tokens[width_bucket(l.job_id, p_ids)]
            order by l.job_id for update);
        perform job_lock_keys_v1(v_held);
    end if;
    select a.accepted, a.died, a.woken into accepted, died, woken
    from job_ack_v1(p_ids, p_tokens, p_outcomes, p_delays_ms, p_errors, p_run_ms) a;
end $$;

-- job_rescue_v1 with the keys locked in order.
create function job_rescue_v2(p_limit integer, p_poison integer, out rescued integer, out died bigint[], out woken integer[])
language plpgsql
set enable_bitmapscan = off
as $$
declare
    v_ids bigint[];
    v_attempts smallint[];
    v_crashes smallint[];
    v_workers uuid[];
    v_started timestamptz[];
    v_run integer[];
    v_cancel boolean[];
begin
    died := '{}';
    woken := '{}';
    with e as materialized (
        select job_id from job_lease where lease_until < now() limit p_limit for update skip locked
    ),
    l as (delete from job_lease where job_id = any(array(select e.job_id from e)) returning *)
    select count(*), array_agg(s.job_id), array_agg(s.attempt), array_agg((s.crashes + 1)::smallint), array_agg(s.worker_id), array_agg(s.leased_at),
        array_agg(least(extract(epoch from now() - s.leased_at) * 1000, 2147483647)::integer), array_agg(s.cancel_requested)
    into rescued, v_ids, v_attempts, v_crashes, v_workers, v_started, v_run, v_cancel
    from (select * from l order by job_id) s;
    if rescued = 0 then
        return;
    end if;
    perform job_lock_keys_v1(v_ids);

    insert into job_attempt (job_id, attempt, crashed, started_at, run_ms, worker_id, error)
    select x.id, x.attempt, true, x.started, x.run_ms, x.worker, 'the worker died or lost touch: its lease ran out'
    from unnest(v_ids, v_attempts, v_started, v_run, v_workers) x(id, attempt, started, run_ms, worker);

    died := array(select x.id from unnest(v_ids, v_crashes, v_cancel) x(id, c, z) where x.c >= p_poison and not x.z order by x.id);

    with r as (
        insert into job_ready (job_id, pool_id, queue_id, priority, attempt, crashes, kind)
        select j.id, j.pool_id, j.queue_id, j.priority, v_attempts[width_bucket(j.id, v_ids)] - 1, v_crashes[width_bucket(j.id, v_ids)], j.kind
        from job j
        where j.id = any(array(select x.id from unnest(v_ids, v_cancel) x(id, z) where not x.z and x.id <> all(died)))
        returning pool_id
    )
    select coalesce(array_agg(distinct r.pool_id), '{}') into woken from r;

    woken := woken || job_end_set_v1(v_ids, v_attempts, v_crashes, v_workers, v_started, v_run,
        array(select x.id from unnest(v_ids, v_cancel) x(id, z) where x.z), 4::smallint, null);
    woken := woken || job_end_set_v1(v_ids, v_attempts, v_crashes, v_workers, v_started, v_run, died, 2::smallint, 'poison');
end $$;

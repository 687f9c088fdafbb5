-- A rescue that waits for nobody's lock: jobs that only go back to the ready ones need no key, and those that end are
-- rescued apart, by whoever is ready to try again.

-- Takes back expired leases of jobs that are to run again. A crash is counted apart from errors: the attempt is not, so
-- that a job is not blamed for its worker. It keeps the key that it has, so no other job moves.
create function job_rescue_living_v1(p_limit integer, p_poison integer, out rescued integer, out woken integer[])
language plpgsql
set enable_bitmapscan = off
as $$
begin
    with e as materialized (
        select job_id from job_lease
        where lease_until < now() and not cancel_requested and crashes + 1 < p_poison limit p_limit for update skip locked
    ),
    l as (delete from job_lease where job_id = any(array(select e.job_id from e)) returning *),
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

-- Ends those of these jobs whose leases ran out: cancelled if that was asked for, quarantined among the dead if
-- p_poison workers died under them. The keys are locked in order, after the leases, as everywhere.
create function job_rescue_ending_v1(p_ids bigint[], p_poison integer, out rescued integer, out died bigint[], out woken integer[])
language plpgsql
set enable_seqscan = off
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
        select job_id from job_lease
        where job_id = any(p_ids) and lease_until < now() and (cancel_requested or crashes + 1 >= p_poison)
        for update skip locked
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
    died := array(select x.id from unnest(v_ids, v_cancel) x(id, z) where not x.z order by x.id);
    woken := job_end_set_v1(v_ids, v_attempts, v_crashes, v_workers, v_started, v_run,
        array(select x.id from unnest(v_ids, v_cancel) x(id, z) where x.z), 4::smallint, null);
    woken := woken || job_end_set_v1(v_ids, v_attempts, v_crashes, v_workers, v_started, v_run, died, 2::smallint, 'poison');
end $$;

-- What a machine's snapshots are found by when it is destroyed or shown, the failed ones too.
create index machine_snapshot_machine on machine_snapshot (machine_id, created_at);

-- An attempt of a firing that an executable of before begins has another job than the one before it, and it does not
-- say which: nobody must look for the old one then.
create function schedule_firing_job_v1() returns trigger
language plpgsql as $$
begin
    new.job_id := null;
    return new;
end $$;

create trigger attempt_begun before update of attempt on schedule_firing for each row
    when (new.attempt is distinct from old.attempt and new.job_id is not distinct from old.job_id)
    execute function schedule_firing_job_v1();

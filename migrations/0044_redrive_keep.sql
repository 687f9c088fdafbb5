-- A redrive that keeps what was promised of a uniqueness key: one that is to outlive its job does so although the job
-- died in between. job_redrive_v1 forgot the time, so that whoever asked once more after the end of the redriven job got
-- a second one.

-- Puts a dead job back under its own id, with p_attempts further attempts. What it went through stays
-- with it. Answers redriven, unique_taken (another job holds its key: it is live, or the key is kept for it) or not_dead.
create function job_redrive_v2(p_id bigint, p_attempts smallint, out became text, out woken integer[])
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_dead job_dead;
    v_holder bigint;
begin
    woken := '{}';
    select * into v_dead from job_dead where job_id = p_id for update;
    if not found then
        became := 'not_dead';
        return;
    end if;
    if v_dead.unique_key is not null then
        loop
            -- Without a time: one that it had is over, or the key would be there.
            insert into job_unique (key, job_id) values (v_dead.unique_key, p_id) on conflict (key) do nothing;
            v_holder := p_id;
            exit when found;
            -- Its own is left as it is, with the time until which it is kept.
            select job_id into v_holder from job_unique where key = v_dead.unique_key for update;
            continue when not found;
            exit when v_holder = p_id;
            update job_unique set job_id = p_id, keep_until = null
            where key = v_dead.unique_key and keep_until <= now() and not exists (select from job j where j.id = v_holder);
            if found then
                v_holder := p_id;
            end if;
            exit;
        end loop;
        if v_holder <> p_id then
            became := 'unique_taken';
            return;
        end if;
    end if;
    delete from job_dead where job_id = p_id;
    insert into job (id, created_at, pool_id, queue_id, priority, max_attempts, kind, tenant_id, order_key, unique_key, trace_parent, payload)
    values (p_id, v_dead.created_at, v_dead.pool_id, v_dead.queue_id, v_dead.priority, least(v_dead.attempt::integer + p_attempts, 32767), v_dead.kind, v_dead.tenant_id,
        v_dead.order_key, v_dead.unique_key, v_dead.trace_parent, v_dead.payload);
    insert into job_attempt (job_id, attempt, crashed, started_at, run_ms, worker_id, error, recorded_at)
    select p_id, a.attempt, a.crashed, a.started_at, a.run_ms, a.worker_id, a.error, a.recorded_at
    from jsonb_to_recordset(v_dead.attempts) as a(attempt smallint, crashed boolean, started_at timestamptz, run_ms integer, worker_id uuid, error text, recorded_at timestamptz);
    if v_dead.order_key is null then
        insert into job_ready (job_id, pool_id, queue_id, priority, attempt, crashes, kind)
        values (p_id, v_dead.pool_id, v_dead.queue_id, v_dead.priority, v_dead.attempt, 0, v_dead.kind);
    else
        perform job_admit_v1(p_id, v_dead.order_key, v_dead.pool_id, v_dead.queue_id, v_dead.priority, v_dead.attempt, 0::smallint, v_dead.kind);
    end if;
    became := 'redriven';
    woken := array[v_dead.pool_id];
end $$;

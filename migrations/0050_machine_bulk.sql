-- One operation asked of many machines at once, by as many statements as of one.

-- Holds those of these machines that are a tenant's and not destroyed until the transaction ends, as `machine_hold_v2` holds
-- one; in the order of their ids, as everybody locks more than one.
create function machine_hold_many_v1(p_tenant uuid, p_machines uuid[])
returns table (
    machine_id uuid, no integer, draining boolean, wanted text, generation bigint, ids uuid[], actions text[], states text[])
language plpgsql
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_held uuid[];
begin
    select array_agg(s.id) into v_held from (
        select m.id from machine m where m.tenant_id = p_tenant and m.id = any(p_machines) and m.destroyed_at is null
        order by m.id for update
    ) s;
    -- A statement of its own after the locks: it sees what was committed before.
    return query
    select m.id, h.no, h.draining_at is not null, m.wanted, m.generation,
        coalesce(p.ids, '{}'), coalesce(p.actions, '{}'), coalesce(p.states, '{}')
    from unnest(v_held) x(id)
    cross join lateral (select * from machine t where t.id = x.id offset 0) m
    cross join lateral (select * from host t where t.id = m.host_id offset 0) h
    cross join lateral (
        select array_agg(o.id order by o.generation) as ids, array_agg(o.action order by o.generation) as actions,
            array_agg(o.state order by o.generation) as states
        from machine_operation o where o.machine_id = x.id and o.ended_at is null
    ) p
    order by x.id;
end $$;

-- Enters an operation on each of these machines, which are held, with its job, and says what each shall be, as
-- `machine_ask_v1` does for one. Arrays run in parallel, one place per machine; the answer keeps their order.
create function machine_ask_many_v1(
    p_operations uuid[], p_tenant uuid, p_machines uuid[], p_action text, p_wanted text[], p_by text, p_reason text,
    p_queues integer[], p_pools integer[], p_kind text, p_priority smallint, p_max_attempts smallint, p_order_keys text[], p_trace text,
    p_payloads text[])
returns table (job_id bigint, generation bigint, asked_at timestamptz)
language plpgsql
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_jobs bigint[];
    v_heads bigint[];
begin
    select array_agg(nextval('job_id_seq')) into v_jobs from generate_series(1, cardinality(p_machines));
    update machine m set wanted = x.wanted, generation = m.generation + 1, drift = null, updated_at = now()
    from unnest(p_machines, p_wanted) x(id, wanted) where m.id = x.id;
    insert into job (id, pool_id, queue_id, priority, max_attempts, kind, tenant_id, order_key, trace_parent, payload)
    select x.job, x.pool, x.queue, p_priority, p_max_attempts, p_kind, p_tenant, x.key, p_trace, x.payload::jsonb
    from unnest(v_jobs, p_pools, p_queues, p_order_keys, p_payloads) x(job, pool, queue, key, payload);
    -- As `job_admit_v1`; in the order of the keys, as everybody locks more than one.
    with k as (
        insert into job_key (key, head_id) select x.key, x.job from unnest(p_order_keys, v_jobs) x(key, job) order by x.key
        on conflict (key) do update set head_id = job_key.head_id
        returning head_id
    )
    select array_agg(k.head_id) into v_heads from k;
    insert into job_ready (job_id, pool_id, queue_id, priority, attempt, crashes, kind)
    select x.job, x.pool, x.queue, p_priority, 0, 0, p_kind
    from unnest(v_jobs, p_pools, p_queues) x(job, pool, queue) where x.job = any(v_heads);
    insert into job_blocked (order_key, job_id, pool_id, queue_id, priority, attempt, crashes, kind)
    select x.key, x.job, x.pool, x.queue, p_priority, 0, 0, p_kind
    from unnest(p_order_keys, v_jobs, p_pools, p_queues) x(key, job, pool, queue) where x.job <> all(v_heads);
    return query
    with asked as (
        insert into machine_operation (id, tenant_id, machine_id, action, state, generation, job_id, reason, requested_by)
        select x.operation, p_tenant, m.id, p_action, 'WAITING', m.generation, x.job, p_reason, p_by
        from unnest(p_operations, p_machines, v_jobs) with ordinality x(operation, machine, job, o)
        cross join lateral (select * from machine t where t.id = x.machine offset 0) m
        order by x.o
        returning job_id, generation, created_at
    )
    select a.job_id, a.generation, a.created_at from asked a order by a.job_id;
end $$;

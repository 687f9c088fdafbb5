-- What is asked of one machine is one call where nothing is to be decided, and what is asked by one statement is told by one.

-- As in 0046: whoever keeps it busy keeps none of the others waiting for long.
set local lock_timeout = '500ms';
lock table machine_operation in access exclusive mode;

-- Holds a tenant's machine as `machine_hold_v2` does, and, where what waits for it and what it shall be leave nothing to
-- decide, enters an operation as `machine_ask_v1` does: in one call, and with all that is told of the machine. Without
-- `job_id` nothing was entered, and whoever asks decides. That nothing is to be decided is told by `p_states`, one of which
-- it shall be, and `p_behind`, one of which waits or runs last, if anything does; and its host is not drained.
create function machine_request_v1(
    p_operation uuid, p_tenant uuid, p_machine uuid, p_action text, p_snapshot uuid, p_wanted text, p_states text[], p_behind text[], p_by text, p_reason text,
    p_off boolean, p_kind text, p_priority smallint, p_max_attempts smallint, p_order_key text, p_trace text, p_payload text,
    out no integer, out draining boolean, out wanted text, out generation bigint, out ids uuid[], out actions text[], out states text[],
    out job_id bigint, out asked_at timestamptz, out department_id uuid, out host_id uuid, out host text, out name text, out spec jsonb,
    out seen text, out seen_reason text, out seen_at timestamptz, out created_by text, out created_at timestamptz)
language plpgsql
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_pool integer;
begin
    select m.host_id, m.wanted, m.generation, m.department_id, m.name, m.spec, m.seen, m.seen_reason, m.seen_at, m.created_by, m.created_at
    into host_id, wanted, generation, department_id, name, spec, seen, seen_reason, seen_at, created_by, created_at
    from machine m where m.tenant_id = p_tenant and m.id = p_machine and m.destroyed_at is null for update;
    if not found then
        return;
    end if;
    -- Statements of their own after the lock: they see what was committed before.
    select h.no, h.draining_at is not null, h.name into no, draining, host from host h where h.id = machine_request_v1.host_id;
    select coalesce(array_agg(o.id order by o.generation), '{}'), coalesce(array_agg(o.action order by o.generation), '{}'),
        coalesce(array_agg(o.state order by o.generation), '{}')
    into ids, actions, states
    from machine_operation o where o.machine_id = p_machine and o.ended_at is null;
    if draining or wanted <> all(p_states) or cardinality(actions) > 0 and actions[cardinality(actions)] <> all(p_behind) then
        return;
    end if;
    v_pool := 1000000 + 2 * no;
    wanted := coalesce(p_wanted, wanted);
    select a.job_id, a.generation into job_id, generation
    from machine_ask_v1(p_operation, p_tenant, p_machine, p_action, p_snapshot, wanted, p_by, p_reason, case when p_off then 3000000 + no else v_pool end,
        v_pool, p_kind, p_priority, p_max_attempts, p_order_key, p_trace, p_payload) a;
    asked_at := now();
end $$;

-- As `event_of_operation_v1` of what is entered, which waits or has its place taken at once; one statement for all the
-- operations of a statement.
create function event_of_operations_v3() returns trigger
language plpgsql security definer as $$
begin
    insert into event (tenant_id, topic, topic_id, department_id, name, data)
    select n.tenant_id, 'MACHINE', n.machine_id, (select m.department_id from machine m where m.id = n.machine_id), 'vms:progress',
        jsonb_build_object('id', n.machine_id, 'operationId', n.id, 'action', n.action, 'state', n.state,
            'generation', n.generation, 'error', event_part_v1(n.error), 'reason', event_part_v1(n.reason))
    from news n order by n.machine_id, n.generation;
    return null;
end $$;

drop trigger event_made on machine_operation;
create trigger event_made after insert on machine_operation referencing new table as news
    for each statement execute function event_of_operations_v3();

do $$
begin
    execute format('alter function event_of_operations_v3() set search_path = %I, pg_temp', current_schema());
    revoke all on function event_of_operations_v3() from public;
end $$;

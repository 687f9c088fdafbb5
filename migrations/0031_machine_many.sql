-- Operations on machines for less: what a worker begins and ends at once goes into one call and one commit.
--
-- One by one, each operation cost a commit to begin and a transaction of five calls to end. The functions
-- for one stay, for executables that call them; both may be at work on one database.

-- `machine_begin_v1` for many, each as if alone; answers in the order of the asking.
create function machine_begin_many_v1(p_operations uuid[], p_hosts uuid[], p_holders uuid[], p_epochs bigint[])
returns table (
    became text, tenant_id uuid, machine_id uuid, action text, snapshot_id uuid, stage smallint,
    asked_ms bigint, generation bigint, reason text, wanted text, spec jsonb)
language plpgsql
set enable_seqscan = off
as $$
declare
    v_i integer;
begin
    -- All machines first and in order, as everybody locks more than one.
    perform from machine m where m.id = any(array(select o.machine_id from machine_operation o where o.id = any(p_operations))) order by m.id for update;
    for v_i in 1 .. cardinality(p_operations) loop
        return query select * from machine_begin_v1(p_operations[v_i], p_hosts[v_i], p_holders[v_i], p_epochs[v_i]);
    end loop;
end $$;

-- Ends an operation, as `machine_settle_v1`, but decides before it writes: nobody need roll back, so that many
-- share a transaction. Tells as well whether anybody waits for the end.
create function machine_settle_v2(
    p_operation uuid, p_host uuid, p_holder uuid, p_epoch bigint, p_error text, p_seen text, p_seen_reason text, p_drift text,
    out became text, out awaited boolean)
language plpgsql
set enable_seqscan = off
as $$
declare
    v_machine uuid;
    v_action text;
    v_snapshot uuid;
    v_generation bigint;
    v_gone boolean;
begin
    awaited := false;
    select o.machine_id into v_machine from machine_operation o where o.id = p_operation;
    perform from machine m where m.id = v_machine for update;
    -- A statement of its own after the lock: it sees what was committed before.
    select o.action, o.snapshot_id, o.generation,
        case when m.host_id = p_host and m.applied = o.generation and m.seen_epoch <= p_epoch then 'settled' else 'lost' end
    into v_action, v_snapshot, v_generation, became
    from machine_operation o join machine m on m.id = o.machine_id where o.id = p_operation and o.ended_at is null;
    if not found then
        became := 'ended';
        return;
    end if;
    if became = 'settled' and not host_fence_v1(p_host, p_holder, p_epoch) then
        became := 'lost';
    end if;
    if became = 'lost' then
        return;
    end if;
    update machine_operation o set state = case when p_error is null then 'SUCCEEDED' else 'FAILED' end, error = p_error, ended_at = now()
    where o.id = p_operation;
    v_gone := p_error is null and v_action = 'DESTROY';
    update machine m set seen = p_seen, seen_reason = p_seen_reason, seen_at = now(), seen_epoch = p_epoch,
        drift = case when not exists (select from machine_operation o where o.machine_id = v_machine and o.ended_at is null) then p_drift end,
        destroyed_at = case when v_gone then now() end, updated_at = now()
    where m.id = v_machine;
    if v_gone then
        delete from machine_snapshot s where s.machine_id = v_machine;
    elsif v_snapshot is not null then
        perform machine_snapshot_end_v1(v_action, v_snapshot, p_error is null, p_seen);
    end if;
    -- Whoever begins to wait holds the machine, as this does.
    awaited := exists (select from run_waiter w where w.operation_id = p_operation);
end $$;

-- `machine_settle_v2` for many, each as if alone; answers in the order of the asking.
create function machine_settle_many_v1(
    p_operations uuid[], p_hosts uuid[], p_holders uuid[], p_epochs bigint[], p_errors text[], p_seen text[], p_seen_reasons text[], p_drifts text[])
returns table (became text, awaited boolean)
language plpgsql
set enable_seqscan = off
as $$
declare
    v_i integer;
begin
    perform from machine m where m.id = any(array(select o.machine_id from machine_operation o where o.id = any(p_operations))) order by m.id for update;
    for v_i in 1 .. cardinality(p_operations) loop
        return query select * from machine_settle_v2(p_operations[v_i], p_hosts[v_i], p_holders[v_i], p_epochs[v_i],
            p_errors[v_i], p_seen[v_i], p_seen_reasons[v_i], p_drifts[v_i]);
    end loop;
end $$;

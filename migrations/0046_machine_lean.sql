-- Operations on machines for less again: what a mutation asks is two calls, what a worker begins or ends at once is
-- written by one statement for all, and the events of it are one insert.
--
-- The functions before these stay, for executables that call them; both may be at work on one database.

-- As in 0041: whoever keeps one of them busy keeps none of the others waiting for long.
set local lock_timeout = '500ms';
lock table machine, machine_operation, event in access exclusive mode;

-- Nothing is looked for by it: an operation is found by its id or by its machine. Each cost two entries in it.
drop index machine_operation_tenant;

-- -------------------------------------------------------------------------------------------- the asking

-- Enters a tenant, as `millrace.tenant` says, and tells how a user stands in it: the second sees by the first.
create function tenant_enter_v1(p_tenant uuid, p_user uuid, p_local boolean)
returns table (
    id uuid, slug text, title text, disabled_at timestamptz, created_at timestamptz, modules text[], role text, grants text[])
language plpgsql
as $$
#variable_conflict use_column
begin
    perform set_config('millrace.tenant', p_tenant::text, p_local);
    return query
    select t.id, t.slug, t.title, t.disabled_at, t.created_at, t.modules, m.role,
        (select coalesce(array_agg(g) filter (where g is not null), '{}')
            from membership_role x
            join tenant_role r on r.tenant_id = x.tenant_id and r.id = x.role_id
            left join lateral unnest(r.grants) g on true
            where x.tenant_id = t.id and x.user_id = p_user having count(*) > 0)
    from tenant t left join membership m on m.tenant_id = t.id and m.user_id = p_user
    where t.id = p_tenant;
end $$;

-- Holds a tenant's machine until the transaction ends, and tells what was asked of it and has not ended, in the order
-- in which it is done. `no` is null where there is no such machine.
create function machine_hold_v1(
    p_tenant uuid, p_machine uuid,
    out no integer, out draining boolean, out wanted text, out generation bigint, out ids uuid[], out actions text[], out states text[])
language plpgsql
set enable_seqscan = off
as $$
#variable_conflict use_column
begin
    select h.no, h.draining_at is not null, m.wanted, m.generation into no, draining, wanted, generation
    from machine m join host h on h.id = m.host_id
    where m.tenant_id = p_tenant and m.id = p_machine and m.destroyed_at is null for update of m;
    if not found then
        return;
    end if;
    -- A statement of its own after the lock: it sees what was committed before.
    select coalesce(array_agg(o.id order by o.generation), '{}'), coalesce(array_agg(o.action order by o.generation), '{}'),
        coalesce(array_agg(o.state order by o.generation), '{}')
    into ids, actions, states
    from machine_operation o where o.machine_id = p_machine and o.ended_at is null;
end $$;

-- Enters an operation on a machine that is held, with its job, and says what the machine shall be.
create function machine_ask_v1(
    p_operation uuid, p_tenant uuid, p_machine uuid, p_action text, p_snapshot uuid, p_wanted text, p_by text, p_reason text,
    p_queue integer, p_pool integer, p_kind text, p_priority smallint, p_max_attempts smallint, p_order_key text, p_trace text, p_payload text,
    out job_id bigint, out generation bigint)
language plpgsql
as $$
#variable_conflict use_column
declare
    v_head boolean;
begin
    update machine m set wanted = p_wanted, generation = m.generation + 1, drift = null, updated_at = now()
    where m.id = p_machine returning m.generation into generation;
    insert into job (pool_id, queue_id, priority, max_attempts, kind, tenant_id, order_key, trace_parent, payload)
    values (p_pool, p_queue, p_priority, p_max_attempts, p_kind, p_tenant, p_order_key, p_trace, p_payload::jsonb)
    returning id into job_id;
    v_head := job_admit_v1(job_id, p_order_key, p_pool, p_queue, p_priority, 0::smallint, 0::smallint, p_kind);
    insert into machine_operation (id, tenant_id, machine_id, action, snapshot_id, state, generation, job_id, reason, requested_by)
    values (p_operation, p_tenant, p_machine, p_action, p_snapshot, 'WAITING', machine_ask_v1.generation, machine_ask_v1.job_id, p_reason, p_by);
end $$;

-- ------------------------------------------------------------------------------------ the worker's two ends

-- Which of these hosts are held, each under its holder and epoch, as `host_fence_v1` says of one. Their leases stay
-- locked until the commit, so that nobody takes a host in between.
create function host_fences_v1(p_hosts uuid[], p_holders uuid[], p_epochs bigint[]) returns boolean[]
language plpgsql
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_held text[];
begin
    select array_agg(s.held) into v_held from (
        select concat_ws(' ', l.name, l.holder, l.epoch) as held from lease l
        where l.name = any(array(select 'host:' || h from unnest(p_hosts) h)) and l.lease_until > clock_timestamp()
        order by l.name for share
    ) s;
    return array(
        select coalesce(concat_ws(' ', 'host:' || x.host, x.holder, x.epoch) = any(v_held), false)
        from unnest(p_hosts, p_holders, p_epochs) with ordinality x(host, holder, epoch, o) order by x.o);
end $$;

-- As before; but where each is there and another machine's, all of them are begun by one statement.
create or replace function machine_begin_many_v1(p_operations uuid[], p_hosts uuid[], p_holders uuid[], p_epochs bigint[])
returns table (
    became text, tenant_id uuid, machine_id uuid, action text, snapshot_id uuid, stage smallint,
    asked_ms bigint, generation bigint, reason text, wanted text, spec jsonb)
language plpgsql
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_machines uuid[];
    v_apart boolean;
    v_held uuid[];
    v_fences boolean[];
    v_i integer;
begin
    select array_agg(o.machine_id), count(distinct o.machine_id) = cardinality(p_operations) into v_machines, v_apart
    from machine_operation o where o.id = any(p_operations);
    -- All machines first and in order, as everybody locks more than one; but not those that somebody else holds.
    select coalesce(array_agg(s.id), '{}') into v_held
    from (select m.id from machine m where m.id = any(v_machines) order by m.id for update skip locked) s;
    if not v_apart then
        for v_i in 1 .. cardinality(p_operations) loop
            if exists (select from machine_operation o where o.id = p_operations[v_i] and o.machine_id <> all(v_held)) then
                became := 'busy';
                return next;
            else
                return query select * from machine_begin_v1(p_operations[v_i], p_hosts[v_i], p_holders[v_i], p_epochs[v_i]);
            end if;
        end loop;
        return;
    end if;
    v_fences := host_fences_v1(p_hosts, p_holders, p_epochs);
    -- A statement of its own after the locks: it sees what was committed before.
    return query
    with v as materialized (
        select x.n, o.id, m.id as machine, o.tenant_id, o.machine_id, o.action, o.snapshot_id, o.stage,
            coalesce((extract(epoch from now() - o.asked_at) * 1000)::bigint, 0) as asked_ms, o.generation, o.reason, m.wanted, m.spec,
            case when m.id is null or o.ended_at is not null then 'ended' when o.machine_id <> all(v_held) then 'busy'
                when m.host_id <> x.host then 'elsewhere' when m.applied > o.generation then 'stale'
                when not v_fences[x.n] then 'lost' else 'begun' end as became
        from unnest(p_operations, p_hosts) with ordinality x(operation, host, n)
        left join lateral (select * from machine_operation t where t.id = x.operation offset 0) o on true
        left join lateral (select * from machine t where t.id = o.machine_id offset 0) m on true
    ),
    b as (
        update machine_operation o set state = 'RUNNING', started_at = coalesce(o.started_at, now())
        where o.id = any(array(select v.id from v where v.became = 'begun'))
    ),
    a as (
        update machine m set applied = v.generation from v
        where v.became = 'begun' and m.id = v.machine and m.applied < v.generation
    )
    select v.became, v.tenant_id, v.machine_id, v.action, v.snapshot_id, v.stage, v.asked_ms, v.generation, v.reason, v.wanted, v.spec
    from v order by v.n;
end $$;

-- As before; but where each is there and another machine's, and none concerns a snapshot or is the machine's last, all of them
-- are ended by one statement.
create or replace function machine_settle_many_v1(
    p_operations uuid[], p_hosts uuid[], p_holders uuid[], p_epochs bigint[], p_errors text[], p_seen text[], p_seen_reasons text[], p_drifts text[])
returns table (became text, awaited boolean)
language plpgsql
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_machines uuid[];
    v_plain boolean;
    v_held uuid[];
    v_fences boolean[];
    v_i integer;
begin
    select array_agg(o.machine_id),
        count(distinct o.machine_id) = cardinality(p_operations) and bool_and(o.snapshot_id is null and o.action <> 'DESTROY')
    into v_machines, v_plain
    from machine_operation o where o.id = any(p_operations);
    select coalesce(array_agg(s.id), '{}') into v_held
    from (select m.id from machine m where m.id = any(v_machines) order by m.id for update skip locked) s;
    if v_plain is not true then
        for v_i in 1 .. cardinality(p_operations) loop
            if exists (select from machine_operation o where o.id = p_operations[v_i] and o.machine_id <> all(v_held)) then
                became := 'busy';
                awaited := false;
                return next;
            else
                return query select * from machine_settle_v2(p_operations[v_i], p_hosts[v_i], p_holders[v_i], p_epochs[v_i],
                    p_errors[v_i], p_seen[v_i], p_seen_reasons[v_i], p_drifts[v_i]);
            end if;
        end loop;
        return;
    end if;
    v_fences := host_fences_v1(p_hosts, p_holders, p_epochs);
    -- A statement of its own after the locks: it sees what was committed before.
    return query
    with v as materialized (
        select x.n, o.id, o.machine_id as machine, x.epoch, p_errors[x.n] as error,
            case when m.id is null or o.ended_at is not null then 'ended' when o.machine_id <> all(v_held) then 'busy'
                when m.host_id = x.host and m.applied = o.generation and m.seen_epoch <= x.epoch and v_fences[x.n] then 'settled' else 'lost' end as became,
            -- Whoever begins to wait holds the machine, as this does.
            exists (select from run_waiter w where w.operation_id = x.operation) as awaited,
            exists (select from machine_operation t where t.machine_id = o.machine_id and t.ended_at is null and t.id <> o.id) as followed
        from unnest(p_operations, p_hosts, p_epochs) with ordinality x(operation, host, epoch, n)
        left join lateral (select * from machine_operation t where t.id = x.operation offset 0) o on true
        left join lateral (select * from machine t where t.id = o.machine_id offset 0) m on true
    ),
    e as (
        update machine_operation o set state = case when v.error is null then 'SUCCEEDED' else 'FAILED' end, error = v.error, ended_at = now()
        from v where v.became = 'settled' and o.id = v.id
    ),
    s as (
        update machine m set seen = p_seen[v.n], seen_reason = p_seen_reasons[v.n], seen_at = now(), seen_epoch = v.epoch,
            drift = case when not v.followed then p_drifts[v.n] end, updated_at = now()
        from v where v.became = 'settled' and m.id = v.machine
    )
    select v.became, v.became = 'settled' and v.awaited from v order by v.n;
end $$;

-- Those of these machines that are not destroyed, as a look at their hosts compares them. Of a few, the planner would
-- think anew each time.
create function machine_recorded_v1(p_machines uuid[])
returns table (
    id uuid, host_id uuid, tenant_id uuid, wanted text, seen text, drift text, applied bigint, busy boolean, acting boolean, unmade boolean)
language plpgsql stable
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
    return query
    select m.id, m.host_id, m.tenant_id, m.wanted, m.seen, m.drift, m.applied,
        exists (select from machine_operation o where o.machine_id = m.id and o.ended_at is null),
        exists (select from machine_operation o where o.machine_id = m.id and o.ended_at is null and o.state = 'RUNNING'),
        m.seen = 'UNKNOWN' and (m.applied = 0 or exists (
            select from machine_operation o where o.machine_id = m.id and o.generation = m.applied and o.action in ('CREATE', 'DEFINE')))
    from machine m where m.id = any(p_machines) and m.destroyed_at is null;
end $$;

-- --------------------------------------------------------------------------------------------- the events

-- Whoever writes events are the triggers alone, and what they write stands in their text: looked at anew by every
-- statement, this cost as much as the rest of its insert.
alter table event drop constraint event_topic_known;

-- As `event_of_operation_v1`, one statement for all the operations of a statement.
create function event_of_operations_v2() returns trigger
language plpgsql security definer
-- Those before and after are met by a hash: one by one, two hundred would be met forty thousand times.
set enable_nestloop = off
as $$
begin
    insert into event (tenant_id, topic, topic_id, department_id, name, data)
    select n.tenant_id, 'MACHINE', n.machine_id, (select m.department_id from machine m where m.id = n.machine_id),
        'vms:' || case n.state
            when 'RUNNING' then 'started'
            when 'FAILED' then 'failed'
            when 'SUCCEEDED' then case n.action
                when 'START' then 'power_on'
                when 'STOP' then 'power_off'
                when 'FORCE_OFF' then 'forced:poweroff'
                when 'SUSPEND' then 'suspend'
                when 'RESUME' then 'resume'
                when 'RESTART' then 'restarted'
                when 'RESET' then 'reset'
                when 'SNAPSHOT_CREATE' then 'snapshot:created'
                when 'SNAPSHOT_REVERT' then 'snapshot:restored'
                when 'SNAPSHOT_DELETE' then 'snapshot:deleted'
                else 'completed' end
            else 'progress' end,
        jsonb_build_object('id', n.machine_id, 'operationId', n.id, 'action', n.action, 'state', n.state,
            'generation', n.generation, 'error', event_part_v1(n.error), 'reason', event_part_v1(n.reason))
    from olds o join news n on n.id = o.id
    where o.state is distinct from n.state
    order by n.machine_id, n.generation;
    return null;
end $$;

drop trigger event_changed on machine_operation;
create trigger event_changed after update on machine_operation referencing old table as olds new table as news
    for each statement execute function event_of_operations_v2();

-- As `event_of_machine_v1`, which also looks whether there is anything to tell: a trigger's condition is read from its
-- text by every statement.
create function event_of_machine_v2() returns trigger
language plpgsql security definer as $$
declare
    v_action text := 'status_changed';
begin
    if (old.name, old.department_id, old.host_id, old.wanted, old.seen, old.seen_reason, old.drift, old.destroyed_at)
        is not distinct from (new.name, new.department_id, new.host_id, new.wanted, new.seen, new.seen_reason, new.drift, new.destroyed_at)
    then
        return null;
    end if;
    if new.destroyed_at is not null and old.destroyed_at is null then
        v_action := 'delete';
    elsif (old.wanted, old.seen, old.seen_reason, old.drift) is not distinct from (new.wanted, new.seen, new.seen_reason, new.drift) then
        v_action := 'update';
    end if;
    insert into event (tenant_id, topic, topic_id, department_id, name, data)
    values (new.tenant_id, 'MACHINE', new.id, new.department_id, 'vms:' || v_action, jsonb_build_object(
        'id', new.id, 'name', new.name, 'departmentId', new.department_id, 'wanted', new.wanted, 'seen', new.seen,
        'seenReason', event_part_v1(new.seen_reason), 'drift', new.drift, 'generation', new.generation));
    -- The department that it leaves hears of it for the last time.
    if old.department_id is distinct from new.department_id and old.department_id is not null then
        insert into event (tenant_id, topic, topic_id, name, data)
        values (new.tenant_id, 'DEPARTMENT', old.department_id, 'vms:removed', jsonb_build_object('id', new.id, 'name', new.name));
    end if;
    return null;
end $$;

drop trigger event_changed on machine;
create trigger event_changed after update of name, department_id, host_id, wanted, seen, seen_reason, drift, destroyed_at on machine
    for each row execute function event_of_machine_v2();

do $$
declare
    v_function regprocedure;
begin
    foreach v_function in array array['event_of_operations_v2()', 'event_of_machine_v2()']::regprocedure[] loop
        execute format('alter function %s set search_path = %I, pg_temp', v_function, current_schema());
        execute format('revoke all on function %s from public', v_function);
    end loop;
end $$;

select wall_furnish_v1();

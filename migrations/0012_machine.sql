-- Machines: what shall run where, what was asked for, and what was seen.
--
-- A host belongs to the installation; departments, machines and what is done to them belong to a tenant.
-- What a machine shall be (`wanted`) changes in the transaction that accepts an operation, together with
-- the operation's row and its job. What it is (`seen`) is written only by the worker that holds the host,
-- under two fences: the epoch of the host's lease, and the generation of the operation that last acted.

create table department (
    id uuid primary key,
    tenant_id uuid not null references tenant (id),
    name text not null
        constraint department_name_length check (char_length(name) between 1 and 255),
    created_at timestamptz not null default now(),
    constraint department_in_tenant unique (tenant_id, id)
);
create unique index department_name_unique on department (tenant_id, lower(name));

-- A host's number makes the numbers of its two pools and queues: 1000000 + 2 * no + class.
create sequence host_no_seq as integer minvalue 0 maxvalue 999999 start with 0;

create table host (
    id uuid primary key,
    no integer not null default nextval('host_no_seq')
        constraint host_no_unique unique,
    name text not null
        constraint host_name_unique unique
        constraint host_name_form check (name ~ '^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$'),
    uri text not null,
    hypervisor text,
    cpus integer,
    memory_mib bigint,
    vm_slots integer not null,
    health_slots integer not null,
    reach text not null default 'UNREACHABLE'
        constraint host_reach_known check (reach in ('ONLINE', 'DEGRADED', 'UNREACHABLE')),
    reach_reason text,
    epoch bigint not null default 0,
    draining_at timestamptz,
    draining_by text,
    reported_at timestamptz,
    listed_at timestamptz,
    created_at timestamptz not null default now()
);
comment on column host.epoch is 'Under which holding of the lease `host:<id>` the last report was written. A report under a lower one is refused.';
comment on column host.listed_at is 'When all machines of the host were last compared with what is recorded.';

-- Makes a host with its pools and queues, or finds the one of that name.
create function host_register_v1(p_id uuid, p_name text, p_uri text, p_vm_slots integer, p_health_slots integer, out id uuid, out no integer)
language plpgsql as $$
#variable_conflict use_column
declare
    v_class text;
    v_pool integer;
begin
    select h.id, h.no into id, no from host h where h.name = p_name;
    if found then
        return;
    end if;
    insert into host as h (id, name, uri, vm_slots, health_slots) values (p_id, p_name, p_uri, p_vm_slots, p_health_slots)
    on conflict on constraint host_name_unique do update set name = excluded.name
    returning h.id, h.no into id, no;
    for v_class, v_pool in select c, 1000000 + 2 * host_register_v1.no + (o - 1)::integer from unnest(array['vm', 'health']) with ordinality x(c, o) loop
        insert into job_pool (id, name) values (v_pool, v_class || '@' || p_name) on conflict do nothing;
        insert into job_queue (id, name, pool_id) values (v_pool, v_class || '@' || p_name, v_pool) on conflict do nothing;
    end loop;
end $$;

create table machine (
    id uuid primary key,
    tenant_id uuid not null references tenant (id),
    department_id uuid,
    host_id uuid not null references host (id),
    name text not null
        constraint machine_name_form check (name ~ '^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$'),
    spec jsonb not null,
    wanted text not null
        constraint machine_wanted_known check (wanted in ('RUNNING', 'OFF', 'SUSPENDED', 'DESTROYED')),
    seen text not null default 'UNKNOWN',
    seen_reason text,
    seen_at timestamptz,
    seen_epoch bigint not null default 0,
    generation bigint not null default 0,
    applied bigint not null default 0,
    drift text,
    created_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    destroyed_at timestamptz,
    constraint machine_in_tenant unique (tenant_id, id),
    -- Both columns, so that no machine enters a department of another tenant.
    constraint machine_department foreign key (tenant_id, department_id) references department (tenant_id, id)
) with (fillfactor = 70);
create unique index machine_name_unique on machine (tenant_id, name) where destroyed_at is null;
create index machine_host on machine (host_id) where destroyed_at is null;
create index machine_of_department on machine (tenant_id, department_id) where destroyed_at is null;
comment on column machine.generation is 'Counts what was asked for. Each operation carries the number that it got.';
comment on column machine.applied is 'The generation of the operation that last acted on the machine. A report that knows of a lower one is refused.';
comment on column machine.drift is 'How what is seen differs from what is wanted, when no operation is under way; corrected only by an operation.';

create table machine_operation (
    id uuid primary key,
    tenant_id uuid not null,
    machine_id uuid not null,
    action text not null,
    snapshot_id uuid,
    state text not null
        constraint machine_operation_state_known check (state in ('WAITING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'SUPERSEDED')),
    stage smallint not null default 0,
    asked_at timestamptz,
    generation bigint not null,
    job_id bigint,
    reason text,
    error text,
    superseded_by uuid,
    requested_by text not null,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    ended_at timestamptz,
    constraint machine_operation_machine foreign key (tenant_id, machine_id) references machine (tenant_id, id)
) with (fillfactor = 70);
create index machine_operation_pending on machine_operation (machine_id, generation) where ended_at is null;
create index machine_operation_machine on machine_operation (machine_id, id desc);
create index machine_operation_tenant on machine_operation (tenant_id, id desc);
comment on column machine_operation.stage is 'How far it has come, for whoever takes it over: 0 begun, 1 guest asked to stop, 2 seen off in a restart, 3 acted without a trace.';

create table machine_snapshot (
    id uuid primary key,
    tenant_id uuid not null,
    machine_id uuid not null,
    name text not null,
    description text not null default '',
    state text not null default 'CREATING'
        constraint machine_snapshot_state_known check (state in ('CREATING', 'READY', 'DELETING', 'FAILED')),
    seen text,
    created_by text not null,
    created_at timestamptz not null default now(),
    taken_at timestamptz,
    constraint machine_snapshot_machine foreign key (tenant_id, machine_id) references machine (tenant_id, id)
);
create unique index machine_snapshot_name_unique on machine_snapshot (machine_id, name) where state <> 'FAILED';

-- Puts a machine on another host, and with it, in the same commit, the jobs that wait for it. Answers
-- moved, busy (an operation is being performed; roll back), there (it is on that host already) or unknown.
create function machine_move_v1(p_machine uuid, p_host uuid, p_key text, out became text, out woken integer[])
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_from integer;
    v_to integer;
    v_here uuid;
    v_ids bigint[];
begin
    woken := '{}';
    became := 'unknown';
    select m.host_id, h.no into v_here, v_from from machine m join host h on h.id = m.host_id where m.id = p_machine for update of m;
    if not found then
        return;
    end if;
    select h.no into v_to from host h where h.id = p_host;
    if not found then
        return;
    end if;
    if v_here = p_host then
        became := 'there';
        return;
    end if;
    -- Whoever enqueues or acknowledges for the machine waits for this row.
    perform from job_key where key = p_key for update;
    v_ids := array(select o.job_id from machine_operation o where o.machine_id = p_machine and o.ended_at is null and o.job_id is not null order by o.job_id);
    -- The thin rows first: what a worker claims at this moment is no longer there, and is found leased.
    update job_ready set pool_id = 1000000 + 2 * v_to, queue_id = 1000000 + 2 * v_to, pos = nextval('job_pos_seq') where job_id = any(v_ids);
    update job_scheduled set pool_id = 1000000 + 2 * v_to, queue_id = 1000000 + 2 * v_to where job_id = any(v_ids);
    update job_blocked set pool_id = 1000000 + 2 * v_to, queue_id = 1000000 + 2 * v_to where job_id = any(v_ids);
    if exists (select from job_lease l where l.job_id = any(v_ids)) then
        became := 'busy';
        return;
    end if;
    update job set pool_id = 1000000 + 2 * v_to, queue_id = 1000000 + 2 * v_to where id = any(v_ids);
    update machine set host_id = p_host, seen = 'UNKNOWN', seen_reason = 'moved to another host', seen_at = now(), seen_epoch = 0, updated_at = now() where id = p_machine;
    became := 'moved';
    woken := array[1000000 + 2 * v_to];
end $$;

-- Whether the lease of a host is held under this epoch now. The row stays locked until the commit, so that
-- nobody takes the host in between.
create function host_fence_v1(p_host uuid, p_holder uuid, p_epoch bigint) returns boolean
language plpgsql as $$
begin
    perform from lease where name = 'host:' || p_host::text and holder = p_holder and epoch = p_epoch and lease_until > clock_timestamp() for share;
    return found;
end $$;

-- Begins an operation for the worker that holds its machine's host, or goes on with it. Answers begun;
-- ended (nothing is left to do); elsewhere (the machine is on another host); stale (a later operation
-- has acted); lost (the host is another's).
create function machine_begin_v1(
    p_operation uuid, p_host uuid, p_holder uuid, p_epoch bigint,
    out became text, out tenant_id uuid, out machine_id uuid, out action text, out snapshot_id uuid, out stage smallint,
    out asked_ms bigint, out generation bigint, out reason text, out wanted text, out spec jsonb)
language plpgsql
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    v_host uuid;
    v_applied bigint;
begin
    select o.machine_id into machine_id from machine_operation o where o.id = p_operation;
    if not found then
        became := 'ended';
        return;
    end if;
    -- The machine first, as everybody who asks something of it does.
    select m.host_id, m.applied, m.wanted, m.spec into v_host, v_applied, wanted, spec from machine m where m.id = machine_begin_v1.machine_id for update;
    select o.tenant_id, o.action, o.snapshot_id, o.stage, coalesce((extract(epoch from now() - o.asked_at) * 1000)::bigint, 0), o.generation, o.reason
    into tenant_id, action, snapshot_id, stage, asked_ms, generation, reason
    from machine_operation o where o.id = p_operation and o.ended_at is null;
    became := case when not found then 'ended' when v_host <> p_host then 'elsewhere' when v_applied > machine_begin_v1.generation then 'stale'
        when not host_fence_v1(p_host, p_holder, p_epoch) then 'lost' else 'begun' end;
    if became = 'begun' then
        update machine_operation o set state = 'RUNNING', started_at = coalesce(o.started_at, now()) where o.id = p_operation;
        update machine m set applied = machine_begin_v1.generation where m.id = machine_begin_v1.machine_id and m.applied < machine_begin_v1.generation;
    end if;
end $$;

-- Notes how far an operation has come. Answers whether it may go on: it has not ended, and the host is held.
create function machine_note_v1(p_operation uuid, p_host uuid, p_holder uuid, p_epoch bigint, p_stage smallint) returns boolean
language plpgsql as $$
begin
    update machine_operation set stage = p_stage, asked_at = case when p_stage = 1 then coalesce(asked_at, now()) else asked_at end
    where id = p_operation and ended_at is null;
    return found and host_fence_v1(p_host, p_holder, p_epoch);
end $$;

-- What ends with an operation among its machine's snapshots.
create function machine_snapshot_end_v1(p_action text, p_snapshot uuid, p_ok boolean, p_seen text) returns void
language plpgsql as $$
begin
    if p_action = 'SNAPSHOT_CREATE' then
        update machine_snapshot set state = case when p_ok then 'READY' else 'FAILED' end, taken_at = case when p_ok then now() end, seen = p_seen where id = p_snapshot;
    elsif p_action = 'SNAPSHOT_DELETE' and p_ok then
        delete from machine_snapshot where id = p_snapshot;
    elsif p_action = 'SNAPSHOT_DELETE' then
        update machine_snapshot set state = 'READY' where id = p_snapshot;
    end if;
end $$;

-- Ends an operation with what was seen last. Answers settled; or ended (another took its place) or lost
-- (the host is another's): then nothing is written, and the caller rolls back.
create function machine_settle_v1(
    p_operation uuid, p_host uuid, p_holder uuid, p_epoch bigint, p_ok boolean, p_error text, p_seen text, p_seen_reason text, p_drift text)
returns text
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
    select o.machine_id into v_machine from machine_operation o where o.id = p_operation;
    perform from machine m where m.id = v_machine for update;
    update machine_operation o set state = case when p_ok then 'SUCCEEDED' else 'FAILED' end, error = p_error, ended_at = now()
    where o.id = p_operation and o.ended_at is null returning o.action, o.snapshot_id, o.generation into v_action, v_snapshot, v_generation;
    if not found then
        return 'ended';
    end if;
    v_gone := p_ok and v_action = 'DESTROY';
    update machine m set seen = p_seen, seen_reason = p_seen_reason, seen_at = now(), seen_epoch = p_epoch,
        drift = case when not exists (select from machine_operation o where o.machine_id = v_machine and o.ended_at is null) then p_drift end,
        destroyed_at = case when v_gone then now() end, updated_at = now()
    where m.id = v_machine and m.host_id = p_host and m.applied = v_generation and m.seen_epoch <= p_epoch;
    if not found then
        return 'lost';
    end if;
    if v_gone then
        delete from machine_snapshot s where s.machine_id = v_machine;
    elsif v_snapshot is not null then
        perform machine_snapshot_end_v1(v_action, v_snapshot, p_ok, p_seen);
    end if;
    return case when host_fence_v1(p_host, p_holder, p_epoch) then 'settled' else 'lost' end;
end $$;

-- Ends, as failed, an operation whose job can do nothing for it any more.
create function machine_fail_v1(p_operation uuid, p_error text) returns boolean
language plpgsql as $$
declare
    v_action text;
    v_snapshot uuid;
begin
    update machine_operation o set state = 'FAILED', error = p_error, ended_at = now()
    where o.id = p_operation and o.ended_at is null returning o.action, o.snapshot_id into v_action, v_snapshot;
    if not found then
        return false;
    end if;
    if v_snapshot is not null then
        perform machine_snapshot_end_v1(v_action, v_snapshot, false, null);
    end if;
    return true;
end $$;

-- Writes what was seen of many machines of a host outside of any operation. A machine is passed over when
-- an operation has acted since (`p_applied` is what was recorded before the look) or is about it.
create function machine_seen_v1(p_host uuid, p_holder uuid, p_epoch bigint, p_ids uuid[], p_applied bigint[], p_seen text[], p_reasons text[], p_drifts text[])
returns integer
language plpgsql as $$
declare
    v_written integer;
begin
    with x as materialized (
        select m.id, v.seen, v.reason, v.drift from unnest(p_ids, p_applied, p_seen, p_reasons, p_drifts) v(id, applied, seen, reason, drift)
        join machine m on m.id = v.id
        where m.host_id = p_host and m.applied = v.applied and m.seen_epoch <= p_epoch and m.destroyed_at is null
            and (m.seen, m.drift, m.seen_epoch) is distinct from (v.seen, v.drift, p_epoch)
            and not exists (select from machine_operation o where o.machine_id = m.id and o.state = 'RUNNING' and o.ended_at is null)
        order by m.id for update of m skip locked
    )
    update machine m set seen = x.seen, seen_reason = x.reason, seen_at = now(), seen_epoch = p_epoch,
        drift = case when not exists (select from machine_operation o where o.machine_id = m.id and o.ended_at is null) then x.drift end
    from x where m.id = x.id;
    get diagnostics v_written = row_count;
    if not host_fence_v1(p_host, p_holder, p_epoch) then
        return -1;
    end if;
    return v_written;
end $$;

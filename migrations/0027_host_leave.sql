-- Hosts that are emptied, and hosts that go.
--
-- A drain begins nothing, and so kept a host's machines from being switched off, which is what it is for. What leaves
-- no more running than there was has a queue of its own now, in the same pool, which a drain does not pause.
--
-- A host that is removed keeps its row, its number and its queues, and is shown nowhere: machines that were destroyed
-- on it, finished jobs and dead letters name them, and a worker that serves one of its name again brings it back.

alter table host add column removed_at timestamptz;
alter table host add column removed_by text;
comment on column host.removed_at is 'Since when it is removed: nobody sees it, and no machine enters it, until a worker registers one of its name.';

insert into job_queue (id, name, pool_id) select 3000000 + no, 'off@' || name, 1000000 + 2 * no from host on conflict do nothing;

-- host_register_v1 with the third queue, which also brings a host back that was removed.
create function host_register_v2(p_id uuid, p_name text, p_uri text, p_vm_slots integer, p_health_slots integer, out id uuid, out no integer)
language plpgsql as $$
#variable_conflict use_column
declare
    v_pool integer;
begin
    select h.id, h.no into id, no from host h where h.name = p_name and h.removed_at is null;
    if found then
        return;
    end if;
    select h.id into id from host h where h.name = p_name;
    if found then
        update host h set removed_at = null, removed_by = null, reach = 'UNREACHABLE', reach_reason = null, reach_since = null
        where h.name = p_name returning h.id, h.no into id, no;
    else
        insert into host as h (id, name, uri, vm_slots, health_slots) values (p_id, p_name, p_uri, p_vm_slots, p_health_slots)
        on conflict on constraint host_name_unique do update set name = excluded.name
        returning h.id, h.no into id, no;
    end if;
    v_pool := 1000000 + 2 * host_register_v2.no;
    insert into job_pool (id, name) values (v_pool, 'vm@' || p_name), (v_pool + 1, 'health@' || p_name) on conflict do nothing;
    insert into job_queue (id, name, pool_id)
    values (v_pool, 'vm@' || p_name, v_pool), (v_pool + 1, 'health@' || p_name, v_pool + 1), (3000000 + host_register_v2.no, 'off@' || p_name, v_pool)
    on conflict do nothing;
end $$;

-- For executables of the version before.
create or replace function host_register_v1(p_id uuid, p_name text, p_uri text, p_vm_slots integer, p_health_slots integer, out id uuid, out no integer)
language sql as $$
    select r.id, r.no from host_register_v2(p_id, p_name, p_uri, p_vm_slots, p_health_slots) r
$$;

-- Removes a host. Answers removed; unknown; inhabited (p_shown of its machines are named, and all counted); held
-- (a worker serves it); or busy (so many jobs stand in its pools). Its machines are everybody's, so it sees all.
create function host_remove_v1(p_name text, p_by text, p_shown integer, out became text, out machines text[], out counted bigint)
language plpgsql security definer as $$
#variable_conflict use_column
declare
    v_id uuid;
    v_no integer;
    v_job bigint;
begin
    -- Whoever puts a machine here holds this row too, so that none comes in between.
    select h.id, h.no into v_id, v_no from host h where h.name = p_name and h.removed_at is null for update;
    if not found then
        became := 'unknown';
        return;
    end if;
    select count(*), (array_agg(m.name order by m.name))[1:p_shown] into counted, machines
    from machine m where m.host_id = v_id and m.destroyed_at is null;
    if counted > 0 then
        became := 'inhabited';
        return;
    end if;
    if exists (select from lease l where l.name = 'host:' || v_id::text and l.lease_until > clock_timestamp()) then
        became := 'held';
        return;
    end if;
    -- A listing or a check that waits concerns no machine any more. An operation is somebody's, and so is all that a
    -- worker has in hand, dead or not.
    select (select count(*) from job_ready r where r.pool_id = 1000000 + 2 * v_no)
        + (select count(*) from job_scheduled s where s.pool_id = 1000000 + 2 * v_no)
        + (select count(*) from job_blocked b where b.pool_id = 1000000 + 2 * v_no)
        + (select count(*) from job_lease l where l.pool_id between 1000000 + 2 * v_no and 1000001 + 2 * v_no)
    into counted;
    if counted > 0 then
        became := 'busy';
        return;
    end if;
    for v_job in
        select r.job_id from job_ready r where r.pool_id = 1000001 + 2 * v_no
        union all select s.job_id from job_scheduled s where s.pool_id = 1000001 + 2 * v_no
    loop
        perform job_cancel_v1(v_job);
    end loop;
    update host set removed_at = now(), removed_by = p_by, draining_at = null, draining_by = null where id = v_id;
    update job_queue set paused_at = null, paused_by = null where pool_id between 1000000 + 2 * v_no and 1000001 + 2 * v_no;
    became := 'removed';
end $$;

-- No machine enters a host that is removed, whoever puts it there. Locked, so that it is not removed meanwhile.
create function machine_host_is_there() returns trigger
language plpgsql as $$
begin
    perform from host h where h.id = new.host_id and h.removed_at is null for key share;
    if not found then
        raise foreign_key_violation using message = 'the host is removed', constraint = 'machine_host_is_there', table = 'machine';
    end if;
    return new;
end $$;

create trigger machine_host_is_there before insert or update of host_id on machine for each row execute function machine_host_is_there();

do $$
begin
    execute format('alter function host_remove_v1(text, text, integer) set search_path = %I, pg_temp', current_schema());
    revoke all on function host_remove_v1(text, text, integer) from public;
end $$;

select wall_furnish_v1();

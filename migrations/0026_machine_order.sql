-- Machines and their checks are locked in one order by everybody, checks follow a machine that moves, and
-- machines that were destroyed go in time.
--
-- The order: machines by their ids, then leases of jobs, then order keys; of checks the health of machines by
-- their ids, then the checks by machine and name, then the jobs. Where two held what the other waited for,
-- Postgres ended one of them, and what it had done was done again.

-- health_follow_v1, with all checks locked in order before the first of them is changed.
create function health_follow_v2(
    p_machines uuid[], p_tenants uuid[], p_wanted text[], p_seen text[], p_answers boolean[], p_statuses text[], p_reasons text[],
    p_spreads_ms integer[], p_names text[], p_interval_s integer)
returns void
language plpgsql as $$
begin
    insert into machine_health as h (machine_id, tenant_id, status, reason, wanted, seen, host_answers)
    select n.machine, n.tenant, n.status, n.reason, n.wanted, n.seen, n.answers
    from unnest(p_machines, p_tenants, p_statuses, p_reasons, p_wanted, p_seen, p_answers) n(machine, tenant, status, reason, wanted, seen, answers)
    order by n.machine
    on conflict (machine_id) do update set
        since = case when h.status = excluded.status then h.since else now() end,
        status = excluded.status, reason = excluded.reason, wanted = excluded.wanted, seen = excluded.seen, host_answers = excluded.host_answers;
    perform from health_check c where c.machine_id = any(p_machines) order by c.machine_id, c.name for update;
    insert into health_check (machine_id, tenant_id, name, interval_s, due_at)
    select n.machine, n.tenant, c.name, p_interval_s, 'infinity'
    from unnest(p_machines, p_tenants) n(machine, tenant) cross join unnest(p_names) c(name)
    order by n.machine, c.name
    on conflict do nothing;
    update health_check c set due_at = case when n.spread_ms is null then 'infinity'
        else least(c.due_at, now() + n.spread_ms * random() * interval '1 millisecond') end
    from unnest(p_machines, p_spreads_ms) n(machine, spread_ms) where c.machine_id = n.machine;
end $$;

-- Forgets the health of machines that are destroyed, and their checks.
create function health_forget_v1(p_machines uuid[]) returns void
language plpgsql as $$
begin
    perform from machine_health h where h.machine_id = any(p_machines) order by h.machine_id for update;
    perform from health_check c where c.machine_id = any(p_machines) order by c.machine_id, c.name for update;
    delete from machine_health h where h.machine_id = any(p_machines);
end $$;

-- machine_move_v2 in one piece, which takes the machine's checks along as well: one that waited on a host without
-- power kept its successors from being made anywhere else. A check that a worker has in hand goes on, and finds
-- out by itself. Each job stays in the queue of its sort.
create function machine_move_v3(p_machine uuid, p_host uuid, p_key text, out became text, out woken integer[])
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_from integer;
    v_to integer;
    v_here uuid;
    v_ids bigint[];
    v_checks bigint[];
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
    v_checks := array(select c.job_id from health_check c where c.machine_id = p_machine and c.job_id is not null order by c.job_id);
    -- The thin rows first: what a worker claims at this moment is no longer there, and is found leased.
    update job_ready set pool_id = 1000000 + 2 * v_to, pos = nextval('job_pos_seq'),
        queue_id = case when queue_id < 3000000 then 1000000 + 2 * v_to else 3000000 + v_to end
    where job_id = any(v_ids);
    update job_scheduled set pool_id = 1000000 + 2 * v_to, queue_id = case when queue_id < 3000000 then 1000000 + 2 * v_to else 3000000 + v_to end
    where job_id = any(v_ids);
    update job_blocked set pool_id = 1000000 + 2 * v_to, queue_id = case when queue_id < 3000000 then 1000000 + 2 * v_to else 3000000 + v_to end
    where job_id = any(v_ids);
    if exists (select from job_lease l where l.job_id = any(v_ids)) then
        became := 'busy';
        return;
    end if;
    update job set pool_id = 1000000 + 2 * v_to, queue_id = case when queue_id < 3000000 then 1000000 + 2 * v_to else 3000000 + v_to end
    where id = any(v_ids);
    update job_ready set pool_id = 1000001 + 2 * v_to, queue_id = 1000001 + 2 * v_to, pos = nextval('job_pos_seq') where job_id = any(v_checks);
    update job_scheduled set pool_id = 1000001 + 2 * v_to, queue_id = 1000001 + 2 * v_to where job_id = any(v_checks);
    -- Of a check that is leased too: should its worker be dead, it is made where the machine is now.
    update job set pool_id = 1000001 + 2 * v_to, queue_id = 1000001 + 2 * v_to where id = any(v_checks);
    -- Its new host has not been told of it, and that is known.
    update machine set host_id = p_host, seen = 'ABSENT', seen_reason = 'moved to another host', seen_at = now(), seen_epoch = 0, drift = null,
        updated_at = now()
    where id = p_machine;
    became := 'moved';
    woken := array[1000000 + 2 * v_to, 1000001 + 2 * v_to];
end $$;

-- Which machines are due to go.
create index machine_destroyed on machine (destroyed_at) where destroyed_at is not null;

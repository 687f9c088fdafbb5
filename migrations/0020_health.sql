-- Health of machines: what is checked and when, what was found last, what was found before.
--
-- A check is a job on the host of its machine, among the host's checks, and enters the queue when it falls due.
-- What a machine shall be and was seen to be decides whether its checks are made at all; it is compared with
-- what the schedule last took in, so that no operation on a machine has to write here.

create table machine_health (
    machine_id uuid primary key,
    tenant_id uuid not null,
    status text not null default 'UNKNOWN'
        constraint machine_health_status_known check (status in ('HEALTHY', 'WARNING', 'CRITICAL', 'UNKNOWN', 'PARKED')),
    reason text,
    since timestamptz not null default now(),
    wanted text not null,
    seen text not null,
    host_answers boolean not null,
    constraint machine_health_machine foreign key (tenant_id, machine_id) references machine (tenant_id, id)
) with (fillfactor = 70);
create index machine_health_tenant on machine_health (tenant_id, machine_id);
comment on table machine_health is 'How a machine is as a whole. Whoever begins or ends a check of it, or asks for one, locks its row.';
comment on column machine_health.wanted is 'What the schedule last took in, with `seen` and `host_answers`: where it differs from the machine, the schedule is behind.';

create table health_check (
    machine_id uuid not null references machine_health (machine_id) on delete cascade,
    tenant_id uuid not null,
    name text not null
        constraint health_check_known check (name in ('REACHABLE', 'STATE', 'CPU_USAGE', 'MEMORY_USAGE', 'DISK_SPACE')),
    enabled boolean not null default true,
    interval_s integer not null
        constraint health_check_interval check (interval_s between 10 and 86400),
    due_at timestamptz not null,
    job_id bigint,
    primary key (machine_id, name)
) with (fillfactor = 70);
create index health_check_due on health_check (due_at) where enabled;
comment on column health_check.due_at is 'When it is next put into the queue. Infinity while the machine is parked or its host does not answer.';
comment on column health_check.job_id is 'The job that last made it, or will.';

create table health_snapshot (
    machine_id uuid not null references machine_health (machine_id) on delete cascade,
    tenant_id uuid not null,
    name text not null,
    verdict text not null
        constraint health_snapshot_verdict_known check (verdict in ('HEALTHY', 'WARNING', 'CRITICAL', 'UNKNOWN')),
    detail text not null,
    figures jsonb not null,
    checked_at timestamptz not null,
    since timestamptz not null,
    took_ms integer not null,
    primary key (machine_id, name)
) with (fillfactor = 70);
comment on table health_snapshot is 'What each check found last.';
comment on column health_snapshot.since is 'Since when its verdict is this one.';

create table health_result (
    id bigint primary key generated always as identity,
    tenant_id uuid not null,
    machine_id uuid not null,
    name text not null,
    verdict text not null,
    detail text not null,
    figures jsonb not null,
    at timestamptz not null default now(),
    took_ms integer not null
);
create index health_result_machine on health_result (machine_id, id desc);
create index health_result_at on health_result (at);
comment on table health_result is 'What checks found before, for some days.';

-- One row per check that may be made at once in the whole installation: who holds none waits. A row that ran
-- out is free, so that a worker that died keeps nobody waiting for long.
create table health_slot (
    no smallint primary key,
    job_id bigint,
    machine_id uuid,
    held_until timestamptz not null default '-infinity'
) with (fillfactor = 50);
insert into health_slot (no) select n from generate_series(1, 50) n;

-- Begins a check for the worker that has its job. Answers begun; full (as many as may are made at once); gone
-- (the machine is destroyed); elsewhere (it is on another host).
create function health_begin_v1(
    p_job bigint, p_machine uuid, p_name text, p_host uuid, p_per_machine integer, p_hold_ms integer,
    out became text, out tenant_id uuid, out wanted text, out is_busy boolean, out figures jsonb, out figures_age_ms bigint)
language plpgsql as $$
#variable_conflict use_column
declare
    v_host uuid;
    v_slot smallint;
begin
    perform from machine_health h where h.machine_id = p_machine for update;
    if found then
        select m.tenant_id, m.wanted, m.host_id into tenant_id, wanted, v_host from machine m where m.id = p_machine and m.destroyed_at is null;
    end if;
    if v_host is null then
        became := 'gone';
        return;
    elsif v_host <> p_host then
        became := 'elsewhere';
        return;
    elsif (select count(*) from health_slot s where s.machine_id = p_machine and s.job_id <> p_job and s.held_until > clock_timestamp()) >= p_per_machine then
        became := 'full';
        return;
    end if;
    select s.no into v_slot from health_slot s where s.job_id = p_job for update;
    if not found then
        select s.no into v_slot from health_slot s where s.held_until <= clock_timestamp() order by s.no limit 1 for update skip locked;
    end if;
    if v_slot is null then
        became := 'full';
        return;
    end if;
    update health_slot s set job_id = p_job, machine_id = p_machine, held_until = clock_timestamp() + p_hold_ms * interval '1 millisecond' where s.no = v_slot;
    select s.figures, (extract(epoch from clock_timestamp() - s.checked_at) * 1000)::bigint into figures, figures_age_ms
    from health_snapshot s where s.machine_id = p_machine and s.name = p_name;
    is_busy := exists (select from machine_operation o where o.machine_id = p_machine and o.ended_at is null);
    became := 'begun';
end $$;

-- Keeps what a check found. Answers recorded; gone or elsewhere, as above; or lost (the host is another's): then
-- the caller rolls back.
create function health_record_v1(
    p_job bigint, p_machine uuid, p_name text, p_host uuid, p_holder uuid, p_epoch bigint, p_verdict text, p_detail text, p_figures jsonb, p_took_ms integer)
returns text
language plpgsql as $$
declare
    v_tenant uuid;
    v_host uuid;
    v_now timestamptz := clock_timestamp();
begin
    perform from machine_health h where h.machine_id = p_machine for update;
    if found then
        select m.tenant_id, m.host_id into v_tenant, v_host from machine m where m.id = p_machine and m.destroyed_at is null;
    end if;
    update health_slot s set job_id = null, machine_id = null, held_until = '-infinity' where s.job_id = p_job;
    if v_host is null then
        return 'gone';
    elsif v_host <> p_host then
        return 'elsewhere';
    elsif not host_fence_v1(p_host, p_holder, p_epoch) then
        return 'lost';
    end if;
    insert into health_snapshot as s (machine_id, tenant_id, name, verdict, detail, figures, checked_at, since, took_ms)
    values (p_machine, v_tenant, p_name, p_verdict, p_detail, p_figures, v_now, v_now, p_took_ms)
    on conflict (machine_id, name) do update set
        since = case when s.verdict = excluded.verdict then s.since else excluded.since end,
        verdict = excluded.verdict, detail = excluded.detail, figures = excluded.figures, checked_at = excluded.checked_at, took_ms = excluded.took_ms;
    insert into health_result (tenant_id, machine_id, name, verdict, detail, figures, at, took_ms)
    values (v_tenant, p_machine, p_name, p_verdict, p_detail, p_figures, v_now, p_took_ms);
    return 'recorded';
end $$;

-- Takes in what the schedule was behind of: a place in the arrays for each machine. Its checks are made when
-- there are none yet, and are due within p_spread_ms, or not at all where that is null.
create function health_follow_v1(
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
    insert into health_check (machine_id, tenant_id, name, interval_s, due_at)
    select n.machine, n.tenant, c.name, p_interval_s, 'infinity'
    from unnest(p_machines, p_tenants) n(machine, tenant) cross join unnest(p_names) c(name)
    on conflict do nothing;
    update health_check c set due_at = case when n.spread_ms is null then 'infinity'
        else least(c.due_at, now() + n.spread_ms * random() * interval '1 millisecond') end
    from unnest(p_machines, p_spreads_ms) n(machine, spread_ms) where c.machine_id = n.machine;
end $$;

-- Says of machines whose host does not answer that nothing is known of them: once, and not at every interval.
create function health_unheard_v1(p_machines uuid[], p_reasons text[]) returns void
language plpgsql as $$
begin
    with n as (select * from unnest(p_machines, p_reasons) n(machine, reason)),
    u as (
        update health_snapshot s set verdict = 'UNKNOWN', detail = n.reason, since = now()
        from n where s.machine_id = n.machine and s.verdict <> 'UNKNOWN' returning s.*
    )
    insert into health_result (tenant_id, machine_id, name, verdict, detail, figures, took_ms)
    select u.tenant_id, u.machine_id, u.name, u.verdict, u.detail, '{}', 0 from u;
end $$;

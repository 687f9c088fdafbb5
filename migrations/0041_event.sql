-- Facts told to people: what became of runs, machines, listeners, departments and users, in one log that can be
-- read again.
--
-- Rows are written by triggers, in the transaction of the change that they tell of and by whatever path that
-- change comes: a statement that somebody forgets, or an executable of before, tells all the same. Tables of jobs
-- have none: a job that is no run's and no machine's costs nothing here.
--
-- A reader says what it has seen by a snapshot of Postgres, and not by a number: numbers are drawn before the
-- commit, so that a lower one may come to light later. What is not visible in the snapshot is new, whenever its
-- transaction began. Of two events of one subject whose transactions waited for each other, whoever sees the
-- second sees the first, and the first has the lower `seq`; so the news between two snapshots, in the order of
-- `seq`, are in order for each subject.

-- All tables that get triggers, before anything else: whoever keeps one of them busy keeps none of the others waiting
-- for long, and those in which most is written come last. Tried again as a whole where that takes too long.
set local lock_timeout = '500ms';
lock table tenant_role, tenant, api_key, membership_role, membership, session, app_user, department, listener, machine,
    machine_health, health_snapshot, machine_operation, notice, run, run_log in share row exclusive mode;

create table event (
    seq bigint not null generated always as identity,
    xid xid8 not null default pg_current_xact_id(),
    at timestamptz not null default now(),
    tenant_id uuid not null,
    topic text not null
        constraint event_topic_known check (topic in ('RUN', 'MACHINE', 'LISTENER', 'DEPARTMENT', 'USER', 'KEY', 'TENANT')),
    topic_id uuid not null,
    department_id uuid,
    name text not null,
    data jsonb not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
create index event_xid on event (xid);
create index event_topic on event (topic_id, xid);
create index event_department on event (department_id, xid) where department_id is not null;
comment on column event.tenant_id is 'Whose it is; nil for the account of a user, which is no tenant''s.';
comment on column event.department_id is 'The department of the machine that it is about: whoever listens to it hears this, too.';
comment on column event.topic is 'What it is about. KEY and TENANT are told to nobody: they say that somebody may no longer hear what they do.';

-- Up to which transaction events were removed. Whoever last looked before it may have missed some.
create table event_floor (
    id boolean primary key default true check (id),
    xid xid8 not null
);
insert into event_floor (xid) values ('0');

-- What an event carries of something that may be large: itself up to 4 KiB, and otherwise nothing; who wants it reads
-- it where it stands.
create function event_part_v1(p_value jsonb) returns jsonb
language sql immutable parallel safe
return case when pg_column_size(p_value) <= 4096 and octet_length(p_value::text) <= 4096 then p_value end;

create function event_part_v1(p_value text) returns text
language sql immutable parallel safe
return case when octet_length(p_value) <= 4096 then p_value end;

-- ------------------------------------------------------------------------------------------------ runs

create function event_of_run_v1() returns trigger
language plpgsql security definer as $$
begin
    insert into event (tenant_id, topic, topic_id, name, data)
    values (new.tenant_id, 'RUN', new.id, 'workflow_status_update', jsonb_build_object(
        'instanceID', new.id, 'workflowID', new.workflow_id, 'status', new.status, 'error', event_part_v1(new.error)));
    return null;
end $$;

create trigger event_made after insert on run for each row execute function event_of_run_v1();
create trigger event_changed after update of status on run for each row
    when (old.status is distinct from new.status) execute function event_of_run_v1();

-- One statement for all the lines of a step.
create function event_of_run_log_v1() returns trigger
language plpgsql security definer as $$
begin
    insert into event (tenant_id, topic, topic_id, name, data)
    select (select r.tenant_id from run r where r.id = l.run_id), 'RUN', l.run_id, 'workflow_node_update', jsonb_build_object(
        'instanceID', l.run_id, 'nodeID', l.node_id, 'status', upper(split_part(l.entry->>'type', '.', 2)),
        'attempt', l.entry->'attempt', 'error', event_part_v1(l.entry->'error'), 'output', event_part_v1(l.output), 'seq', l.seq)
    from lines l where l.node_id is not null
    order by l.run_id, l.seq;
    return null;
end $$;

create trigger event_made after insert on run_log referencing new table as lines
    for each statement execute function event_of_run_log_v1();

-- -------------------------------------------------------------------------------------------- machines

create function event_of_machine_v1() returns trigger
language plpgsql security definer as $$
declare
    v_action text := 'status_changed';
begin
    if tg_op = 'INSERT' then
        v_action := 'create';
    elsif new.destroyed_at is not null and old.destroyed_at is null then
        v_action := 'delete';
    elsif (old.wanted, old.seen, old.seen_reason, old.drift) is not distinct from (new.wanted, new.seen, new.seen_reason, new.drift) then
        v_action := 'update';
    end if;
    insert into event (tenant_id, topic, topic_id, department_id, name, data)
    values (new.tenant_id, 'MACHINE', new.id, new.department_id, 'vms:' || v_action, jsonb_build_object(
        'id', new.id, 'name', new.name, 'departmentId', new.department_id, 'wanted', new.wanted, 'seen', new.seen,
        'seenReason', event_part_v1(new.seen_reason), 'drift', new.drift, 'generation', new.generation));
    -- The department that it leaves hears of it for the last time.
    if tg_op = 'UPDATE' and old.department_id is distinct from new.department_id and old.department_id is not null then
        insert into event (tenant_id, topic, topic_id, name, data)
        values (new.tenant_id, 'DEPARTMENT', old.department_id, 'vms:removed', jsonb_build_object('id', new.id, 'name', new.name));
    end if;
    return null;
end $$;

create trigger event_made after insert on machine for each row execute function event_of_machine_v1();
create trigger event_changed after update on machine for each row
    when ((old.name, old.department_id, old.host_id, old.wanted, old.seen, old.seen_reason, old.drift, old.destroyed_at)
        is distinct from (new.name, new.department_id, new.host_id, new.wanted, new.seen, new.seen_reason, new.drift, new.destroyed_at))
    execute function event_of_machine_v1();

create function event_of_operation_v1() returns trigger
language plpgsql security definer as $$
begin
    insert into event (tenant_id, topic, topic_id, department_id, name, data)
    values (new.tenant_id, 'MACHINE', new.machine_id, (select m.department_id from machine m where m.id = new.machine_id),
        'vms:' || case new.state
            when 'RUNNING' then 'started'
            when 'FAILED' then 'failed'
            when 'SUCCEEDED' then case new.action
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
        jsonb_build_object('id', new.machine_id, 'operationId', new.id, 'action', new.action, 'state', new.state,
            'generation', new.generation, 'error', event_part_v1(new.error), 'reason', event_part_v1(new.reason)));
    return null;
end $$;

create trigger event_made after insert on machine_operation for each row execute function event_of_operation_v1();
create trigger event_changed after update of state on machine_operation for each row
    when (old.state is distinct from new.state) execute function event_of_operation_v1();

-- What checks found is told when it is another than before, not every time.
create function event_of_health_v1() returns trigger
language plpgsql security definer as $$
begin
    insert into event (tenant_id, topic, topic_id, department_id, name, data)
    values (new.tenant_id, 'MACHINE', new.machine_id, (select m.department_id from machine m where m.id = new.machine_id),
        'health:health_status_change', jsonb_build_object('id', new.machine_id, 'status', new.status, 'reason', event_part_v1(new.reason), 'since', new.since));
    return null;
end $$;

create trigger event_changed after update of status on machine_health for each row
    when (old.status is distinct from new.status) execute function event_of_health_v1();

create function event_of_verdict_v1() returns trigger
language plpgsql security definer as $$
begin
    insert into event (tenant_id, topic, topic_id, department_id, name, data)
    values (new.tenant_id, 'MACHINE', new.machine_id, (select m.department_id from machine m where m.id = new.machine_id),
        'health:health_check', jsonb_build_object('id', new.machine_id, 'check', new.name, 'verdict', new.verdict, 'detail', event_part_v1(new.detail)));
    return null;
end $$;

create trigger event_made after insert on health_snapshot for each row execute function event_of_verdict_v1();
create trigger event_changed after update of verdict on health_snapshot for each row
    when (old.verdict is distinct from new.verdict) execute function event_of_verdict_v1();

-- ---------------------------------------------------------------------------- listeners and departments

create function event_of_listener_v1() returns trigger
language plpgsql security definer as $$
declare
    v_row listener := case when tg_op = 'DELETE' then old else new end;
begin
    insert into event (tenant_id, topic, topic_id, name, data)
    values (v_row.tenant_id, 'LISTENER', v_row.id, 'listeners:' || lower(tg_op), jsonb_build_object(
        'id', v_row.id, 'title', v_row.title, 'path', v_row.path, 'active', v_row.active, 'version', v_row.version));
    return null;
end $$;

create trigger event_made after insert or delete on listener for each row execute function event_of_listener_v1();
create trigger event_changed after update on listener for each row
    when ((old.title, old.path, old.active, old.version) is distinct from (new.title, new.path, new.active, new.version))
    execute function event_of_listener_v1();

create function event_of_notice_v1() returns trigger
language plpgsql security definer as $$
begin
    insert into event (tenant_id, topic, topic_id, name, data)
    values (new.tenant_id, 'LISTENER', new.listener_id, 'listener_event', jsonb_build_object(
        'noticeId', new.id, 'state', new.state, 'rawEvent', event_part_v1(new.event),
        'transformedEvent', event_part_v1(new.transformed), 'transformError', event_part_v1(new.error)));
    return null;
end $$;

create trigger event_changed after update of state on notice for each row
    when (old.state is distinct from new.state) execute function event_of_notice_v1();

create function event_of_department_v1() returns trigger
language plpgsql security definer as $$
declare
    v_row department := case when tg_op = 'DELETE' then old else new end;
begin
    insert into event (tenant_id, topic, topic_id, name, data)
    values (v_row.tenant_id, 'DEPARTMENT', v_row.id, 'departments:' || case tg_op when 'INSERT' then 'create' else lower(tg_op) end,
        jsonb_build_object('id', v_row.id, 'name', v_row.name));
    return null;
end $$;

create trigger event_made after insert or update or delete on department for each row execute function event_of_department_v1();

-- --------------------------------------------------------------------------- users, and who may still hear

-- The account of a user is no tenant's. Whoever is concerned connects again, and is looked at anew.
create function event_of_user_v1() returns trigger
language plpgsql security definer as $$
begin
    insert into event (tenant_id, topic, topic_id, name, data)
    values ('00000000-0000-0000-0000-000000000000', 'USER', new.id, 'users:update', jsonb_build_object(
        'id', new.id, 'role', new.role, 'enabled', new.disabled_at is null));
    return null;
end $$;

create trigger event_changed after update on app_user for each row
    when ((old.role, old.session_epoch, old.disabled_at) is distinct from (new.role, new.session_epoch, new.disabled_at))
    execute function event_of_user_v1();

create function event_of_session_v1() returns trigger
language plpgsql security definer as $$
begin
    insert into event (tenant_id, topic, topic_id, name, data)
    values ('00000000-0000-0000-0000-000000000000', 'USER', new.user_id, 'users:session_ended', jsonb_build_object('sessionId', new.id));
    return null;
end $$;

create trigger event_changed after update of ended_at on session for each row
    when (old.ended_at is null and new.ended_at is not null) execute function event_of_session_v1();

-- What a member may in a tenant: its membership, and the roles of the tenant's own that it has.
create function event_of_member_v1() returns trigger
language plpgsql security definer as $$
declare
    v_tenant uuid := case when tg_op = 'DELETE' then old.tenant_id else new.tenant_id end;
    v_user uuid := case when tg_op = 'DELETE' then old.user_id else new.user_id end;
begin
    insert into event (tenant_id, topic, topic_id, name, data)
    values ('00000000-0000-0000-0000-000000000000', 'USER', v_user, 'users:update', jsonb_build_object('id', v_user, 'tenantId', v_tenant,
        'access', case when tg_op = 'INSERT' and tg_table_name = 'membership' then 'GAINED' else 'CHANGED' end));
    return null;
end $$;

create trigger event_changed after insert or update or delete on membership for each row execute function event_of_member_v1();
create trigger event_changed after insert or update or delete on membership_role for each row execute function event_of_member_v1();

create function event_of_key_v1() returns trigger
language plpgsql security definer as $$
begin
    insert into event (tenant_id, topic, topic_id, name, data) values (new.tenant_id, 'KEY', new.id, 'access', '{}');
    return null;
end $$;

create trigger event_changed after update on api_key for each row
    when ((old.role, old.scopes, old.expires_at, old.disabled_at, old.revoked_at)
        is distinct from (new.role, new.scopes, new.expires_at, new.disabled_at, new.revoked_at))
    execute function event_of_key_v1();

-- Roles and modules of a tenant concern all who are in it.
create function event_of_tenant_v1() returns trigger
language plpgsql security definer as $$
begin
    insert into event (tenant_id, topic, topic_id, name, data) values (new.id, 'TENANT', new.id, 'access', '{}');
    return null;
end $$;

create trigger event_changed after update on tenant for each row
    when ((old.disabled_at, old.modules) is distinct from (new.disabled_at, new.modules)) execute function event_of_tenant_v1();

create function event_of_role_v1() returns trigger
language plpgsql security definer as $$
begin
    insert into event (tenant_id, topic, topic_id, name, data) values (new.tenant_id, 'TENANT', new.tenant_id, 'access', '{}');
    return null;
end $$;

create trigger event_changed after update of grants on tenant_role for each row
    when (old.grants is distinct from new.grants) execute function event_of_role_v1();

-- -------------------------------------------------------------------------------------------- the feed

-- What is visible in the snapshot `upto` (the present one where none is given) and not in `after`, from behind `seq`
-- on, of all tenants: for the feed of a process that serves all of them. One row without an event where there is none.
-- What is new is little, which the planner cannot know of a snapshot: left to itself it would read a long log from end to
-- end, by several processes.
create function event_feed_v1(p_after text, p_seq bigint, p_upto text, p_limit integer)
returns table (upto text, seq bigint, at timestamptz, tenant_id uuid, topic text, topic_id uuid, department_id uuid, name text, data jsonb)
language sql stable security definer set enable_seqscan to off set max_parallel_workers_per_gather to 0 set jit to off
as $$
    select s.upto::text, e.seq, e.at, e.tenant_id, e.topic, e.topic_id, e.department_id, e.name, e.data
    from (select coalesce(p_upto::pg_snapshot, pg_current_snapshot()) as upto) s
    left join lateral (
        select * from event n
        where n.xid >= pg_snapshot_xmin(p_after::pg_snapshot) and not pg_visible_in_snapshot(n.xid, p_after::pg_snapshot)
            and pg_visible_in_snapshot(n.xid, s.upto) and n.seq > p_seq
        order by n.seq limit p_limit
    ) e on true
    order by e.seq
$$;

do $$
declare
    v_function regprocedure;
begin
    for v_function in
        select p.oid from pg_proc p
        where p.pronamespace = current_schema()::regnamespace and p.prosecdef and p.proname like 'event\_%'
    loop
        execute format('alter function %s set search_path = %I, pg_temp', v_function, current_schema());
        execute format('revoke all on function %s from public', v_function);
    end loop;
end $$;

-- ------------------------------------------------------------------------------------------------ roles

-- What the roles may not, though they are let at every table: the log is written by its triggers alone, which have the
-- owner's rights, and read by the API. Only workers and the scheduler remove from it, and note how far.
create function event_confine_v1() returns void
language plpgsql as $$
declare
    v_role name;
    v_function regprocedure;
begin
    -- Whoever may call what writes an event can hang it on a table of his own, and tell what never was.
    for v_function in
        select p.oid from pg_proc p
        where p.pronamespace = current_schema()::regnamespace and p.prosecdef and p.prorettype = 'trigger'::regtype
    loop
        execute format('revoke execute on function %s from public', v_function);
        for v_role in select r.rolname from pg_roles r where r.rolname in ('millrace_api', 'millrace_worker') loop
            execute format('revoke execute on function %s from %I', v_function, v_role);
        end loop;
    end loop;
    if to_regrole('millrace_api') is not null then
        revoke insert, update, delete on event, event_floor from millrace_api;
    end if;
    if to_regrole('millrace_worker') is not null then
        revoke insert, update on event from millrace_worker;
        revoke insert, delete on event_floor from millrace_worker;
        revoke execute on function event_feed_v1(text, bigint, text, integer) from millrace_worker;
    end if;
end $$;

revoke all on function event_confine_v1() from public;

-- Both as before, save for what the log of events adds. They keep their names: a version of before that calls them must not
-- give back what is taken away here.
create or replace function wall_furnish_v1() returns void
language plpgsql as $$
declare
    v_schema name := current_schema();
    v_table regclass;
    v_role name;
    v_function regprocedure;
begin
    perform pg_advisory_xact_lock(hashtext('wall_furnish'));
    for v_table in
        select t from wall_tables_v1() t
        where exists (select from pg_attribute a where a.attrelid = t and a.attname = 'tenant_id' and not a.attisdropped)
            and not exists (select from pg_policy p where p.polrelid = t)
    loop
        perform tenant_wall_v1(v_table);
    end loop;
    if to_regrole('millrace_worker') is not null then
        for v_table in
            select t from wall_tables_v1() t join pg_class c on c.oid = t
            where c.relrowsecurity and not exists (select from pg_policy p where p.polrelid = t and p.polname = 'worker_door')
        loop
            -- The planner drops what is always true, so that the queue's statements cost what they did.
            execute format('create policy worker_door on %s to millrace_worker using (true)', v_table);
        end loop;
    end if;
    for v_role in select r.rolname from pg_roles r where r.rolname in ('millrace_api', 'millrace_worker') loop
        execute format('grant usage on schema %I to %I', v_schema, v_role);
        execute format('grant usage, select on all sequences in schema %I to %I', v_schema, v_role);
        for v_table in select t from wall_tables_v1() t loop
            execute format('grant select, insert, update, delete on %s to %I', v_table, v_role);
        end loop;
        -- Those of a public schema are everybody's; these are not.
        for v_function in
            select p.oid from pg_proc p
            where p.pronamespace = v_schema::regnamespace and p.prosecdef and p.prorettype <> 'trigger'::regtype
        loop
            execute format('grant execute on function %s to %I', v_function, v_role);
        end loop;
        if to_regclass('_sqlx_migrations') is not null then
            execute format('grant select on _sqlx_migrations to %I', v_role);
        end if;
    end loop;
    -- Workers open no secrets, and the API makes and drops no days of the history.
    if to_regrole('millrace_worker') is not null then
        revoke all on keyring_proof from millrace_worker;
    end if;
    if to_regrole('millrace_api') is not null then
        revoke execute on function job_history_ensure_v1(integer), job_history_drop_v1(integer) from millrace_api;
    end if;
    perform audit_confine_v1();
    perform event_confine_v1();
end $$;

create or replace function wall_stands_v1(p_role name) returns boolean
language sql stable
as $$
    -- In this order: of a role that is not there no privilege can be asked.
    select case when exists (select from pg_roles r where r.rolname = p_role and pg_has_role(r.oid, 'member')) then
        not exists (select from wall_tables_v1() t join pg_class c on c.oid = t
            where t <> 'keyring_proof'::regclass and not has_table_privilege(p_role, t, 'insert')
                    and (p_role <> 'millrace_api' or t <> all (array['audit_intake', 'audit_chain', 'audit_entry']::regclass[]))
                    and t <> all (array['event', 'event_floor']::regclass[])
                or c.relrowsecurity and not exists (select from pg_policy p where p.polrelid = t
                    and (p.polname = 'worker_door' or p_role <> 'millrace_worker')))
        else false end
$$;

select wall_furnish_v1();

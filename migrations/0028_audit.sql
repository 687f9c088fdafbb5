-- The audit: who asked for what, and what became of it, in a chain of hashes for each tenant.
--
-- An entry is noted in `audit_intake`, in the transaction of what it tells of. The job `audit.flush` takes it from
-- there, in the order of the notes, and writes it into `audit_entry` with its number in the chain of its tenant, when
-- that was, and a hash over itself and the hash before it. From then on it is never changed. The nil uuid stands for
-- the installation, which has a chain like any tenant.

-- What was noted and is not in its chain yet: a few seconds' worth.
create table audit_intake (
    tenant_id uuid not null,
    pos bigint generated always as identity,
    at timestamptz not null,
    actor text not null,
    operation text not null,
    -- As the text that is hashed.
    arguments json not null,
    outcome text not null,
    code text,
    took_ms integer not null,
    address text,
    request_id text,
    primary key (tenant_id, pos)
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000);

-- The end of each tenant's chain, whose row is held by whoever adds to it; and where it begins, once its oldest
-- months were dropped.
create table audit_chain (
    tenant_id uuid primary key,
    seq bigint not null default 0,
    hash bytea not null default decode(repeat('00', 32), 'hex'),
    kept_at timestamptz not null default 'epoch',
    anchor_seq bigint not null default 0,
    anchor_hash bytea not null default decode(repeat('00', 32), 'hex')
);

-- The chains, in months of when they were written: within a chain that time never goes back, so that the oldest
-- month is the beginning of every chain. There is no partition for all the rest: what finds no month waits.
create table audit_entry (
    tenant_id uuid not null,
    seq bigint not null,
    kept_at timestamptz not null,
    at timestamptz not null,
    actor text not null,
    operation text not null,
    arguments json not null,
    outcome text not null,
    code text,
    took_ms integer not null,
    address text,
    request_id text,
    hash bytea not null,
    primary key (tenant_id, seq, kept_at)
) partition by range (kept_at);

create function audit_refuse_v1() returns trigger
language plpgsql as $$
begin
    raise exception 'audit entries are written once; they go with their month' using errcode = 'insufficient_privilege';
end $$;

create trigger audit_written_once before update or delete on audit_entry for each row execute function audit_refuse_v1();

-- Notes what the transaction under way did, for the tenant that it has entered. It runs with the owner's rights:
-- whoever notes can neither read nor change what was noted.
create function audit_note_v1(p_actor text, p_operation text, p_arguments text, p_took_ms integer, p_address text, p_request_id text)
returns void
language plpgsql security definer as $$
begin
    insert into audit_intake (tenant_id, at, actor, operation, arguments, outcome, took_ms, address, request_id)
    values (coalesce(tenant_entered_v1(), '00000000-0000-0000-0000-000000000000'), clock_timestamp(), p_actor, p_operation,
        p_arguments::json, 'ACCEPTED', p_took_ms, p_address, p_request_id);
end $$;

-- Makes the months from the present one on that are missing. Each is made apart and then attached, so that work goes on.
create function audit_months_ensure_v1(p_months_ahead integer) returns integer
language plpgsql security definer as $$
declare
    v_month timestamp;
    v_name text;
    v_made integer := 0;
    v_this timestamp := date_trunc('month', now() at time zone 'utc');
begin
    for v_month in select m from generate_series(v_this, v_this + make_interval(months => p_months_ahead), interval '1 month') m loop
        v_name := 'audit_entry_' || to_char(v_month, 'YYYYMM');
        if to_regclass(v_name) is null then
            perform pg_advisory_xact_lock(hashtext('audit_months_ensure'));
            if to_regclass(v_name) is null then
                execute format('create table %I (like audit_entry including defaults including constraints)', v_name);
                execute format('create trigger audit_never_emptied before truncate on %I for each statement execute function audit_refuse_v1()', v_name);
                execute format('alter table audit_entry attach partition %I for values from (%L) to (%L)',
                    v_name, v_month at time zone 'utc', (v_month + interval '1 month') at time zone 'utc');
                v_made := v_made + 1;
            end if;
        end if;
    end loop;
    return v_made;
end $$;

-- Drops the oldest month that ended before the last so many, and tells its name; null when there is none. Each chain
-- keeps where it goes on, so that what is left can be verified.
create function audit_months_drop_v1(p_keep_months integer) returns text
language plpgsql security definer
set lock_timeout = '250ms' as $$
declare
    v_name text;
begin
    if p_keep_months < 1 then
        raise exception 'the audit must be kept for a month at least' using errcode = 'invalid_parameter_value';
    end if;
    select c.relname into v_name
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'audit_entry'::regclass and c.relname ~ '^audit_entry_[0-9]{6}$'
        and c.relname < 'audit_entry_' || to_char(date_trunc('month', now() at time zone 'utc') - make_interval(months => p_keep_months), 'YYYYMM')
    order by c.relname limit 1;
    if v_name is not null then
        execute format('update audit_chain c set anchor_seq = l.seq, anchor_hash = l.hash
            from (select distinct on (tenant_id) tenant_id, seq, hash from %I order by tenant_id, seq desc) l
            where c.tenant_id = l.tenant_id and l.seq > c.anchor_seq', v_name);
        execute format('drop table %I', v_name);
    end if;
    return v_name;
end $$;

do $$
declare
    v_function regprocedure;
begin
    foreach v_function in array array['audit_note_v1(text, text, text, integer, text, text)',
        'audit_months_ensure_v1(integer)', 'audit_months_drop_v1(integer)']::regprocedure[]
    loop
        execute format('alter function %s set search_path = %I, pg_temp', v_function, current_schema());
        execute format('revoke all on function %s from public', v_function);
    end loop;
end $$;

select audit_months_ensure_v1(2);

-- What the roles may not, though they are let at every table: done anew after each migration by the function that
-- lets them, which is why that one calls this.
create function audit_confine_v1() returns void
language plpgsql as $$
begin
    -- The API notes by a function and reads; nobody changes what stands in a chain.
    if to_regrole('millrace_api') is not null then
        revoke insert, update, delete on audit_intake, audit_chain, audit_entry from millrace_api;
        revoke execute on function audit_months_ensure_v1(integer), audit_months_drop_v1(integer) from millrace_api;
    end if;
    if to_regrole('millrace_worker') is not null then
        revoke update, delete on audit_entry from millrace_worker;
        revoke delete on audit_chain from millrace_worker;
    end if;
end $$;

revoke all on function audit_confine_v1() from public;

-- Both as before, save for what the audit adds. They keep their names: a version of before that calls them must not
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
            select p.oid from pg_proc p where p.pronamespace = v_schema::regnamespace and p.prosecdef
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
end $$;

create or replace function wall_stands_v1(p_role name) returns boolean
language sql stable
as $$
    -- In this order: of a role that is not there no privilege can be asked.
    select case when exists (select from pg_roles r where r.rolname = p_role and pg_has_role(r.oid, 'member')) then
        not exists (select from wall_tables_v1() t join pg_class c on c.oid = t
            where t <> 'keyring_proof'::regclass and not has_table_privilege(p_role, t, 'insert')
                    and (p_role <> 'millrace_api' or t <> all (array['audit_intake', 'audit_chain', 'audit_entry']::regclass[]))
                or c.relrowsecurity and not exists (select from pg_policy p where p.polrelid = t
                    and (p.polname = 'worker_door' or p_role <> 'millrace_worker')))
        else false end
$$;

select wall_furnish_v1();

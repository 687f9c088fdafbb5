-- The wall: tenants kept apart a second time, by Postgres itself.
--
-- Every statement names its tenant in its condition. Should one forget it, these policies hold all the same:
-- whoever does not own the tables sees the rows of the tenant in the setting `millrace.tenant`, and without it
-- none. `*` stands for all tenants, for operators of the installation. The API works as `millrace_api`, which
-- the policies hold; workers, schedulers and commands as `millrace_worker`, which they let through; neither owns
-- anything. Migrations and a version of before run as the owner, whom policies do not hold.
--
-- The roles belong to the whole server and may be missing where nobody may make them, so what concerns them is
-- done by `wall_furnish_v1`, after every migration.

-- ------------------------------------------------------------------------------------------- policies

-- Whose turn it is. Asked as `(select ...)` in the policies, once for a statement and not for every row.
create function tenant_entered_v1() returns uuid
language sql stable parallel safe
return nullif(nullif(current_setting('millrace.tenant', true), ''), '*')::uuid;

create function tenant_all_v1() returns boolean
language sql stable parallel safe
return coalesce(current_setting('millrace.tenant', true) = '*', false);

-- Puts a table with a `tenant_id` behind the wall.
create function tenant_wall_v1(p_table regclass) returns void
language plpgsql as $$
begin
    execute format('alter table %s enable row level security', p_table);
    execute format('create policy tenant_wall on %s using (tenant_id = (select tenant_entered_v1()) or (select tenant_all_v1()))', p_table);
end $$;

-- Puts a table behind the wall whose rows belong to those of another table that is: seen is what belongs to
-- something that is seen. A row and the one that it belongs to cannot be put in by one statement then, for the
-- policy does not see the one at the other.
create function tenant_wall_v1(p_table regclass, p_column name, p_of regclass) returns void
language plpgsql as $$
begin
    execute format('alter table %s enable row level security', p_table);
    execute format('create policy tenant_wall on %s using (exists (select from %s wall_owner where wall_owner.id = %s.%I))',
        p_table, p_of, p_table, p_column);
end $$;

alter table tenant enable row level security;
create policy tenant_wall on tenant using (id = (select tenant_entered_v1()) or (select tenant_all_v1()));

select tenant_wall_v1('workflow_version', 'workflow_id', 'workflow');
select tenant_wall_v1('run_log', 'run_id', 'run');
select tenant_wall_v1('run_inbox', 'run_id', 'run');
select tenant_wall_v1('notice_action', 'notice_id', 'notice');
select tenant_wall_v1('job_attempt', 'job_id', 'job');

-- ---------------------------------------------------------------------------------------------- roles

-- The tables that the roles are let at. The days of the history are reached through the whole alone, where the
-- policy is; what was migrated is the owner's to say.
create function wall_tables_v1() returns setof regclass
language sql stable
as $$
    select c.oid from pg_class c
    where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
        and c.relname <> '_sqlx_migrations'
    order by c.relname
$$;

-- Makes everything as the two roles need it: behind the wall every table with tenants' rows, one of a later
-- migration too; to the worker a door in each policy; to both roles what they may do. Without the roles only
-- the first. Repeating it changes nothing.
create function wall_furnish_v1() returns void
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
end $$;

-- Whether whoever asks can work as this role, and it has all that it needs of the schema as it is now.
create function wall_stands_v1(p_role name) returns boolean
language sql stable
as $$
    -- In this order: of a role that is not there no privilege can be asked.
    select case when exists (select from pg_roles r where r.rolname = p_role and pg_has_role(r.oid, 'member')) then
        not exists (select from wall_tables_v1() t join pg_class c on c.oid = t
            where t <> 'keyring_proof'::regclass and not has_table_privilege(p_role, t, 'insert')
                or c.relrowsecurity and not exists (select from pg_policy p where p.polrelid = t
                    and (p.polname = 'worker_door' or p_role <> 'millrace_worker')))
        else false end
$$;

-- ------------------------------------------------------------------------------------- narrow openings
--
-- The few looks that come before a tenant is known, and what is counted across all of them, as functions with
-- the owner's rights that see one thing each.

-- The API key with this public id.
create function api_key_find_v1(p_public_id text)
returns table (id uuid, tenant_id uuid, secret_hash bytea, role text, scopes text[], grants text[], live boolean, note_use boolean)
language sql stable security definer
as $$
    select k.id, k.tenant_id, k.secret_hash, k.role, k.scopes,
        (select coalesce(array_agg(g) filter (where g is not null), '{}')
            from api_key_role x
            join tenant_role r on r.tenant_id = x.tenant_id and r.id = x.role_id
            left join lateral unnest(r.grants) g on true
            where x.key_id = k.id having count(*) > 0),
        k.disabled_at is null and (k.expires_at is null or k.expires_at > now()),
        k.last_used_at is null or k.last_used_at < now() - interval '1 minute'
    from api_key k where k.public_id = p_public_id
$$;

-- Notes that a key was used now, unless somebody did within the minute.
create function api_key_used_v1(p_id uuid) returns void
language sql volatile security definer
as $$
    update api_key set last_used_at = now()
    where id = p_id and (last_used_at is null or last_used_at < now() - interval '1 minute')
$$;

-- The tenants that a user belongs to, oldest first.
create function tenants_of_user_v1(p_user uuid, p_after uuid, p_limit bigint) returns setof tenant
language sql stable security definer
as $$
    select t.* from tenant t
    where t.id in (select m.tenant_id from membership m where m.user_id = p_user) and (p_after is null or t.id > p_after)
    order by t.id limit p_limit
$$;

-- The listener at an address; a slug can look like an id, and the id wins, since nobody can choose one.
create function listener_address_v1(p_tenant_id uuid, p_slug text, p_path text)
returns table (id uuid, tenant_id uuid, active boolean, secret bytea, old_secret bytea)
language sql stable security definer
as $$
    select l.id, l.tenant_id, l.active, l.secret, case when l.old_secret_until > now() then l.old_secret end
    from listener l join tenant t on t.id = l.tenant_id
    where l.path = p_path and t.disabled_at is null and (t.id = p_tenant_id or t.slug = p_slug)
    order by (t.id = p_tenant_id) is true desc limit 1
$$;

-- The tenant that an open invitation is to.
create function invitation_tenant_v1(p_hash bytea) returns uuid
language sql stable security definer
as $$
    select i.tenant_id from invitation i
    where i.hash = p_hash and i.accepted_at is null and i.revoked_at is null and i.expires_at > now()
$$;

-- What stands on a host, of all tenants: a place for a machine is found by counting all.
create function host_load_v1(p_host uuid, out machines bigint, out promised_mib bigint)
language sql stable security definer
as $$
    select count(*), coalesce(sum((m.spec->>'memory_mib')::bigint), 0)::bigint
    from machine m where m.host_id = p_host and m.destroyed_at is null
$$;

-- Whoever calls these runs them with the owner's rights: the days of the history can be made and dropped by
-- their owner alone. Where they look for tables is fixed, so that nobody's temporary ones come first.
do $$
declare
    v_function regprocedure;
begin
    foreach v_function in array array['api_key_find_v1(text)', 'api_key_used_v1(uuid)', 'tenants_of_user_v1(uuid, uuid, bigint)',
        'listener_address_v1(uuid, text, text)', 'invitation_tenant_v1(bytea)', 'host_load_v1(uuid)',
        'job_history_ensure_v1(integer)', 'job_history_drop_v1(integer)']::regprocedure[]
    loop
        execute format('alter function %s security definer set search_path = %I, pg_temp', v_function, current_schema());
        execute format('revoke all on function %s from public', v_function);
    end loop;
end $$;

-- Nobody but the owner builds the wall.
revoke all on function tenant_wall_v1(regclass), tenant_wall_v1(regclass, name, regclass), wall_furnish_v1() from public;

select wall_furnish_v1();

-- The feed of events reads a snapshot from its text once.

-- As `event_feed_v1`; but of each event it had read both snapshots from their texts and written one, which cost more than
-- finding it. Up to where was looked stands in the first row, which is no event.
create function event_feed_v2(p_after text, p_seq bigint, p_upto text, p_limit integer)
returns table (upto text, seq bigint, at timestamptz, tenant_id uuid, topic text, topic_id uuid, department_id uuid, name text, data text)
language plpgsql stable security definer
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
set max_parallel_workers_per_gather = 0
set jit = off
as $$
#variable_conflict use_column
declare
    v_after pg_snapshot := p_after::pg_snapshot;
    v_upto pg_snapshot := coalesce(p_upto::pg_snapshot, pg_current_snapshot());
begin
    upto := v_upto::text;
    return next;
    -- What is new is little, which the planner cannot know of a snapshot: without the fence it would read a long log by its
    -- numbers.
    return query
    select null, n.seq, n.at, n.tenant_id, n.topic, n.topic_id, n.department_id, n.name, n.data::text
    from (select * from event e where e.xid >= pg_snapshot_xmin(v_after) offset 0) n
    where not pg_visible_in_snapshot(n.xid, v_after) and pg_visible_in_snapshot(n.xid, v_upto) and n.seq > p_seq
    order by n.seq limit p_limit;
end $$;

-- As before, and the new one as the old one.
create or replace function event_confine_v1() returns void
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
        revoke execute on function event_feed_v2(text, bigint, text, integer) from millrace_worker;
    end if;
end $$;

do $$
begin
    execute format('alter function event_feed_v2(text, bigint, text, integer) set search_path = %I, pg_temp', current_schema());
    revoke all on function event_feed_v2(text, bigint, text, integer) from public;
end $$;

select wall_furnish_v1();

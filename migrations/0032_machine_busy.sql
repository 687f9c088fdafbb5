-- One machine that somebody holds keeps no other waiting: of many, those that are held are left out and told
-- `busy`, to be asked for again. An executable that does not know the word takes it for a lost host, hands the
-- job back and comes again.

create or replace function machine_begin_many_v1(p_operations uuid[], p_hosts uuid[], p_holders uuid[], p_epochs bigint[])
returns table (
    became text, tenant_id uuid, machine_id uuid, action text, snapshot_id uuid, stage smallint,
    asked_ms bigint, generation bigint, reason text, wanted text, spec jsonb)
language plpgsql
set enable_seqscan = off
as $$
declare
    v_busy uuid[] := machine_busy_v1(p_operations);
    v_i integer;
begin
    for v_i in 1 .. cardinality(p_operations) loop
        if p_operations[v_i] = any(v_busy) then
            became := 'busy';
            return next;
        else
            return query select * from machine_begin_v1(p_operations[v_i], p_hosts[v_i], p_holders[v_i], p_epochs[v_i]);
        end if;
    end loop;
end $$;

create or replace function machine_settle_many_v1(
    p_operations uuid[], p_hosts uuid[], p_holders uuid[], p_epochs bigint[], p_errors text[], p_seen text[], p_seen_reasons text[], p_drifts text[])
returns table (became text, awaited boolean)
language plpgsql
set enable_seqscan = off
as $$
declare
    v_busy uuid[] := machine_busy_v1(p_operations);
    v_i integer;
begin
    for v_i in 1 .. cardinality(p_operations) loop
        if p_operations[v_i] = any(v_busy) then
            became := 'busy';
            awaited := false;
            return next;
        else
            return query select * from machine_settle_v2(p_operations[v_i], p_hosts[v_i], p_holders[v_i], p_epochs[v_i],
                p_errors[v_i], p_seen[v_i], p_seen_reasons[v_i], p_drifts[v_i]);
        end if;
    end loop;
end $$;

-- Locks the machines of these operations but those that somebody else holds; answers the operations of the latter.
create function machine_busy_v1(p_operations uuid[]) returns uuid[]
language plpgsql
set enable_seqscan = off
as $$
declare
    v_held uuid[];
begin
    select array_agg(s.id) into v_held from (
        select m.id from machine m
        where m.id = any(array(select o.machine_id from machine_operation o where o.id = any(p_operations)))
        order by m.id for update skip locked
    ) s;
    return array(select o.id from machine_operation o where o.id = any(p_operations) and o.machine_id <> all(coalesce(v_held, '{}')));
end $$;

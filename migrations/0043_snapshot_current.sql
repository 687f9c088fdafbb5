-- Which of a machine's snapshots is its current one: the one that its disks were last put to, or taken into.

alter table machine_snapshot
    add column parent_id uuid,
    add column is_current boolean not null default false;
comment on column machine_snapshot.parent_id is 'The snapshot that was current when this one was taken; none of the first, and of those taken before 0043.';
comment on column machine_snapshot.is_current is 'What the machine''s disks hold builds on it. One of a machine at most.';

-- As far as operations are kept.
update machine_snapshot s set is_current = true
from (
    select distinct on (machine_id) snapshot_id from machine_operation
    where state = 'SUCCEEDED' and action in ('SNAPSHOT_CREATE', 'SNAPSHOT_REVERT') order by machine_id, ended_at desc
) last
where s.id = last.snapshot_id and s.state in ('READY', 'DELETING');

-- Makes a snapshot its machine's current one.
create function machine_snapshot_current_v1(p_snapshot uuid) returns void
language plpgsql as $$
begin
    update machine_snapshot s set is_current = s.id = p_snapshot from machine_snapshot o
    where o.id = p_snapshot and s.machine_id = o.machine_id and s.is_current <> (s.id = p_snapshot);
end $$;

-- What ends with an operation among its machine's snapshots.
create or replace function machine_snapshot_end_v1(p_action text, p_snapshot uuid, p_ok boolean, p_seen text) returns void
language plpgsql as $$
begin
    if p_action = 'SNAPSHOT_CREATE' then
        update machine_snapshot s set state = case when p_ok then 'READY' else 'FAILED' end, taken_at = case when p_ok then now() end, seen = p_seen,
            parent_id = case when p_ok then (select c.id from machine_snapshot c where c.machine_id = s.machine_id and c.is_current) end
        where s.id = p_snapshot;
    elsif p_action = 'SNAPSHOT_DELETE' and p_ok then
        -- Those that build on it stay, and build on what it was built on; the machine does too.
        update machine_snapshot c set parent_id = s.parent_id from machine_snapshot s where s.id = p_snapshot and c.parent_id = s.id;
        update machine_snapshot p set is_current = true from machine_snapshot s where s.id = p_snapshot and s.is_current and p.id = s.parent_id;
        delete from machine_snapshot where id = p_snapshot;
    elsif p_action = 'SNAPSHOT_DELETE' then
        update machine_snapshot set state = 'READY' where id = p_snapshot;
    end if;
    if p_ok and p_action in ('SNAPSHOT_CREATE', 'SNAPSHOT_REVERT') then
        perform machine_snapshot_current_v1(p_snapshot);
    end if;
end $$;

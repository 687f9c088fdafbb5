-- Machines over time: operations that ended go when they are old, and a machine that moved is known to be
-- nowhere yet.

create index machine_operation_ended on machine_operation (ended_at) where ended_at is not null;

-- machine_move_v1, but the machine is recorded as absent: its new host has not been told of it, and that is
-- known, where v1 said that nobody knew. Whether it may move is decided by the caller, who has locked it.
create function machine_move_v2(p_machine uuid, p_host uuid, p_key text, out became text, out woken integer[])
language plpgsql as $$
begin
    select v.became, v.woken into became, woken from machine_move_v1(p_machine, p_host, p_key) v;
    if became = 'moved' then
        update machine set seen = 'ABSENT', drift = null where id = p_machine;
    end if;
end $$;

-- A hypervisor is one host's own: two names that reach the same daemon would each take the other's machines for what
-- was left there.

-- Nobody is bound to one while those are sorted out that are bound to the same.
lock table host in share row exclusive mode;

-- The name under which most machines live keeps it. The others are told by their workers whose it is that answers.
update host set identity = null
from (
    select h.id, row_number() over (partition by h.identity order by load.machines desc, h.no) as place
    from host h cross join host_load_v1(h.id) load
    where h.identity is not null and h.removed_at is null
) shared
where shared.id = host.id and shared.place > 1;

create unique index host_identity on host (identity) where identity is not null and removed_at is null;
comment on index host_identity is 'A hypervisor is one host''s own. An executable of before 0038 that would bind it to a second is refused, and tries again.';

-- Binds a host to the hypervisor that says by this who it is; unless `anew` only one that is bound to none. Empty binds
-- it to none. Returns the name of the other host whose own it is, and nothing else was done then.
create function host_bind_v1(which uuid, answers text, anew boolean) returns text
language plpgsql as $$
declare
    other text;
begin
    update host set identity = nullif(answers, ''), stranger = null
    where id = which and removed_at is null and (anew or identity is null);
    return null;
exception when unique_violation then
    -- It may have been let go of since: the next who asks finds it free.
    select name into other from host where identity = answers and id <> which and removed_at is null;
    return coalesce(other, 'another');
end $$;

select wall_furnish_v1();

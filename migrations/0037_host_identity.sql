-- A host's name is bound to its hypervisor: a worker that was given another's address must not take what is missing
-- there for lost.

alter table host add column identity text;
alter table host add column stranger text;
comment on column host.identity is 'By what its hypervisor says who it is, as it was first seen or accepted since; none before one said so.';
comment on column host.stranger is 'By what the hypervisor says who it is that answers instead; none while the one that answers is the host''s own. Empty when it says nothing.';

-- No machine is left on a host that is removed: whatever serves its name next may be another.
create function host_forgets() returns trigger
language plpgsql as $$
begin
    new.identity := null;
    new.stranger := null;
    return new;
end $$;

create trigger host_forgets before update of removed_at on host for each row when (new.removed_at is not null) execute function host_forgets();

select wall_furnish_v1();

-- What is removed in parts, and what a notice was before it was sent through again.
--
-- A listener may have heard millions of notices, and to take them away with it in one statement would
-- outlast every limit. So it goes at once and is noted here; its notices and buffered events follow in
-- batches, taken by whichever scheduler leads, which finds what is left after any stop.

alter table notice drop constraint notice_listener_id_fkey;
alter table buffer_event drop constraint buffer_event_listener_id_fkey;

create table listener_removal (
    listener_id uuid primary key,
    tenant_id uuid not null,
    removed_at timestamptz not null default now()
);
comment on table listener_removal is 'Listeners that are gone and whose notices and buffered events may not be yet. A row goes some minutes after the last of them.';

-- A trigger, so that a process of the version before notes it too.
create function listener_note_removal() returns trigger
language plpgsql as $$
begin
    insert into listener_removal (listener_id, tenant_id) values (old.id, old.tenant_id) on conflict do nothing;
    return old;
end $$;

create trigger listener_note_removal after delete on listener for each row execute function listener_note_removal();

create table notice_pass (
    notice_id uuid not null references notice (id) on delete cascade,
    tenant_id uuid not null,
    replay integer not null,
    transformed jsonb,
    primary key (notice_id, replay)
);
comment on table notice_pass is 'What the transform made of a notice in a pass before its latest, for the actions of that pass which are not done. The latest stands in notice.transformed.';

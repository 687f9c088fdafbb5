-- Listeners: what is heard from outside, and what became of it.
--
-- A listener is a webhook's address with its secret and its pipeline. A notice is one thing that it heard,
-- kept as it came before the sender is answered; a job then takes it through the pipeline, whose actions
-- are jobs of their own. The rows here say what became of each; the jobs only carry ids.

create table listener (
    id uuid primary key,
    tenant_id uuid not null references tenant (id),
    path text not null
        constraint listener_path_form check (path ~ '^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$'),
    title text not null
        constraint listener_title_length check (char_length(title) between 1 and 255),
    active boolean not null default true,
    secret bytea not null,
    pipeline jsonb not null,
    version integer not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint listener_path_unique unique (tenant_id, path)
);
create index listener_tenant on listener (tenant_id, id);
comment on column listener.secret is 'The signing secret, sealed and bound to tenant, table, column and row.';
comment on column listener.pipeline is 'Read anew by every job, so that a notice that failed succeeds when it is tried again after a fix.';
comment on column listener.version is 'Counts edits of the pipeline: an edit names the version that it was made from, and loses against another.';

create table notice (
    id uuid primary key,
    tenant_id uuid not null,
    listener_id uuid not null references listener (id) on delete cascade,
    delivery_id text not null
        constraint notice_delivery_length check (char_length(delivery_id) between 1 and 256),
    received_at timestamptz not null default now(),
    headers jsonb not null,
    event jsonb not null,
    transformed jsonb,
    state text not null default 'RECEIVED'
        constraint notice_state_known check (state in ('RECEIVED', 'DISPATCHED', 'DROPPED', 'DEAD')),
    replay integer not null default 0,
    error text,
    settled_at timestamptz,
    constraint notice_delivery_unique unique (listener_id, delivery_id)
);
create index notice_tenant on notice (tenant_id, listener_id, id);
create index notice_old on notice (received_at);
comment on constraint notice_delivery_unique on notice is 'A delivery sent again changes nothing, for as long as its notice is kept: senders repeat for days, notices are kept for weeks.';
comment on column notice.event is 'As it came. What a transform made of it stands beside it, and is null where the pipeline has none.';
comment on column notice.state is 'RECEIVED until its transform ran; then DISPATCHED to its actions, DROPPED because the transform gave null, or DEAD because it failed for good.';
comment on column notice.replay is 'How often it was taken through the pipeline again on request; each time is told apart by it.';

create table notice_action (
    notice_id uuid not null references notice (id) on delete cascade,
    replay integer not null,
    action_id uuid not null,
    kind text not null,
    state text not null default 'QUEUED'
        constraint notice_action_state_known check (state in ('QUEUED', 'DONE', 'SKIPPED', 'DEAD')),
    run_id uuid,
    error text,
    settled_at timestamptz,
    primary key (notice_id, replay, action_id)
);
comment on column notice_action.state is 'QUEUED while its job lives; then DONE, SKIPPED because the action was taken out or switched off meanwhile, or DEAD.';
comment on column notice_action.run_id is 'The run that it started. No foreign key: runs are pruned on their own.';

create table buffer_event (
    id bigint primary key generated always as identity,
    tenant_id uuid not null,
    listener_id uuid not null references listener (id) on delete cascade,
    buffer text not null,
    notice_id uuid not null,
    stored_at timestamptz not null default now(),
    event jsonb not null
);
create index buffer_event_place on buffer_event (listener_id, buffer, id);
create index buffer_event_age on buffer_event (listener_id, buffer, stored_at);
comment on table buffer_event is 'Events kept for whoever reads the buffer. Each save prunes what the retention no longer holds, a bounded batch at a time.';

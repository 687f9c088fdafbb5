-- Schedules: workflows that tenants want started at certain times, and what came of it.
--
-- A tick is a moment at which a schedule is due. The leader of the schedulers enters a firing for each, puts its job
-- into the queue and says when the schedule is due next, all in one transaction; the job starts the run. That each
-- tick is fired once holds in the table itself, whatever the clocks and the leaders do.

create table schedule (
    id uuid primary key,
    tenant_id uuid not null references tenant (id),
    title text not null
        constraint schedule_title_length check (char_length(title) between 1 and 255),
    description text not null default ''
        constraint schedule_description_length check (char_length(description) <= 2000),
    workflow_id uuid not null references workflow (id),
    input jsonb not null default '{}',
    cron text,
    time_zone text,
    interval_s bigint
        constraint schedule_interval_range check (interval_s between 1 and 31622400),
    at timestamptz,
    catch_up text not null
        constraint schedule_catch_up_known check (catch_up in ('SKIP', 'ONCE', 'ALL')),
    catch_up_max integer not null
        constraint schedule_catch_up_range check (catch_up_max between 1 and 100),
    timeout_s integer not null
        constraint schedule_timeout_range check (timeout_s between 1 and 2592000),
    retries integer not null
        constraint schedule_retries_range check (retries between 0 and 20),
    retry_delay_s integer not null
        constraint schedule_retry_delay_range check (retry_delay_s between 1 and 86400),
    disabled boolean not null default false,
    next_at timestamptz,
    version integer not null default 1,
    saved_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint schedule_timing check (
        case when cron is not null then time_zone is not null and interval_s is null and at is null
            else time_zone is null and at is not null end),
    constraint schedule_disabled_waits check (not disabled or next_at is null)
) with (fillfactor = 70);
create index schedule_tenant on schedule (tenant_id, id);
create index schedule_due on schedule (next_at, id) where next_at is not null;
comment on column schedule.at is 'The only tick, or with an interval the first.';
comment on column schedule.next_at is 'The next tick that is not decided; null while it is disabled, or when none is left. Whoever decides about ticks holds the row.';
comment on column schedule.saved_by is 'Who saved it last, as user:<id> or key:<id>: a firing needs the rights that they have then.';
comment on column schedule.version is 'Counts edits: an edit names the version that it was made from, and loses against another.';

create table schedule_firing (
    id uuid primary key,
    tenant_id uuid not null,
    schedule_id uuid not null,
    trigger_type text not null
        constraint schedule_firing_trigger_known check (trigger_type in ('SCHEDULED', 'MANUAL')),
    tick_at timestamptz not null,
    state text not null default 'QUEUED'
        constraint schedule_firing_state_known check (state in ('QUEUED', 'STARTED', 'SUCCESS', 'FAILURE', 'CANCELLED', 'MISSED')),
    attempt integer not null default 1,
    run_id uuid,
    asked_by text,
    fired_at timestamptz not null default now(),
    started_at timestamptz,
    deadline_at timestamptz,
    timed_out boolean not null default false,
    ended_at timestamptz,
    missed integer,
    missed_until timestamptz,
    result text
) with (fillfactor = 80);
create unique index schedule_firing_tick on schedule_firing (schedule_id, tick_at) where trigger_type = 'SCHEDULED';
create unique index schedule_firing_run on schedule_firing (run_id) where run_id is not null;
create index schedule_firing_history on schedule_firing (schedule_id, id);
create index schedule_firing_deadline on schedule_firing (deadline_at) where state = 'STARTED';
create index schedule_firing_ended on schedule_firing (ended_at) where ended_at is not null;
comment on table schedule_firing is 'What came of each tick, and of each firing by hand. Outlives its schedule until retention takes it.';
comment on column schedule_firing.tick_at is 'The tick, or when somebody asked. Of ticks that were missed, the first.';
comment on column schedule_firing.missed is 'Of MISSED, how many ticks were; a thousand stand for a thousand or more.';
comment on column schedule_firing.deadline_at is 'When its run is cancelled if it has not ended, or looked after if its end was not told.';

-- Schedules that are due, the most overdue first, held until the transaction ends; those that others hold are left out.
-- The plan is fixed: the statistics of a table whose rows move on with every tick are wrong most of the time.
create function schedule_due_v1(p_limit bigint) returns setof schedule
language plpgsql
set enable_seqscan to off set enable_bitmapscan to off set enable_sort to off
as $$
begin
    return query select s.* from schedule s where s.next_at is not null and s.next_at <= now()
        order by s.next_at, s.id limit p_limit for update skip locked;
end $$;

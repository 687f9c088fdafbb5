-- Sweeps of dead letters: one action, new attempts or the decision against them, on all that match, in batches by a job.

create table letter_sweep (
    id uuid primary key,
    -- None where the letters of all tenants are swept.
    tenant_id uuid,
    action text not null check (action in ('REDRIVE', 'DISCARD')),
    filter jsonb not null,
    attempts smallint check (attempts > 0),
    rate smallint not null check (rate > 0),
    state text not null default 'RUNNING' check (state in ('RUNNING', 'DONE', 'CANCELLED', 'FAILED')),
    matched bigint not null,
    reached bigint not null default 0,
    done bigint not null default 0,
    refused bigint not null default 0,
    refusal text,
    error text,
    asked_by text not null,
    asked_at timestamptz not null default now(),
    ended_at timestamptz
) with (fillfactor = 50);
create index letter_sweep_tenant on letter_sweep (tenant_id, id);
comment on column letter_sweep.reached is 'Every letter up to this job has been decided about: it is moved on in the transaction of its batch.';
comment on column letter_sweep.refusal is 'Why the first of those that could not be redriven could not be.';

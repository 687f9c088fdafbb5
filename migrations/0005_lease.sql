-- Leases: who alone may do what many could.
--
-- One row per name. The database's clock decides expiry, and each new holder gets the next epoch, so that
-- whoever lost a lease without noticing is refused by what they write, however late it comes. Unlike a
-- job's token the epoch may be a counter: it is drawn by an update of a row that survives a crash, and
-- handed out only once that is committed.

create table lease (
    name text primary key,
    holder uuid not null,
    epoch bigint not null
        constraint lease_epoch_positive check (epoch > 0),
    taken_at timestamptz not null default now(),
    lease_until timestamptz not null
) with (fillfactor = 50);
comment on column lease.holder is 'Drawn anew by each process at its start: never a host or pod name, which come back.';
comment on column lease.lease_until is 'When another may take it. In the past once it was released.';

-- Nodes of runs that wait for what they ordered: the end of an operation on a machine, or of a check of one.
-- Whoever ends that takes the row away and puts the word into the run's inbox, in the same transaction.

create table run_waiter (
    run_id uuid not null,
    node_id text not null,
    attempt smallint not null,
    tenant_id uuid not null,
    operation_id uuid,
    machine_id uuid not null,
    check_name text,
    created_at timestamptz not null default now(),
    primary key (run_id, node_id, attempt),
    constraint run_waiter_for_one_thing check ((operation_id is null) <> (check_name is null))
);
create index run_waiter_operation on run_waiter (operation_id) where operation_id is not null;
create index run_waiter_check on run_waiter (machine_id, check_name) where check_name is not null;
comment on table run_waiter is 'One row per attempt of a node that waits, so that one which is performed again asks for nothing twice.';

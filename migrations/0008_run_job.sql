-- Which job a run waits for: so that a run which ends can withdraw what it waits for, and a run whose job
-- was taken from under it is found.

alter table run_log add column job_id bigint;
comment on column run_log.job_id is 'The job that was enqueued with this line: of a node that was dispatched, or of the wake-up of one that waits.';

-- Not over columns that a step changes: a step then rewrites no index.
create index run_running on run (id) where status = 'RUNNING';
create index run_pending on run (created_at) where status = 'PENDING';

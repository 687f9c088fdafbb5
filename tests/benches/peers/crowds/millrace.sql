-- :scheduled jobs that are due in thirty days, and :finished that ended well, which it keeps.
with made as (
    insert into job (pool_id, queue_id, priority, max_attempts, kind, payload)
    select 4, 4, 2, 3, 'queue.noop', '{}' from generate_series(1, :scheduled)
    returning id
)
insert into job_scheduled (run_at, job_id, pool_id, queue_id, priority, attempt, crashes, reason, holds_key, kind)
    select now() + id * interval '1 millisecond' + interval '30 days', id, 4, 4, 2, 0, 0, 0, false, 'queue.noop' from made;
insert into job_history (job_id, created_at, run_ms, queue_id, priority, attempt, crashes, outcome, kind, payload)
    select -i, now(), 1, 4, 2, 1, 0, 0, 'queue.noop', '{}' from generate_series(1, :finished) i;

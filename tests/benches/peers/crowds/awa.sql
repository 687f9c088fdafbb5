-- :scheduled jobs that are due in thirty days, in its table of deferred ones. What is finished lies in a ring that is cut off
-- after some seconds: of those there are none.
insert into awa.deferred_jobs (job_id, kind, queue, args, state, priority, run_at, payload)
    select 1000000000 + i, 'noop', 'default', '{"id": 0}', 'scheduled', 2, now() + interval '30 days', '{}'
    from generate_series(1, :scheduled) i;

-- :scheduled jobs that are due in thirty days, and :finished that succeeded, which it keeps, with the events of its triggers.
insert into procrastinate_jobs (queue_name, task_name, args, scheduled_at)
    select 'q', 'noop', '{"id": -1}', now() + interval '30 days' from generate_series(1, :scheduled);
insert into procrastinate_jobs (queue_name, task_name, args, status, attempts)
    select 'q', 'noop', '{"id": -1}', 'succeeded', 1 from generate_series(1, :finished);

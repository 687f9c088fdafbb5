-- :scheduled jobs that are due in thirty days. One by its own function, which makes the task's row; a million that way take
-- minutes, and so the rest are copies. It deletes what is finished: of those there are none.
select graphile_worker.add_job('noop', '{"id": -1}'::json, run_at => now() + interval '30 days');
insert into graphile_worker._private_jobs (task_id, payload, run_at)
    select j.task_id, j.payload, j.run_at from graphile_worker._private_jobs j, generate_series(2, :scheduled);

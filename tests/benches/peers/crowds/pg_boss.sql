-- :scheduled jobs that start in thirty days, and :finished that are completed, which it keeps for a week.
insert into pgboss.job (name, data, start_after)
    select 'noop', '{"id": -1}', now() + interval '30 days' from generate_series(1, :scheduled);
insert into pgboss.job (name, data, state, created_on, started_on, completed_on)
    select 'noop', '{"id": -1}', 'completed', at, at, at
    from (select now() - interval '1 hour' as at) hour, generate_series(1, :finished);

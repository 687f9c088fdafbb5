-- :scheduled workflows that are delayed by thirty days, and :finished that succeeded, which it keeps.
insert into dbos.workflow_status
    (workflow_uuid, status, name, authenticated_roles, application_version, queue_name, serialization, delay_until_epoch_ms)
    select gen_random_uuid()::text, 'DELAYED', 'noop', '[]', '1', 'q', 'js_superjson',
        (extract(epoch from now() + interval '30 days') * 1000)::bigint
    from generate_series(1, :scheduled);
insert into dbos.workflow_status
    (workflow_uuid, status, name, authenticated_roles, application_version, queue_name, serialization, inputs, output,
        started_at_epoch_ms, completed_at)
    select gen_random_uuid()::text, 'SUCCESS', 'noop', '[]', '1', 'q', 'js_superjson', '{"json":[-1]}', '{"json":null}', at, at
    from (select (extract(epoch from now()) * 1000)::bigint as at) moment, generate_series(1, :finished);

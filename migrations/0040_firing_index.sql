-- What counts a tenant's firings, and what looks after those that wait, reads them by indices.
--
-- Built in a transaction: firings can be read meanwhile, and whoever writes one waits.

create index schedule_firing_tenant on schedule_firing (tenant_id, fired_at);
create index schedule_firing_open on schedule_firing (tenant_id) where ended_at is null;
create index schedule_firing_waits on schedule_firing (look_at) where state = 'QUEUED';

-- Those that wait for their jobs know them from now on, and those whose jobs are dead, which can be redriven.
update schedule_firing f set job_id = j.id from job j
where f.state = 'QUEUED' and f.job_id is null and j.kind = 'schedule.fire' and j.payload->>'firing_id' = f.id::text;
update schedule_firing f set job_id = d.job_id from job_dead d
where f.state = 'FAILURE' and f.job_id is null and d.kind = 'schedule.fire' and d.payload->>'firing_id' = f.id::text;

-- Since when a host answers as it does, so that a job that waits for it can say so; and the way to a tenant's
-- finished jobs, which led through those of all others.

alter table host add column reach_since timestamptz;
comment on column host.reach_since is 'Since when `reach` is what it is; null until its holder reports after this column came.';

-- Only what belongs to a tenant: the installation's own jobs, of which there are most, cost their
-- acknowledgement nothing. It is built day by day, and each day's acknowledgements wait for theirs.
create index job_history_tenant on job_history (tenant_id, job_id) where tenant_id is not null;

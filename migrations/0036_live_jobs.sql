-- A tenant's live jobs by their ids: a page of them is read without walking those of all tenants. Jobs of no tenant,
-- and with them the queue's own work, pay nothing for it.
create index job_tenant on job (tenant_id, id) where tenant_id is not null;

-- `job_done_v2` for those who acknowledge for many at once: whoever holds an order key keeps one result waiting, and
-- neither the others nor, for longer than this, the lease's row, which nobody could renew meanwhile.
create function job_done_soon_v1(
    p_ids bigint[], p_tokens uuid[], p_run_ms integer[], p_pools integer[], p_heirs uuid[],
    p_worker uuid, p_lease_ms integer, p_kinds text[])
returns table (
    accepted bigint[], woken integer[],
    after_id bigint, job_id bigint, token uuid, pool_id integer, priority smallint, attempt smallint, crashes smallint,
    max_attempts smallint, kind text, tenant_id uuid, trace_parent text, payload jsonb)
language sql
set lock_timeout = '250ms'
as 'select * from job_done_v2($1, $2, $3, $4, $5, $6, $7, $8)';

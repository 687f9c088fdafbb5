-- Schedules of all tenants get their turns, however many of one are due; a firing knows its job.

create index schedule_tenant_due on schedule (tenant_id, next_at, id) where next_at is not null;

-- schedule_due_v1 as long as no more are due than are asked for. Of more, every tenant has the same share: the most
-- overdue of each come first, then the second of each, and so on, so that nobody's ticks are missed behind thousands
-- of another's. It costs one probe for each tenant, and only where it is needed. May answer fewer than are asked for
-- and due. A row comparison is met by the index of the tenant alone: the planner cannot walk all that is due for it.
create function schedule_due_v2(p_limit bigint) returns setof schedule
language plpgsql
set enable_seqscan to off set enable_bitmapscan to off set enable_sort to off set enable_incremental_sort to off
set enable_hashjoin to off set enable_mergejoin to off set jit to off
as $$
begin
    if (select count(*) from (
            select from schedule s where s.next_at is not null and s.next_at <= now()
            order by s.next_at, s.id limit p_limit + 1) x) <= p_limit then
        return query select * from schedule_due_v1(p_limit);
        return;
    end if;
    return query
    with recursive earliest(tenant_id, next_at) as (
        (select s.tenant_id, s.next_at from schedule s where s.next_at is not null
            order by s.tenant_id, s.next_at, s.id limit 1)
        union all
        select n.tenant_id, n.next_at from earliest e cross join lateral (
            select s.tenant_id, s.next_at from schedule s where s.next_at is not null and s.tenant_id > e.tenant_id
            order by s.tenant_id, s.next_at, s.id limit 1) n),
    late as materialized (select e.tenant_id from earliest e where e.next_at <= now()),
    share as materialized (select ceil(p_limit::numeric / greatest(count(*), 1))::bigint as most from late),
    turn as materialized (
        select y.id, y.nth from late t cross join lateral (
            select x.id, x.next_at, row_number() over (order by x.next_at, x.id) as nth from (
                select s.id, s.next_at from schedule s
                where s.next_at is not null and (s.tenant_id, s.next_at) >= (t.tenant_id, '-infinity'::timestamptz)
                    and (s.tenant_id, s.next_at) <= (t.tenant_id, now())
                order by s.tenant_id, s.next_at, s.id limit (select h.most from share h)) x) y
        order by y.nth, y.next_at, y.id limit p_limit)
    select s.* from turn u join schedule s on s.id = u.id where s.next_at <= now()
    order by u.nth, s.next_at, s.id for update of s skip locked;
end $$;

alter table schedule_firing
    add column job_id bigint,
    add column look_at timestamptz not null default now() + interval '5 minutes';
comment on column schedule_firing.job_id is 'The job of its last attempt; null where a version before this one entered it.';
comment on column schedule_firing.look_at is 'While it is QUEUED, when somebody looks whether its job is still there.';

-- Those whose turn it is are read by their ids alone. Where the statistics are of a time when nothing was due, the planner
-- took all that is due for a single row, and read each of them to find those few.

-- As before, but for the last statement.
create or replace function schedule_due_v2(p_limit bigint) returns setof schedule
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
    -- Written so that no index serves the time: it would be walked from its beginning, for each that is due.
    select s.* from turn u join schedule s on s.id = u.id where s.next_at - now() <= interval '0'
    order by u.nth, s.next_at, s.id for update of s skip locked;
end $$;

-- Sweeps of dead letters: one action, new attempts or the decision against them, on all that match, in batches by a job.

create table letter_sweep (
    id uuid primary key,
    -- None where the letters of all tenants are swept.
    tenant_id uuid,
    action text not null check (action in ('REDRIVE', 'DISCARD')),
    filter jsonb not null,
    attempts smallint check (attempts > 0),
    rate smallint not null check (rate > 0),
    state text not null default 'RUNNING' check (state in ('RUNNING', 'DONE', 'CANCELLED', 'FAILED')),
    job_id bigint not null,
    matched bigint not null,
    matched_complete boolean not null,
    reached bigint not null default 0,
    done bigint not null default 0,
    refused bigint not null default 0,
    refusal text,
    error text,
    second_at timestamptz,
    second_taken smallint not null default 0,
    asked_by text not null,
    asked_at timestamptz not null default now(),
    ended_by text,
    ended_at timestamptz
) with (fillfactor = 50);
create index letter_sweep_tenant on letter_sweep (tenant_id, id);
create index letter_sweep_asked on letter_sweep (asked_at);
create index letter_sweep_open on letter_sweep (tenant_id) where ended_at is null;
create index letter_sweep_running on letter_sweep (id) where state = 'RUNNING';
comment on column letter_sweep.reached is 'Every letter up to this job has been decided about: it is moved on in the transaction of its batch.';
comment on column letter_sweep.refusal is 'Why the first of those that could not be redriven could not be.';
comment on column letter_sweep.matched_complete is 'Whether all that match were counted, or so many and there are more.';
comment on column letter_sweep.second_at is 'When the second began in which second_taken letters were taken: what the rate is kept by, whoever goes on with it.';

-- As letter_find_v1, without those of the kind p_besides.
create function letter_find_v2(
    p_tenant uuid, p_filter jsonb, p_besides text, p_after bigint, p_before bigint, p_window integer, p_limit integer,
    out ids bigint[], out reached bigint)
language plpgsql stable
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_order text := case when p_after is null then 'desc' else 'asc' end;
    v_looked bigint;
    v_last bigint;
begin
    -- Planned anew each time, for what it is asked with: one plan for all filters would be right for none.
    execute format('
        with looked as materialized (
            select job_id, %1$s as fits from job_dead where %2$s order by job_id %3$s limit $1),
        hits as (select job_id from looked where fits order by job_id %3$s limit $2)
        select (select coalesce(array_agg(job_id order by job_id %3$s), ''{}'') from hits),
            (select count(*) from looked), (select job_id from looked order by job_id %4$s limit 1)',
        concat_ws(' and ', letter_condition_v1(p_filter - 'fingerprint'), 'kind <> ' || quote_literal(p_besides)),
        concat_ws(' and ', 'true', 'tenant_id = ' || quote_literal(p_tenant), 'fingerprint = ' || quote_literal(p_filter->>'fingerprint'),
            'job_id > ' || p_after, 'job_id < ' || p_before),
        v_order, case v_order when 'desc' then 'asc' else 'desc' end)
    into ids, v_looked, v_last using p_window, p_limit;
    reached := case
        when cardinality(ids) >= p_limit then ids[cardinality(ids)]
        when v_looked >= p_window then v_last
    end;
end $$;

-- Redrives dead letters as job_redrive_v2 does each, with as many further attempts as stand beside it. Letters are locked in
-- the order of their ids, then all uniqueness keys in theirs, then all order keys in theirs, as enqueueing does, so that two
-- at once wait for each other and never in a circle. An acknowledgement takes order keys first: where it meets this in a circle,
-- one of both is undone by Postgres and tried again.
create function job_redrive_many_v1(p_ids bigint[], p_attempts smallint[])
returns table (id bigint, became text, woken integer[])
language plpgsql
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    v_letter record;
    v_holder bigint;
    v_taken bigint[] := '{}';
begin
    perform from job_dead d where d.job_id = any(p_ids) order by d.job_id for update;
    for v_letter in
        select d.job_id, d.unique_key from job_dead d
        where d.job_id = any(p_ids) and d.unique_key is not null order by d.unique_key, d.job_id
    loop
        loop
            insert into job_unique (key, job_id) values (v_letter.unique_key, v_letter.job_id) on conflict (key) do nothing;
            v_holder := v_letter.job_id;
            exit when found;
            select u.job_id into v_holder from job_unique u where u.key = v_letter.unique_key for update;
            continue when not found;
            exit when v_holder = v_letter.job_id;
            update job_unique u set job_id = v_letter.job_id, keep_until = null
            where u.key = v_letter.unique_key and u.keep_until <= now() and not exists (select from job j where j.id = v_holder);
            if found then
                v_holder := v_letter.job_id;
            end if;
            exit;
        end loop;
        if v_holder <> v_letter.job_id then
            v_taken := v_taken || v_letter.job_id;
        end if;
    end loop;
    for v_letter in
        select i.id, i.attempts, d.job_id is not null as there
        from unnest(p_ids, p_attempts) i (id, attempts) left join job_dead d on d.job_id = i.id
        order by d.order_key nulls first, i.id
    loop
        id := v_letter.id;
        woken := '{}';
        if not v_letter.there then
            became := 'not_dead';
        elsif v_letter.id = any(v_taken) then
            became := 'unique_taken';
        else
            select r.became, r.woken into became, woken from job_redrive_v2(v_letter.id, v_letter.attempts) r;
        end if;
        return next;
    end loop;
end $$;

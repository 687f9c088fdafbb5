-- Dead letters by what ended them: each has the fingerprint of its error, and they are counted by it, found by it, and
-- searched.
--
-- The fingerprint is computed by the table itself, so that whatever writes a dead letter, a version of before too, need
-- know nothing of it; those that are there get theirs now.

-- What an error says without what differs from one time to the next, as `rules::queue::letter::shape` says it; a test
-- compares them. A match is the longest one here and the first one there, so no rule has two ways to match from one place.
create function error_shape_v1(p_error text) returns text
language sql immutable strict parallel safe
return left(btrim(
    regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(
        (' ' || left(p_error, 2000)) collate "C",
        '`[^`]*`', '?', 'g'),
        '"[^"]*"', '?', 'g'),
        '([^0-9A-Za-z])''[^'']*''', '\1?', 'g'),
        '[A-Za-z0-9+.-]+://[^ \n\r\t]*', '?', 'g'),
        '[^ \n\r\t@]+@[^ \n\r\t]+', '?', 'g'),
        '[0-9A-Za-z_-]*[0-9][0-9A-Za-z_-]*', '#', 'g'),
        '#(?:[.:,+/ ]*#)+', '#', 'g'),
        '[ \n\r\t]+', ' ', 'g'),
    ' '), 300);

-- As `rules::queue::letter::fingerprint`.
create function letter_fingerprint_v1(p_kind text, p_error text) returns text
language sql immutable strict parallel safe
return left(encode(sha256(convert_to(p_kind || chr(10) || error_shape_v1(p_error), 'UTF8')), 'hex'), 16);

alter table job_dead add column fingerprint text not null generated always as (letter_fingerprint_v1(kind, error)) stored;
comment on column job_dead.fingerprint is 'By what dead letters are grouped: the same for jobs of one kind whose errors have one shape.';

create index job_dead_group on job_dead (fingerprint, job_id);
create index job_dead_tenant_group on job_dead (tenant_id, fingerprint, job_id);

-- What groups are made of is read from these alone.
create index job_dead_died_v2 on job_dead (died_at) include (job_id, tenant_id, fingerprint, kind, queue_id);
create index job_dead_tenant_v2 on job_dead (tenant_id, job_id) include (died_at, fingerprint, kind, queue_id);
drop index job_dead_died;
drop index job_dead_tenant;

-- The condition that a filter (`rules::queue::letter::Letters`) puts to a dead letter, as text.
create function letter_condition_v1(p_filter jsonb) returns text
language sql stable
return concat_ws(' and ', 'true',
    'kind = ' || quote_literal(p_filter->>'kind'),
    -- A queue that there is not has no letters.
    'queue_id = ' || (case when p_filter->>'queue' is not null
        then coalesce((select q.id from job_queue q where q.name = p_filter->>'queue'), -1) end)::text,
    'fingerprint = ' || quote_literal(p_filter->>'fingerprint'),
    'died_at >= ' || quote_literal(p_filter->>'since') || '::timestamptz',
    'died_at < ' || quote_literal(p_filter->>'until') || '::timestamptz',
    'strpos(lower(error), lower(' || quote_literal(p_filter->>'search') || ')) > 0');

-- Those that fit among the p_window dead letters that come next: before p_before, newest first, or after p_after, oldest
-- first; at most p_limit. `reached` is the last one that was decided about, none when there are no more.
create function letter_find_v1(
    p_tenant uuid, p_filter jsonb, p_after bigint, p_before bigint, p_window integer, p_limit integer,
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
        letter_condition_v1(p_filter - 'fingerprint'),
        concat_ws(' and ', 'true', 'tenant_id = ' || quote_literal(p_tenant), 'fingerprint = ' || quote_literal(p_filter->>'fingerprint'),
            'job_id > ' || p_after, 'job_id < ' || p_before),
        v_order, case v_order when 'desc' then 'asc' else 'desc' end)
    into ids, v_looked, v_last using p_window, p_limit;
    reached := case
        when cardinality(ids) >= p_limit then ids[cardinality(ids)]
        when v_looked >= p_window then v_last
    end;
end $$;

-- The groups of those that fit among the newest p_most dead letters: how many each has, since when, until when, and its
-- newest letter. `looked` is how many there were to look at: p_most where there are more.
create function letter_groups_v1(p_tenant uuid, p_filter jsonb, p_most integer, p_limit integer, out looked bigint, out groups jsonb)
language plpgsql stable
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
    execute format('
        with looked as materialized (
            select job_id, died_at, fingerprint, kind, %1$s as fits from job_dead where %2$s order by %3$s desc limit $1),
        grouped as (
            select fingerprint, kind, count(*) as count, min(died_at) as first_at, max(died_at) as last_at, max(job_id) as sample_id
            from looked where fits group by fingerprint, kind
            order by count(*) desc, max(died_at) desc, fingerprint limit $2)
        select (select count(*) from looked),
            (select coalesce(jsonb_agg(to_jsonb(g) || jsonb_build_object(''sample_error'', d.error)
                order by g.count desc, g.last_at desc, g.fingerprint), ''[]'')
            from grouped g join job_dead d on d.job_id = g.sample_id)',
        letter_condition_v1(p_filter - 'search'),
        concat_ws(' and ', 'true', 'tenant_id = ' || quote_literal(p_tenant)),
        case when p_tenant is null then 'died_at' else 'job_id' end)
    into looked, groups using p_most, p_limit;
end $$;

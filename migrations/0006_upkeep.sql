-- Upkeep: what the scheduler needs to keep the other chapters small.

-- Expired uniqueness keys are found without reading those that live as long as their job.
create index job_unique_expiry on job_unique (keep_until) where keep_until is not null;

-- Drops the oldest day of the history that ended before the last p_keep_days days, and tells its name;
-- null when there is none. A drop locks the whole history for a moment, so it does not wait for that lock
-- long: everybody who wants to acknowledge a job would wait behind it.
create function job_history_drop_v1(p_keep_days integer) returns text
language plpgsql
set lock_timeout = '250ms'
as $$
declare
    v_name text;
begin
    if p_keep_days < 1 then
        raise exception 'history must be kept for a day at least' using errcode = 'invalid_parameter_value';
    end if;
    select c.relname into v_name
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'job_history'::regclass and c.relname ~ '^job_history_[0-9]{8}$'
        and c.relname < 'job_history_' || to_char((now() at time zone 'utc')::date - p_keep_days, 'YYYYMMDD')
    order by c.relname limit 1;
    if v_name is not null then
        execute format('drop table %I', v_name);
    end if;
    return v_name;
end $$;

-- What the API keeps of its doors: keys under which a mutation that is sent again is not done again. And the way to
-- what one actor did, in an audit of any length.

-- A key, from when its request begins until a day later. The nil uuid stands for requests that name no tenant.
create table idempotency_key (
    -- Drawn by whoever executes the request, and drawn anew by whoever takes it over.
    id uuid primary key,
    tenant_id uuid not null,
    principal text not null,
    key text not null constraint idempotency_key_text check (char_length(key) between 1 and 255),
    -- A hash of what was asked.
    fingerprint bytea not null,
    created_at timestamptz not null default now(),
    -- Until when it is taken to be under way: who executes it may have died.
    held_until timestamptz not null,
    -- When something was done under it, by the transaction that did it.
    done_at timestamptz,
    -- What was answered, sealed: answers may hold secrets.
    answer bytea,
    constraint idempotency_key_of unique (tenant_id, principal, key)
);
create index idempotency_key_created on idempotency_key (created_at);

-- Notes in the transaction under way that something is done under a key; false where another has taken the key over,
-- and nothing may be done. It runs with the owner's rights: the transaction may have entered another tenant than the
-- request names, or none.
create function idempotency_done_v1(p_id uuid) returns boolean
language plpgsql security definer as $$
begin
    update idempotency_key set done_at = coalesce(done_at, now()) where id = p_id;
    return found;
end $$;

do $$
begin
    execute format('alter function idempotency_done_v1(uuid) set search_path = %I, pg_temp', current_schema());
    revoke all on function idempotency_done_v1(uuid) from public;
end $$;

-- Entries wait in the intake while this is built, and nothing that people do waits for it.
create index audit_entry_actor on audit_entry (tenant_id, actor, seq);

select wall_furnish_v1();

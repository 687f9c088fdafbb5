-- Identity: who may enter, and whose everything else is.
--
-- A tenant owns rows; a user is a person who logs in; a membership says what a user may do in a tenant; an
-- API key lets a program into exactly one tenant. Ids are UUIDv7, drawn by the program, so that they sort
-- by age and tell nothing of how many there are. Nothing here is ever deleted save memberships: what once
-- acted stays nameable in logs, and is disabled instead.

create table tenant (
    id uuid primary key,
    slug text not null
        constraint tenant_slug_form check (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    title text not null
        constraint tenant_title_length check (char_length(title) between 1 and 255),
    disabled_at timestamptz,
    created_at timestamptz not null default now(),
    constraint tenant_slug_unique unique (slug)
);
comment on column tenant.slug is 'The name in addresses, such as that of a webhook. Never reused for another tenant.';

create table app_user (
    id uuid primary key,
    email text not null
        constraint app_user_email_length check (char_length(email) between 3 and 254),
    password_hash text not null,
    role text not null
        constraint app_user_role_known check (role in ('USER', 'ADMIN', 'SUPER_ADMIN')),
    session_epoch integer not null default 0,
    disabled_at timestamptz,
    created_at timestamptz not null default now()
);
-- Two addresses that differ in case alone belong to one person, and must not become two accounts.
create unique index app_user_email_unique on app_user (lower(email));
comment on column app_user.password_hash is 'Argon2id in PHC form; the parameters stand in it, so that they can be raised.';
comment on column app_user.role is 'What the user may do to the installation. What they may do in a tenant stands in membership.';
comment on column app_user.session_epoch is 'Stands in every token issued. Counting it up, as a change of password does, ends all of them.';

create table membership (
    tenant_id uuid not null references tenant (id),
    user_id uuid not null references app_user (id),
    role text not null
        constraint membership_role_known check (role in ('ADMIN', 'MEMBER')),
    created_at timestamptz not null default now(),
    constraint membership_unique primary key (tenant_id, user_id)
);
create index membership_user on membership (user_id, tenant_id);

create table api_key (
    id uuid primary key,
    tenant_id uuid not null references tenant (id),
    public_id text not null,
    secret_hash bytea not null
        constraint api_key_hash_length check (octet_length(secret_hash) = 32),
    title text not null
        constraint api_key_title_length check (char_length(title) between 1 and 255),
    role text not null
        constraint api_key_role_known check (role in ('ADMIN', 'MEMBER')),
    created_by text not null,
    expires_at timestamptz,
    disabled_at timestamptz,
    last_used_at timestamptz,
    created_at timestamptz not null default now(),
    constraint api_key_public_id_unique unique (public_id)
);
create index api_key_tenant on api_key (tenant_id, id);
comment on column api_key.public_id is 'The part of the key by which its row is found. It is no secret.';
comment on column api_key.secret_hash is 'SHA-256 of the key''s secret part. It holds enough randomness that a slow hash would add nothing but load.';
comment on column api_key.created_by is 'Who made it: user:<id> or key:<id>.';
comment on column api_key.last_used_at is 'Written at most once a minute, so that a busy key does not rewrite its row at each request.';

-- Attempts to log in, counted in windows by e-mail address and by network address. Counted before the
-- password is looked at: attempts made side by side are then all counted, too.
create table login_throttle (
    key text primary key,
    failures integer not null,
    window_ends_at timestamptz not null,
    locked_until timestamptz
);
create index login_throttle_old on login_throttle (window_ends_at);
comment on column login_throttle.key is 'email:<sha-256 of the address in lower case> or address:<network address>. The hash keeps a mistyped password, entered as the address, out of the table.';
comment on table login_throttle is 'Rows outlive their window until a later failure sweeps them; losing all of them costs nothing but the count.';

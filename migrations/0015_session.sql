-- Sessions: what a login begins, how it goes on, and how it ends; and how people come to have an account.
--
-- A session is a family of refresh tokens, of which the last alone is good. Tokens are 256 random bits, and
-- kept as their SHA-256; each is found by it. Used ones stay until their session ends or expires, for one
-- that comes again was copied: then the whole family ends, the thief's part and the owner's.

create table session (
    id uuid primary key,
    user_id uuid not null references app_user (id),
    epoch integer not null,
    created_at timestamptz not null default now(),
    refreshed_at timestamptz not null default now(),
    expires_at timestamptz not null,
    ended_at timestamptz,
    ended_because text
        constraint session_end_known check (ended_because in ('LOGOUT', 'REUSE'))
);
create index session_of_user on session (user_id, id) where ended_at is null;
create index session_old on session (expires_at);
comment on column session.epoch is 'The user''s session_epoch when it began. It has ended when that has been counted up.';

create table refresh_token (
    hash bytea primary key
        constraint refresh_token_hash_length check (octet_length(hash) = 32),
    session_id uuid not null references session (id) on delete cascade,
    created_at timestamptz not null default now(),
    used_at timestamptz
);
create index refresh_token_session on refresh_token (session_id);

create table user_identity (
    issuer text not null,
    subject text not null
        constraint user_identity_subject_length check (char_length(subject) between 1 and 128),
    user_id uuid not null references app_user (id),
    created_at timestamptz not null default now(),
    constraint user_identity_unique primary key (issuer, subject)
);
create index user_identity_user on user_identity (user_id);
comment on table user_identity is 'Who a subject of another issuer of tokens is here.';

create table invitation (
    id uuid primary key,
    tenant_id uuid not null references tenant (id),
    email text not null
        constraint invitation_email_length check (char_length(email) between 3 and 254),
    role text not null
        constraint invitation_role_known check (role in ('ADMIN', 'MEMBER')),
    hash bytea not null
        constraint invitation_hash_length check (octet_length(hash) = 32),
    invited_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    accepted_at timestamptz,
    revoked_at timestamptz,
    constraint invitation_hash_unique unique (hash)
);
create index invitation_tenant on invitation (tenant_id, id);
comment on column invitation.hash is 'SHA-256 of the token that whoever invites hands on. 256 random bits.';

-- To be disabled was to be revoked. Now a key that is disabled may be enabled again, and a revoked one not.
alter table api_key add column revoked_at timestamptz;
alter table api_key add column successor_of uuid references api_key (id);
update api_key set revoked_at = disabled_at where disabled_at is not null;
create index api_key_successor on api_key (successor_of) where successor_of is not null;
comment on column api_key.successor_of is 'The key that this one takes over from: for a while both are good.';

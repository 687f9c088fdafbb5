-- Permissions: roles that a tenant makes for itself, and who has which.
--
-- A member or a key with roles of the tenant's own has exactly what these grant; one without has what the
-- built-in `MEMBER` has. `ADMIN` has everything. That is why a role in use cannot be deleted: its holders
-- would suddenly have more, or nothing.

create table tenant_role (
    id uuid primary key,
    tenant_id uuid not null references tenant (id),
    title text not null
        constraint tenant_role_title_length check (char_length(title) between 1 and 255),
    grants text[] not null
        constraint tenant_role_grants_count check (cardinality(grants) <= 200),
    created_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint tenant_role_title_unique unique (tenant_id, title),
    -- So that what names a role must name its tenant, too.
    constraint tenant_role_place unique (tenant_id, id)
);
comment on column tenant_role.grants is 'As they were written, wildcards included: a permission that is added later falls under them by itself.';

create table membership_role (
    tenant_id uuid not null,
    user_id uuid not null,
    role_id uuid not null,
    primary key (tenant_id, user_id, role_id),
    constraint membership_role_member foreign key (tenant_id, user_id)
        references membership (tenant_id, user_id) on delete cascade,
    constraint membership_role_in_use foreign key (tenant_id, role_id) references tenant_role (tenant_id, id)
);
create index membership_role_role on membership_role (tenant_id, role_id);

create table api_key_role (
    tenant_id uuid not null,
    key_id uuid not null references api_key (id) on delete cascade,
    role_id uuid not null,
    primary key (tenant_id, key_id, role_id),
    constraint api_key_role_in_use foreign key (tenant_id, role_id) references tenant_role (tenant_id, id)
);
create index api_key_role_role on api_key_role (tenant_id, role_id);
create index api_key_role_key on api_key_role (key_id);

alter table api_key add column scopes text[];
comment on column api_key.scopes is 'Grants that narrow what the roles give; null does not narrow.';

alter table tenant add column modules text[];
comment on column tenant.modules is 'The modules that are switched on for it; null means all that the deployment has.';

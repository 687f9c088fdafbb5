-- A known value, sealed when the installation began. Whoever cannot open it holds another keyring, and would
-- find out only at the first secret; so every process that opens secrets tries this one before it listens.

create table keyring_proof (
    one boolean primary key default true
        constraint keyring_proof_one check (one),
    sealed bytea not null,
    sealed_at timestamptz not null default now()
);
comment on column keyring_proof.sealed is 'Sealed anew when another key has become the active one, so that retired keys can be dropped.';

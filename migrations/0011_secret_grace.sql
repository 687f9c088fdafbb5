-- A listener's secret before the last: accepted a while longer, so that a sender can be given the new one
-- without losing a delivery.

alter table listener
    add column old_secret bytea,
    add column old_secret_until timestamptz,
    add constraint listener_old_secret_whole check ((old_secret is null) = (old_secret_until is null));
comment on column listener.old_secret is 'Moved here from `secret` as it stood, so it stays sealed to the place of that column.';

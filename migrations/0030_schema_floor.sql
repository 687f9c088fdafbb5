-- How new an executable must be to work on this schema. A schema that was expanded suits the version before as
-- well: in the middle of a deployment that one must be able to go on, and to start again when it dies.

create function schema_floor() returns bigint language sql immutable as $$ select 30::bigint $$;
comment on function schema_floor() is 'The migration that an executable must know at least. A migration that takes something away replaces this with the number of the one since which nobody needs it.';

-- Retention: how what has ended is found by its age.

create index run_finished on run (finished_at) where finished_at is not null;

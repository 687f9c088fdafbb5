-- A letter to a run that this version cannot read, most likely of a later one, is put aside: the run goes
-- on without it, and it is tried again now and then until somebody who can read it holds the run.

alter table run_inbox add column aside_until timestamptz;
comment on column run_inbox.aside_until is 'Until when it is left alone; null for a letter that nobody failed to read.';

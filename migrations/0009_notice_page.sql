-- A tenant's notices of all listeners, newest first, are read in order instead of being sorted.
create index notice_page on notice (tenant_id, id);

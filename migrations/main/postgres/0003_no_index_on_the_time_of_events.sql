-- As in the analytics database: the end of a vacuum reads at once what a BRIN index has yet to read, and the primary key
-- finds a time range, too.
DROP INDEX IF EXISTS funnel_events_created_at;

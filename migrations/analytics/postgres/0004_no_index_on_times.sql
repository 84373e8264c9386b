-- An id carries its time, so a primary key finds a time range, too. What a BRIN index has yet to read, the end of a vacuum
-- reads at once and as fast as it can, however slowly the vacuum is told to go: at 50,000 sessions a second whole
-- gigabytes, while answers wait.
DROP INDEX IF EXISTS analytics_sessions_started_at;
DROP INDEX IF EXISTS analytics_pageviews_entered_at;

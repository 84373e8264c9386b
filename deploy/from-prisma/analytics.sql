-- Brings the sessions of the original's analytics database into Weir's, on PostgreSQL. docs/migrating.md says how.
--
-- Run it with psql in Weir's analytics database, after `weir migrate`, with the old table in a schema of its own:
--
--   psql -v ON_ERROR_STOP=1 -v old=old.analytics_sessions -f deploy/from-prisma/analytics.sql "$ANALYTICS_DATABASE_URL"
--
-- It may be run again, also while Weir runs: a session that is there already is left as it is. Nothing is changed or deleted
-- in the old table. Columns that the old table lacks stay null.

\set ON_ERROR_STOP on

BEGIN;

-- Weir's ids carry their time, and tables are partitioned by it. So an old session gets an id of its own time, made of its old
-- id: the same one whenever this is run.
CREATE FUNCTION pg_temp.dated_id(old_id uuid, at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0')
        || '7' || substr(md5(old_id::text), 1, 3) || 'a' || substr(md5(old_id::text), 4, 15))::uuid
$$;

-- By the names of their columns, whatever their order and number.
CREATE TEMPORARY VIEW old_sessions AS
SELECT new.* FROM :old AS row, LATERAL jsonb_populate_record(NULL::analytics_sessions, to_jsonb(row)) AS new;

-- A partition for each day, as Weir makes them.
DO $$
DECLARE
    of_day date;
    name text;
    bounds text[];
BEGIN
    PERFORM pg_advisory_xact_lock(x'77656972'::bigint);
    FOR of_day IN SELECT DISTINCT (started_at AT TIME ZONE 'UTC')::date FROM old_sessions ORDER BY 1 LOOP
        name := 'analytics_sessions_' || to_char(of_day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        SELECT array_agg((hex || repeat('0', 20))::uuid::text ORDER BY hex) INTO bounds
        FROM (
            SELECT lpad(to_hex((extract(epoch FROM day AT TIME ZONE 'UTC') * 1000)::bigint), 12, '0') AS hex
            FROM unnest(ARRAY[of_day::timestamp, (of_day + 1)::timestamp]) AS day
        ) AS ends;
        EXECUTE format(
            'CREATE TABLE %I (LIKE analytics_sessions INCLUDING DEFAULTS INCLUDING CONSTRAINTS) WITH (fillfactor = 70)', name);
        EXECUTE format(
            'ALTER TABLE analytics_sessions ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, bounds[1], bounds[2]);
    END LOOP;
END
$$;

INSERT INTO analytics_sessions (
    id, visitor_id, user_id, bio_page_id, creator_id, landing_page, referrer, referrer_domain,
    utm_source, utm_medium, utm_campaign, utm_term, utm_content, device, browser, os, os_version,
    screen_width, screen_height, connection_type, timezone, language, country, city, region, continent,
    page_views, bounced, duration, started_at, last_activity_at
)
SELECT
    pg_temp.dated_id(id, started_at), visitor_id, user_id, bio_page_id, creator_id, landing_page, referrer,
    coalesce(referrer_domain, 'direct'),
    utm_source, utm_medium, utm_campaign, utm_term, utm_content, device, browser, os, os_version,
    screen_width, screen_height, connection_type, timezone, language, country, city, region, continent,
    coalesce(page_views, 0), coalesce(bounced, true), coalesce(duration, 0), started_at,
    coalesce(last_activity_at, started_at)
FROM old_sessions
ON CONFLICT (id) DO NOTHING;

COMMIT;

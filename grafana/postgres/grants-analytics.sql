-- What the dashboards read in the analytics database: who a session belongs to is not among it. Partitions are read by way
-- of their table, so those that come later need nothing.
GRANT SELECT (
    id, visitor_id, bio_page_id, landing_page, referrer_domain, utm_source, utm_medium, utm_campaign, device, browser, os,
    language, country, city, page_views, bounced, duration, started_at
) ON analytics_sessions TO weir_reader;
GRANT SELECT (id, session_id, url, path, entered_at, duration, scroll_depth) ON analytics_pageviews TO weir_reader;

-- What the dashboards read in the main database: no mail address, no client's address, no user agent, no token, no code.
GRANT SELECT (created_at, utm_source, utm_campaign, registration_country, invited_by_id) ON users TO weir_reader;
GRANT SELECT (created_at, user_id) ON visitors TO weir_reader;
GRANT SELECT (id, user_id, event, created_at) ON funnel_events TO weir_reader;
GRANT SELECT (id, user_id, document_type, document_version, preferences, created_at) ON consent_records TO weir_reader;

#!/usr/bin/env bash
# Makes Weir's two databases, the role that owns them, and the one that Grafana reads them with.
#
# PostgreSQL's image runs this once, when its volume is empty. WEIR_DATABASE_PASSWORD and
# WEIR_READER_PASSWORD name the passwords. The tables are Weir's own, so what the reader may
# see is said after its migrations: grants-analytics.sql and grants-main.sql.
set -euo pipefail

psql -v ON_ERROR_STOP=1 -q --username "${POSTGRES_USER:-postgres}" --dbname postgres \
  -v owner="${WEIR_DATABASE_PASSWORD:?}" -v reader="${WEIR_READER_PASSWORD:?}" <<'SQL'
CREATE ROLE weir LOGIN PASSWORD :'owner';
CREATE ROLE weir_reader LOGIN PASSWORD :'reader' CONNECTION LIMIT 20;
-- A dashboard over a year of data must not hold up the writer, and has nothing to write.
ALTER ROLE weir_reader SET statement_timeout = '30s';
ALTER ROLE weir_reader SET default_transaction_read_only = on;
CREATE DATABASE weir_analytics OWNER weir;
CREATE DATABASE weir_main OWNER weir;
REVOKE CONNECT, TEMPORARY ON DATABASE weir_analytics, weir_main FROM PUBLIC;
GRANT CONNECT ON DATABASE weir_analytics, weir_main TO weir_reader;
SQL

# Lists the recipes.
default:
    @just --list

# All that must hold before a change is accepted
check:
    .ci/run

# All tests, those on PostgreSQL included; the arguments are cargo test's
test *ARGS:
    scripts/test {{ ARGS }}

# The description of the interface, held against a running server
check-openapi *ARGS:
    scripts/check-openapi {{ ARGS }}

# Dashboards, rules and alerts against a real Weir, PostgreSQL and Prometheus
check-grafana *ARGS:
    grafana/check {{ ARGS }}

# Pictures of the dashboards with real data, for docs/images: ten minutes
screenshots *ARGS:
    grafana/screenshots {{ ARGS }}

# What lies in deploy/, against a real Weir, nginx and Caddy
check-deploy *ARGS:
    deploy/check {{ ARGS }}

# The fault campaign: half an hour, or a few minutes with --short
faults *ARGS:
    load-tests/faults {{ ARGS }}

# Every route of a real Weir, word for word, and what it promised against its databases
smoke *ARGS:
    scripts/smoke {{ ARGS }}

# Visitors against a running Weir: PROFILE is smoke, load, stress, spike or soak
load PROFILE *ARGS:
    load-tests/k6/run -e PROFILE={{ PROFILE }} {{ ARGS }}

# How many visitors a second a Weir holds
capacity *ARGS:
    load-tests/capacity {{ ARGS }}

# Something broken under visitors, and what they were promised against the database
drill *ARGS:
    load-tests/drill {{ ARGS }}

# Weir beside a bare handler, in one run
compare *ARGS:
    load-tests/compare {{ ARGS }}

# Two builds of Weir in turns, as ratios
against OLD NEW *ARGS:
    load-tests/against {{ OLD }} {{ NEW }} {{ ARGS }}

# The build for production: it has seen its load before it is laid out
build-optimised:
    scripts/build-optimised

# What other requests than a session cost
routes *ARGS:
    load-tests/routes {{ ARGS }}

# What it costs to have much already
growth *ARGS:
    load-tests/growth {{ ARGS }}

# How long it takes from a fresh clone to the first row
first-row *ARGS:
    scripts/first-row {{ ARGS }}

# The table of docs/performance.md, from the figures that are kept
table *ARGS:
    load-tests/table {{ ARGS }}

# How many instructions a session costs
instructions *ARGS:
    load-tests/instructions {{ ARGS }}

# The benchmarks, on a PostgreSQL that waits for its disk
bench *ARGS:
    TEST_POSTGRES_DURABLE=1 scripts/with-postgres cargo bench --locked {{ ARGS }}

# Weir as it would run in production
run *ARGS:
    cargo run --locked --release -- {{ ARGS }}

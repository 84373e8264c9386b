//! Every key of the configuration, for people: what it is called, what it is without being set, what it means.
//!
//! `weir configuration` and `docs/configuration.md` are made from this (`document`), and a key that nobody knows is answered with the nearest one.
//! Invariant: the names are those that are read, and a default that is written here is the one in force; `document`'s
//! tests hold both.

/// What a key is without being set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unset {
    /// This value, as it would be written in the file.
    Value(&'static str),
    /// Something else, in words.
    Words(&'static str),
}

/// One key.
pub(super) struct Key {
    /// Dotted, as in the file; `NAME` stands for a name that the operator chooses.
    pub name: &'static str,
    pub unset: Unset,
    /// In Markdown.
    pub meaning: &'static str,
    /// May be read from the file that `{name}_file` names.
    pub is_secret: bool,
}

/// Keys that belong together.
pub(super) struct Section {
    pub title: &'static str,
    /// What there is to know before the keys, in Markdown; may be empty.
    pub before: &'static str,
    pub keys: &'static [Key],
    /// What there is to know after them; may be empty.
    pub after: &'static str,
}

const fn key(name: &'static str, value: &'static str, meaning: &'static str) -> Key {
    Key { name, unset: Unset::Value(value), meaning, is_secret: false }
}

const fn optional(name: &'static str, unset: &'static str, meaning: &'static str) -> Key {
    Key { name, unset: Unset::Words(unset), meaning, is_secret: false }
}

const fn secret(name: &'static str, unset: &'static str, meaning: &'static str) -> Key {
    Key { name, unset: Unset::Words(unset), meaning, is_secret: true }
}

const MADE: &str = "made at the first start";

/// All of them, in the order of the document. The keys of the throttles come from the routes.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        title: "Connections",
        before: "",
        keys: &[
            key("listen", "\"127.0.0.1:8080\"", "The address and port for requests."),
            optional(
                "metrics_listen",
                "none",
                "A second address and port, for `/metrics` alone. Without it `/metrics` is served at `listen`.",
            ),
            optional(
                "max_connections",
                "as many as open files allow, at most 25,000",
                "The most client connections at once, 1 to 1,000,000.",
            ),
            key(
                "cors_origins",
                "\"*\"",
                "The origins whose pages may call Weir from a browser: a list such as `[\"https://example.org\"]`, or `*`. \
An entry may be `https://*.example.org`, the scheme of an app such as `capacitor://localhost`, or `null`.",
            ),
        ],
        after: "Connections never use the open files that journals and databases need. Weir raises its limit to the hard limit \
(`ulimit -Hn`, systemd's `LimitNOFILE=`). It reserves 224 files and 16 for each core, and accepts as many clients as are left. \
The log of a start says how many. A start fails when `max_connections` is more than that. An idle connection takes 18 KiB, \
a connection at its worst less than 1 MiB.",
    },
    Section {
        title: "Data and databases",
        before: "",
        keys: &[
            key(
                "data_dir",
                "\"data\"",
                "The directory of journals, secrets and SQLite databases. One process owns it.",
            ),
            secret(
                "analytics_database_url",
                "`sqlite://` and `analytics.db` in `data_dir`",
                "The database of sessions and pageviews: `sqlite://FILE`, or `postgres://…` (14 or later). The latter may name several \
servers, `postgres://user@a,b:5433/db`: the one that accepts writes is used.",
            ),
            secret(
                "main_database_url",
                "`sqlite://` and `main.db` in `data_dir`",
                "The database of users, consents, visitors and settings. It must differ from `analytics_database_url`.",
            ),
            key(
                "retention_days",
                "0",
                "Analytics rows older than this are deleted, up to 36,500 days. `0` keeps all rows.",
            ),
        ],
        after: "[postgresql.md](postgresql.md) has the SQL for roles and databases.",
    },
    Section {
        title: "Secrets",
        before: "",
        keys: &[
            secret(
                "tracking_hmac_secret",
                MADE,
                "Signs tracking tokens. The renderer of your bio pages has the same secret.",
            ),
            secret("jwt_secret", MADE, "Signs and verifies access tokens (HS256). Your account service has the same."),
            optional(
                "jwt_public_key_file",
                "none",
                "Instead of `jwt_secret`: a PEM file or a JWKS file with public keys (RS256, ES256, EdDSA). Weir reads it \
again when it changes. There are no `/auth` routes then, because Weir cannot sign.",
            ),
            secret("internal_key", MADE, "What your account service sends as `X-Internal-Key`."),
            secret(
                "fingerprint_key",
                MADE,
                "Keys the hash of a visitor's fingerprint. An empty value stores fingerprints as they are.",
            ),
            secret("sign_in_key", MADE, "Keys the hashes of sign-in codes and of the addresses that asked for one."),
        ],
        after: "A first start writes the secrets that are not set to `secrets.toml` in `data_dir`, with mode 0600. Several \
instances on the same databases need the same secrets: set all of them.",
    },
    Section {
        title: "Sign-in",
        before: "",
        keys: &[
            key("access_token_seconds", "3600", "How long an access token is valid, 60 to 31,536,000 seconds."),
            secret(
                "smtp_url",
                "none: codes go to the log",
                "The mail server: `smtps://user:password@host:465`, or `smtp://host:587?tls=required`.",
            ),
            optional("mail_from", "none", "The sender: `Weir <weir@example.org>`. Needed with `smtp_url`."),
            optional(
                "providers.NAME.issuers",
                "none",
                "The `iss` of id tokens that `POST /auth/external/verify` accepts under this name: one, or a list where the provider has \
several, as Google has.",
            ),
            optional(
                "providers.NAME.audiences",
                "none",
                "The `aud` of these tokens: one, or a list, for a web and a mobile app.",
            ),
            optional("providers.NAME.jwks_file", "none", "The provider's public keys, a JWKS or PEM file."),
        ],
        after: "",
    },
    Section {
        title: "The client's address",
        before: "",
        keys: &[
            key(
                "trusted_proxies",
                "[\"127.0.0.0/8\", \"10.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\", \"169.254.0.0/16\", \"::1/128\", \"fc00::/7\", \"fe80::/10\"]",
                "The addresses and networks whose forwarding headers Weir believes.",
            ),
            key(
                "client_ip_headers",
                "[\"cf-connecting-ip\", \"x-forwarded-for\"]",
                "Which headers name the client. The first one that has an address wins.",
            ),
            key(
                "x_forwarded_for",
                "\"first\"",
                "Which address of `X-Forwarded-For` is the client's: `first`, or `rightmost-untrusted` behind a proxy that \
appends to the header.",
            ),
        ],
        after: "If your proxy appends to `X-Forwarded-For`, set `rightmost-untrusted`: with `first`, clients choose their own \
address. They also do if a proxy that is not behind Cloudflare lets `CF-Connecting-IP` through: clear that header, or set \
`client_ip_headers = [\"x-forwarded-for\"]`, as the examples in `deploy/` do.",
    },
    Section {
        title: "Enrichment",
        before: "",
        keys: &[
            optional("geoip_database", "none", "A `.mmdb` file with cities or countries."),
            key(
                "geoip.city_districts",
                "false",
                "Whether a city keeps the district that DB-IP adds to its name: `Seoul (Toegye-ro)` instead of `Seoul`.",
            ),
        ],
        after: "Without a file, country and city come from the headers of Cloudflare (through a trusted proxy), or stay null. \
[GeoLite2 City](https://dev.maxmind.com/geoip/geolite2-free-geolocation-data/) is free with an account. \
[DB-IP City Lite](https://db-ip.com/db/download/ip-to-city-lite) is free under CC BY 4.0. Weir reads nested rows, as \
these have, and the flat rows of ip-location-db. It reads the file into memory, and reads it again when it changes. It refuses \
a file that is no such database, and keeps the one in use. A file that is missing at the start is loaded when it comes.",
    },
    Section {
        title: "Bots",
        before: "Sessions and views of bots are answered with `id: null`. `people-first` looks for 22 words in the user agent, such as \
`bot` and `google`. Apps and phones of people have such words too; the phrases that name them are taken out first.",
        keys: &[
            key(
                "bots.rule",
                "\"people-first\"",
                "`people-first`; `original`: the words alone; `strict`: also automated browsers, monitors and HTTP libraries.",
            ),
            optional(
                "bots.people",
                "none",
                "Phrases of further apps and devices of people, such as `[\"MyBot App/\"]`. One that would free a crawler is refused.",
            ),
            optional("bots.more", "none", "Phrases that make a user agent a bot's, such as `[\"OurProbe/\"]`."),
        ],
        after: "`weir explain --user-agent 'TEXT'` says what becomes of a user agent. `weir_bots_total` counts who is dropped.",
    },
    Section {
        title: "Throttles",
        before: "Requests per client address (IPv6: per /64) and time, such as `10/60s`. `0` turns a throttle off. \
[README](../README.md#endpoints) says which endpoint has which. `auth_verify` holds for each of the two ways to sign in.",
        keys: &[],
        after: "",
    },
    Section {
        title: "Journal",
        before: "",
        keys: &[
            key(
                "journal.max_bytes",
                "\"8GiB\"",
                "The most disk that each of the two journals may use, at least 1 MiB. Past it, nothing is acknowledged.",
            ),
            key(
                "journal.segment_bytes",
                "\"64MiB\"",
                "The size of a segment file, 4 KiB to 1 GiB. A quarter of `max_bytes` where that is less.",
            ),
            key(
                "journal.keep_applied",
                "\"1h\"",
                "How long a segment stays on disk after its database has it, such as `30min`, `1h` or `2days`; `0` keeps none. \
A database that went back by less than this, after a failover or a restore, gets the missing records from there.",
            ),
            optional(
                "journal.keep_applied_bytes",
                "a quarter of `max_bytes`",
                "The most that such segments may take in each journal. They count against `max_bytes`, and go first when records \
need the room.",
            ),
            key(
                "journal.fsync",
                "true",
                "`false` acknowledges before the disk has the record: a power failure then loses acknowledged records.",
            ),
        ],
        after: "",
    },
    Section {
        title: "Running",
        before: "",
        keys: &[
            key(
                "shutdown_timeout_seconds",
                "25",
                "How long a stop may take, up to 3,600. What is not applied by then is applied after the next start.",
            ),
            key("log", "\"info\"", "`off`, `error`, `warn`, `info`, `debug` or `trace`."),
            key("log_format", "\"text\"", "`text` or `json`."),
        ],
        after: "",
    },
];

/// The section whose keys come from the routes.
pub(super) const THROTTLES: &str = "Throttles";

/// The key that somebody meant who wrote `name`, if one is near enough.
pub(super) fn nearest(name: &str) -> Option<String> {
    const NEAR: f64 = 0.8;
    let mut best: Option<(f64, String)> = None;
    let secrets = |key: &Key| key.is_secret.then(|| format!("{}_file", key.name));
    let keys = SECTIONS.iter().flat_map(|section| section.keys);
    let known = keys.flat_map(|key| std::iter::once(key.name.to_owned()).chain(secrets(key)));
    let throttles = weir_domain::Route::ALL.iter().filter(|route| route.default_limit().is_some());
    for candidate in known.chain(throttles.map(|route| format!("throttle.{}", route.label()))) {
        let similarity = strsim::normalized_damerau_levenshtein(name, &candidate);
        if similarity >= NEAR && best.as_ref().is_none_or(|(most, _)| similarity > *most) {
            best = Some((similarity, candidate));
        }
    }
    best.map(|(_, name)| name)
}

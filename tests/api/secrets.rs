//! Secrets stay where they were put: in no log at any level, no answer, no metric, no output of a command, no file but
//! the one that keeps them. Also when everything fails.

use std::path::Path;

use serde_json::{Value, json};
use weir_testkit::keys::{P256_1, write_set};
use weir_testkit::smtp::{Behaviour, SmtpServer};
use weir_testkit::{BROWSER, Backend, Database, Finished, TestApp, UNTHROTTLED, minimal_session, session_with};

use crate::SESSION;
use crate::sign_in::{EXTERNAL, REQUEST_CODE, VERIFY};

/// The configuration's secrets, each with a value that nothing else has.
const GIVEN: [(&str, &str); 5] = [
    ("WEIR_TRACKING_HMAC_SECRET", "s3cret-of-tracking-tokens"),
    ("WEIR_JWT_SECRET", "s3cret-of-access-tokens"),
    ("WEIR_INTERNAL_KEY", "s3cret-of-the-account-service"),
    ("WEIR_FINGERPRINT_KEY", "s3cret-of-fingerprints"),
    ("WEIR_SIGN_IN_KEY", "s3cret-of-sign-in-codes"),
];
const MAIL_PASSWORD: &str = "s3cret-of-the-mail-server";
const DATABASE_PASSWORD: &str = "s3cret-of-the-database";
/// What keys in files hold.
const PRIVATE_HALF: &str = "s3cret-half-of-a-key-pair";

/// What must not be found, and what was looked through.
struct Search {
    secrets: Vec<String>,
    heard: Vec<(String, String)>,
}

impl Search {
    fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        Self { secrets: secrets.into_iter().collect(), heard: Vec::new() }
    }

    fn also(&mut self, secret: &str) {
        assert!(secret.len() >= 6, "{secret:?} could be found by chance");
        self.secrets.push(secret.to_owned());
    }

    fn look_through(&mut self, what: &str, text: &str) {
        self.heard.push((what.to_owned(), text.to_owned()));
    }

    fn output(&mut self, what: &str, finished: &Finished) {
        self.look_through(what, &format!("{}\n{}", finished.stdout, finished.stderr));
    }

    /// Nothing of it is anywhere: neither as it is, nor in hexadecimal, nor as a list of bytes.
    fn finds_nothing(&self) {
        for secret in &self.secrets {
            let bytes = format!("{:?}", secret.as_bytes());
            for needle in [secret.as_str(), &hex::encode(secret), bytes.trim_matches(['[', ']'])] {
                for (what, text) in &self.heard {
                    let Some(at) = text.find(needle) else { continue };
                    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
                    let shown: String = text[line..].chars().take(300).collect();
                    panic!("{what} holds {secret}: {shown}");
                }
            }
        }
    }
}

/// Sets every secret there is.
async fn prepare(backend: Backend, smtp: &str) -> (TestApp, Search) {
    let mut app = TestApp::prepare(backend).await;
    for (name, value) in GIVEN.iter().chain(UNTHROTTLED) {
        app.set(name, value);
    }
    app.set("WEIR_SMTP_URL", &smtp.replace("smtp://", &format!("smtp://weir:{MAIL_PASSWORD}@")));
    app.set("WEIR_MAIL_FROM", "Weir <weir@example.org>");
    let set = app.directory.path().join("idp.json");
    write_set(&set, &[(P256_1, Some("1"))]);
    app.set("WEIR_PROVIDERS__IDP__ISSUERS", "https://idp.example");
    app.set("WEIR_PROVIDERS__IDP__AUDIENCES", "weir");
    app.set("WEIR_PROVIDERS__IDP__JWKS_FILE", set.to_str().unwrap());
    let mut search = Search::new(GIVEN.iter().map(|(_, secret)| (*secret).to_owned()));
    search.also(MAIL_PASSWORD);
    for database in [Database::Analytics, Database::Main] {
        let password = url::Url::parse(app.databases.url(database)).unwrap().password().map(str::to_owned);
        assert_eq!(password.is_some(), backend == Backend::Postgres);
        search.secrets.extend(password);
    }
    (app, search)
}

/// Everything that takes a secret, with good ones and bad ones; what was answered.
async fn traffic(app: &TestApp, search: &mut Search) {
    let page = "0190a1b2-0000-7000-8000-00000000000a";
    let tracking = app.run(&["token", page]).await.stdout.trim().to_owned();
    let bearer = app.run(&["jwt", "ann"]).await.stdout.trim().to_owned();
    let id_token = P256_1.sign(Some("1"), &json!({"iss": "https://idp.example", "aud": "weir", "sub": "s", "exp": 1}));
    let wrong = "s3cret-that-is-not-the-right-one";
    for secret in [&tracking, &bearer, &id_token, wrong] {
        search.also(secret);
    }
    let visit = |token: &str| session_with(&json!({"bioPageId": page, "trackingToken": token}));
    let internal = |key: &str| app.post("/internal/v1/users", &json!({"id": "u"})).header("x-internal-key", key);
    let history = |token: &str| app.client.get(app.url("/api/v1/users/consent")).bearer_auth(token);
    let verify = |code: &str| app.post(VERIFY, &json!({"email": "ann@example.org", "code": code}));
    let external = |token: &str| app.post(EXTERNAL, &json!({"provider": "idp", "idToken": token}));
    for request in [
        app.post(SESSION, &visit(&tracking)),
        app.post(SESSION, &visit(wrong)),
        app.post(SESSION, &session_with(&json!({"trackingToken": [wrong]}))),
        internal(GIVEN[2].1),
        internal(wrong),
        internal(&GIVEN[2].1[1..]),
        history(&bearer),
        history(wrong),
        history(&format!("{bearer}{wrong}")),
        app.client.get(app.url("/api/v1/users/consent")).header("authorization", format!("Basic {wrong}")),
        app.post(REQUEST_CODE, &json!({"email": "ann@example.org"})),
        verify(wrong),
        verify("482915"),
        external(&id_token),
        external(wrong),
        app.client.get(app.url("/health/ready")),
        app.client.get(app.url("/openapi.json")),
        app.client.get(app.url("/docs")),
        app.client.get(app.url("/metrics")),
        app.client.get(app.url(&format!("/nothing?token={wrong}"))),
        app.client.post(app.url(&format!("{SESSION}?token={wrong}"))).header("user-agent", BROWSER).body("{"),
    ] {
        let response = request.send().await.unwrap();
        let what = format!("the answer to {}", response.url().path());
        let head = format!("{} {:?}\n", response.status(), response.headers());
        let body = response.text().await.unwrap();
        search.look_through(&what, &(head + &body));
    }
}

/// Every command that is not there to print a token.
async fn commands(app: &TestApp, search: &mut Search) {
    for command in [
        &["check"][..],
        &["migrate"],
        &["settings", "list"],
        &["settings", "get", "tracking_enabled"],
        &["journal", "status"],
        &["journal", "status", "--json"],
        &["dead-letters", "list"],
        &["dead-letters", "replay", "main", "--all"],
        &["--help"],
        &["help", "jwt"],
        &["--version"],
        &["nonsense"],
    ] {
        let finished = app.run(command).await;
        search.output(&format!("weir {}", command.join(" ")), &finished);
    }
}

/// Every file below a directory, but the one that is there to keep secrets.
fn look_through_files(search: &mut Search, directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            look_through_files(search, &path);
        } else if !path.ends_with("secrets.toml") {
            let bytes = std::fs::read(&path).unwrap();
            search.look_through(&path.display().to_string(), &String::from_utf8_lossy(&bytes));
        }
    }
}

weir_testkit::on_both_databases! {
    async fn secrets_given_never_leak(backend) {
        let mail = SmtpServer::start_with(Behaviour::Refuses);
        let (mut app, mut search) = prepare(backend, &mail.url()).await;
        app.launch().await;
        traffic(&app, &mut search).await;
        app.until("a mail failed", async || app.metric("weir_mails_total{result=\"failed\"}").await > 0.0).await;
        commands(&app, &mut search).await;
        for (database, table) in [(Database::Analytics, "analytics_sessions"), (Database::Main, "users")] {
            app.databases.execute(database, &format!("ALTER TABLE {table} RENAME TO away")).await;
        }
        traffic(&app, &mut search).await;
        app.until("a failure is told", async || app.log().contains("records stay in the journal")).await;
        commands(&app, &mut search).await;
        assert!(app.stop().await.success());
        search.look_through("what the server printed", &app.printed().join("\n"));
        look_through_files(&mut search, app.directory.path());

        // What is looked through is what was written.
        let all: String = search.heard.iter().map(|(_, text)| text.as_str()).collect();
        for part in ["weir_requests_total", "\"openapi\":", "Usage: weir", "auth.code.invalid", "mail not sent"] {
            assert!(all.contains(part), "{part} is nowhere");
        }
        assert!(app.log().contains("stopped"), "the log was written to its end");
        search.finds_nothing();
    }

    async fn secrets_generated_never_leak(backend) {
        let mut app = TestApp::prepare(backend).await;
        for name in ["WEIR_TRACKING_HMAC_SECRET", "WEIR_JWT_SECRET"] {
            app.unset(name);
        }
        app.launch().await;
        let kept = std::fs::read_to_string(app.data_dir().join("secrets.toml")).unwrap();
        let mut search = Search::new(kept.lines().map(|line| line.split('"').nth(1).unwrap().to_owned()));
        assert_eq!(search.secrets.len(), 5, "{kept}");
        app.post(SESSION, &minimal_session()).send().await.unwrap();
        commands(&app, &mut search).await;
        assert!(app.stop().await.success());
        search.look_through("what the server printed", &app.printed().join("\n"));
        look_through_files(&mut search, app.directory.path());
        search.finds_nothing();
    }
}

#[tokio::test]
async fn database_unreachable_error_hides_password() {
    let (mut app, mut search) = prepare(Backend::Postgres, "smtp://127.0.0.1:1").await;
    search.also(DATABASE_PASSWORD);
    let real = url::Url::parse(&app.databases.main_url).unwrap();
    let server = format!("{}:{}", real.host_str().unwrap(), real.port().unwrap_or(5432));
    let user = real.username();
    let urls = [
        format!("postgres://{user}:{DATABASE_PASSWORD}@{server}{}", real.path()),
        format!("postgres://nobody:{DATABASE_PASSWORD}@{server}/nothing"),
        format!("postgres://{user}:{DATABASE_PASSWORD}@127.0.0.1:1/nothing"),
        format!("postgres://{user}:{DATABASE_PASSWORD}@nowhere.invalid/nothing"),
        format!("postgres://{user}:{DATABASE_PASSWORD}@127.0.0.1:1/x?sslmode=sometimes"),
        format!("postgres://{user}:{DATABASE_PASSWORD}@127.0.0.1:1/x?sslmode=verify-full&sslrootcert=/nowhere"),
        format!("postgres:///x?host=/nowhere&user={user}&password={DATABASE_PASSWORD}"),
        format!("postgresql://{user}:{DATABASE_PASSWORD}%zz@127.0.0.1:1/x"),
    ];
    for command in ["check", "migrate"] {
        let tried = urls.iter().map(async |url| app.run_with(&[command], &[("WEIR_MAIN_DATABASE_URL", url)]).await);
        for (url, finished) in urls.iter().zip(futures_util::future::join_all(tried).await) {
            search.output(&format!("weir {command} with {url}"), &finished);
        }
    }
    app.set("WEIR_MAIN_DATABASE_URL", &format!("postgres://{user}:{DATABASE_PASSWORD}@{server}{}", real.path()));
    app.launch().await;
    app.until("the refusal is told", async || app.log().contains("28P01")).await;
    traffic(&app, &mut search).await;
    commands(&app, &mut search).await;
    assert!(app.stop().await.success());
    search.look_through("what the server printed", &app.printed().join("\n"));
    look_through_files(&mut search, app.directory.path());
    let all: String = search.heard.iter().map(|(_, text)| text.as_str()).collect();
    assert!(all.contains("28P01") && all.contains("database unavailable"), "nothing failed");
    search.finds_nothing();
}

#[tokio::test]
async fn configuration_error_hides_secrets() {
    let app = TestApp::prepare(Backend::Sqlite).await;
    let secret = "s3cret-in-the-wrong-place";
    let mut search = Search::new([secret.to_owned(), PRIVATE_HALF.to_owned()]);
    let directory = app.directory.path();
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{PRIVATE_HALF}\n-----END PRIVATE KEY-----\n");
    let mut jwk = P256_1.jwk(Some("1"));
    jwk["d"] = json!(PRIVATE_HALF);
    let shared = json!({"kty": "oct", "alg": "HS256", "kid": "1", "k": PRIVATE_HALF});
    let set = |key: &Value| json!({"keys": [key]}).to_string();
    let idp = |file: &str| {
        [
            ("WEIR_PROVIDERS__IDP__ISSUERS", "https://idp.example".to_owned()),
            ("WEIR_PROVIDERS__IDP__AUDIENCES", "weir".to_owned()),
            ("WEIR_PROVIDERS__IDP__JWKS_FILE", file.to_owned()),
        ]
    };
    let mut cases: Vec<Vec<(&str, String)>> = vec![
        vec![("WEIR_MAIN_DATABASE_URL", format!("postgres//weir:{secret}@h/d"))],
        vec![("WEIR_MAIN_DATABASE_URL", format!("postgres://weir:{secret}@h:port/d"))],
        vec![("WEIR_MAIN_DATABASE_URL", format!("mysql://weir:{secret}@h/d"))],
        vec![("WEIR_MAIN_DATABASE_URL", format!("{secret}://h/d"))],
        vec![("WEIR_SMTP_URL", format!("smtp://weir:{secret}@mail.example.org")), ("WEIR_MAIL_FROM", "w@x.yz".into())],
        vec![("WEIR_SMTP_URL", format!("smtps://{secret}"))],
        // A secret where the name of its file belongs.
        vec![("WEIR_INTERNAL_KEY_FILE", secret.to_owned())],
        vec![("WEIR_INTERNAL_KEY_FILE", format!("{secret}/with/slashes=="))],
        vec![("WEIR_SMTP_URL_FILE", format!("smtps://weir:{secret}@mail.example.org"))],
        vec![("WEIR_INTERNAL_KEY", secret.to_owned()), ("WEIR_INTERNAL_KEY_FILE", "/nowhere".to_owned())],
        vec![("WEIR_INTERNAL_KEYS", secret.to_owned())],
        vec![("WEIR_INTERNAL_KEY__VALUE", secret.to_owned())],
        vec![("WEIR_JWT_PUBLIC_KEY_FILE", file("private.pem", &pem))],
        vec![("WEIR_JWT_PUBLIC_KEY_FILE", file("oct.json", &set(&shared)))],
        vec![("WEIR_JWT_PUBLIC_KEY_FILE", file("broken.json", &format!("{{\"keys\": [{PRIVATE_HALF}")))],
    ];
    for (name, text) in [("idp-oct", set(&shared)), ("idp-d", set(&jwk)), ("idp.pem", pem), ("idp-none", secret.into())]
    {
        cases.push(idp(&file(name, &text)).to_vec());
    }
    for case in &cases {
        let variables: Vec<(&str, &str)> = case.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for command in [&["check"][..], &["settings", "list"]] {
            let finished = app.run_with(command, &variables).await;
            search.output(&format!("{command:?} with {case:?}"), &finished);
        }
    }
    for text in [
        format!("internal_key = {secret}\n"),
        format!("internal_key = \"{secret}\nlisten = 3"),
        format!("internal_key = \"\"\"{secret}"),
        format!("[internal_key]\nvalue = \"{secret}\""),
        format!("internal_key = [\"{secret}\"]\ninternal_keys = \"{secret}\""),
        format!("internal_key = \"{secret}\"\ninternal_key = \"{secret}\""),
    ] {
        let config = file("weir.toml", &text);
        for command in [&["check", "--config", &config][..], &["settings", "list", "--config", &config]] {
            search.output(&format!("{command:?} with {text}"), &app.run(command).await);
        }
    }
    std::fs::remove_file(directory.join("weir.toml")).unwrap();
    std::fs::create_dir_all(app.data_dir()).unwrap();
    for text in [format!("sign_in_key = {secret}"), format!("sign_in_key = \"{secret}"), format!("x = \"{secret}\"")] {
        std::fs::write(app.data_dir().join("secrets.toml"), &text).unwrap();
        let finished = app.run(&["jwt", "ann"]).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        search.output(&format!("secrets.toml of {text}"), &finished);
    }
    assert!(search.heard.iter().any(|(_, text)| text.contains("is not usable")), "nothing was wrong");
    search.finds_nothing();
}

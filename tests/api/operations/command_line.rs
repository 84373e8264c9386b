//! The command line: what it says, and the exit code it says it with.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use weir_testkit::{Backend, Database, JWT_SECRET, TestApp, UNTHROTTLED, minimal_session, on_both_databases};

#[tokio::test]
async fn cli_help_and_version_are_printed() {
    let app = TestApp::prepare(Backend::Sqlite).await;
    let help = app.run(&["--help"]).await;
    assert_eq!(help.code, Some(0));
    for part in
        ["serve", "migrate", "health", "top", "check", "token", "jwt", "settings", "journal", "--config", "WEIR_"]
    {
        assert!(help.stdout.contains(part), "{part} is not in {}", help.stdout);
    }
    for command in ["serve", "migrate", "health", "top", "check", "token", "jwt", "settings", "journal"] {
        let help = app.run(&[command, "--help"]).await;
        assert!(help.code == Some(0) && help.stdout.contains("Usage: weir "), "{help:?}");
    }
    let version = app.run(&["--version"]).await;
    assert_eq!(version.stdout.trim(), format!("weir {}", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn cli_invalid_arguments_exit_with_2() {
    let app = TestApp::prepare(Backend::Sqlite).await;
    let long_user = "x".repeat(256);
    for arguments in [
        &["nonsense"][..],
        &["--nonsense"],
        &["token"],
        &["token", "not-a-uuid"],
        &["token", ""],
        &["token", "0190a1b2000070008000000000000000"],
        &["token", "{0190a1b2-0000-7000-8000-00000000}"],
        &["jwt"],
        &["jwt", ""],
        &["jwt", &long_user],
        &["jwt", "user", "--seconds", "-1"],
        &["settings"],
        &["settings", "get"],
        &["journal"],
        &["journal", "nonsense"],
        &["--config", "/nowhere/weir.toml", "check"],
    ] {
        let refused = app.run(arguments).await;
        assert_eq!(refused.code, Some(2), "{arguments:?}: {refused:?}");
        assert!(!refused.stderr.trim().is_empty() && refused.stdout.is_empty(), "{arguments:?}: {refused:?}");
    }
    assert_eq!(app.run(&["token", "0190a1b2-0000-7000-8000-000000000000"]).await.code, Some(0));
}

#[tokio::test]
async fn cli_configuration_problems_are_all_listed_at_once() {
    let app = TestApp::prepare(Backend::Sqlite).await;
    let good = app.run(&["check"]).await;
    assert_eq!(good.code, Some(0), "{good:?}");
    let wrong = [
        ("WEIR_LISTEN", "nowhere"),
        ("WEIR_LISTEN_ADRESS", "127.0.0.1:1"),
        ("WEIR_LOG", "loud"),
        ("WEIR_LOG_FORMAT", "xml"),
        ("WEIR_TRUSTED_PROXIES", "10.0.0.0/8, home"),
        ("WEIR_X_FORWARDED_FOR", "last"),
        ("WEIR_CORS_ORIGINS", "example.org"),
        ("WEIR_THROTTLE__SESSION", "ten"),
        ("WEIR_THROTTLE__SESION", "1/1s"),
        ("WEIR_JOURNAL__MAX_BYTES", "lots"),
        ("WEIR_MAIN_DATABASE_URL", "mysql://root:hunter2@db/weir"),
        ("WEIR_JWT_SECRET_FILE", "/nowhere/secret"),
    ];
    for arguments in [&["check"][..], &[], &["migrate"]] {
        let refused = app.run_with(arguments, &wrong).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        for part in [
            "listen = \"nowhere\"",
            "unknown key listen_adress",
            "log = \"loud\"",
            "log_format = \"xml\"",
            "\"home\"",
            "x_forwarded_for = \"last\"",
            "\"example.org\"",
            "throttle.session = \"ten\"",
            "unknown key throttle.sesion",
            "journal.max_bytes = \"lots\"",
            "main_database_url",
            "jwt_secret",
        ] {
            assert!(refused.stderr.contains(part), "{part} is not in {}", refused.stderr);
        }
        for secret in ["hunter2", JWT_SECRET] {
            assert!(!refused.stderr.contains(secret), "{}", refused.stderr);
        }
    }
}

#[tokio::test]
async fn cli_check_verifies_referenced_paths() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.set("WEIR_GEOIP_DATABASE", "/nowhere/city.mmdb");
    app.set("WEIR_DATA_DIR", &app.directory.path().join("a-file").display().to_string());
    std::fs::write(app.directory.path().join("a-file"), "").unwrap();
    let refused = app.run(&["check"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for part in ["/nowhere/city.mmdb", "a-file is not a directory"] {
        assert!(refused.stderr.contains(part), "{part} is not in {}", refused.stderr);
    }
    let both = app.run_with(&["check"], &[("WEIR_LISTEN", "nowhere"), ("WEIR_SPELT_WRONG", "1")]).await;
    assert_eq!(both.code, Some(2), "{both:?}");
    for part in ["listen = \"nowhere\"", "unknown key spelt_wrong", "/nowhere/city.mmdb", "a-file is not a directory"] {
        assert!(both.stderr.contains(part), "{part} is not in {}", both.stderr);
    }
}

#[tokio::test]
async fn cli_check_verifies_keys_and_mail_server() {
    let app = TestApp::prepare(Backend::Sqlite).await;
    let key = |name: &str| format!("{}/crates/testkit/fixtures/keys/{name}", env!("CARGO_MANIFEST_DIR"));
    let (good, p384) = (key("rsa.pub.pem"), key("p384.pub.pem"));
    let provider = [
        ("WEIR_PROVIDERS__IDP__ISSUERS", "https://idp.example"),
        ("WEIR_PROVIDERS__IDP__AUDIENCES", "weir"),
        ("WEIR_MAIL_FROM", "Weir <weir@example.org>"),
    ];
    let files = [("WEIR_PROVIDERS__IDP__JWKS_FILE", good.as_str()), ("WEIR_SMTP_URL", "smtps://u:hunter2@localhost")];
    let usable = app.run_with(&["check"], &[&provider[..], &files[..]].concat()).await;
    assert_eq!(usable.code, Some(0), "{usable:?}");
    let files = [
        ("WEIR_JWT_PUBLIC_KEY_FILE", p384.as_str()),
        ("WEIR_PROVIDERS__IDP__JWKS_FILE", "/nowhere/idp.json"),
        ("WEIR_SMTP_URL", "smtp://u:hunter2@mail.example.org"),
    ];
    let refused = app.run_with(&["check"], &[&provider[..], &files[..]].concat()).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for part in
        ["jwt_public_key_file ", "p384.pub.pem is not", "providers.idp.jwks_file /nowhere/idp.json", "smtp_url would"]
    {
        assert!(refused.stderr.contains(part), "{part} is not in {}", refused.stderr);
    }
    assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
}

#[tokio::test]
async fn cli_configuration_file_is_overridden_by_variables() {
    let app = TestApp::prepare(Backend::Sqlite).await;
    let file = app.directory.path().join("other.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:1\"\n[throttle]\nsession = \"ten\"\n").unwrap();
    let arguments = ["--config", file.to_str().unwrap(), "check"];
    let refused = app.run(&arguments).await;
    assert!(refused.code == Some(2) && refused.stderr.contains("throttle.session = \"ten\""), "{refused:?}");
    let good = app.run_with(&arguments, &[("WEIR_THROTTLE__SESSION", "1/1s")]).await;
    assert!(good.code == Some(0) && good.stdout.contains("listen 127.0.0.1:0"), "{good:?}");
    std::fs::write(&file, "listen = ").unwrap();
    let refused = app.run(&arguments).await;
    assert!(refused.code == Some(2) && refused.stderr.contains("other.toml"), "{refused:?}");
}

on_both_databases! {
    async fn journal_status_is_readable_while_server_runs(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for _ in 0..3 {
            app.still_serves().await;
        }
        let printed = app.run(&["journal", "status", "--json"]).await;
        assert_eq!(printed.code, Some(0), "{printed:?}");
        let lines: Vec<Value> = printed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let names: Vec<&Value> = lines.iter().map(|line| &line["journal"]).collect();
        assert_eq!(names, [&json!("analytics"), &json!("main")]);
        for (line, records) in lines.iter().zip([3, 0]) {
            assert_eq!((&line["durable_position"], &line["lag_records"]), (&json!(records), &json!(0)), "{line}");
            assert_eq!(line["dead_letters"], json!(0));
        }
        assert_eq!(lines[0]["applied_position"], json!(3));
        assert!(lines[0]["disk_bytes"].as_u64().unwrap() > 0);
        let printed = app.run(&["journal", "status"]).await;
        assert_eq!(printed.code, Some(0), "{printed:?}");
        for part in ["analytics (journal ", "main (journal ", "durable position  3", "applied position  3"] {
            assert!(printed.stdout.contains(part), "{part} is not in {}", printed.stdout);
        }
        app.still_serves().await;
    }
}

#[tokio::test]
async fn journal_status_without_journal_fails() {
    let app = TestApp::prepare(Backend::Sqlite).await;
    let refused = app.run(&["journal", "status"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("there is no journal yet"), "{refused:?}");
}

#[tokio::test]
async fn data_directory_in_use_refuses_second_server() {
    let app = TestApp::start_with(Backend::Sqlite, UNTHROTTLED).await;
    let refused = app.run(&["serve"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("is in use by another process"), "{refused:?}");
    app.still_serves().await;
}

#[tokio::test]
async fn listen_address_in_use_refuses_second_server() {
    let app = TestApp::start(Backend::Sqlite).await;
    let other = TestApp::prepare(Backend::Sqlite).await;
    let refused = other.run_with(&[], &[("WEIR_LISTEN", &app.authority())]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&format!("listen on {}", app.authority())), "{refused:?}");
    assert!(refused.stderr.contains("set another address"), "{refused:?}");
    assert!(!other.data_dir().exists(), "nothing was made or changed before it was known");
}

#[tokio::test]
async fn secrets_absent_at_first_start_are_generated_and_kept() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.unset("WEIR_TRACKING_HMAC_SECRET");
    app.unset("WEIR_JWT_SECRET");
    app.launch().await;
    let path = app.data_dir().join("secrets.toml");
    let made = std::fs::read_to_string(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let secrets: Vec<&str> = made.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(secrets.len(), 5, "as many as a server needs");
    assert!(secrets.iter().all(|secret| secret.len() >= 32));
    assert_eq!(secrets.iter().collect::<std::collections::BTreeSet<_>>().len(), 5, "each is one of its own");
    assert!(secrets.iter().all(|secret| !app.log().contains(secret)));

    // What commands and later starts use is the same.
    let page = "0190a1b2-0000-7000-8000-00000000000a";
    let token = app.run(&["token", page]).await.stdout.trim().to_owned();
    assert!(app.stop().await.success());
    app.launch().await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), made);
    let mut body = minimal_session();
    body["bioPageId"] = json!(page);
    body["trackingToken"] = json!(token);
    app.stored(app.post(crate::SESSION, &body)).await;
}

#[tokio::test]
async fn journal_status_creates_no_database() {
    let mut app = TestApp::start(Backend::Sqlite).await;
    app.stop().await;
    let file = app.directory.path().join("analytics.db");
    std::fs::remove_file(&file).unwrap();
    let status = app.run(&["journal", "status"]).await;
    assert_eq!(status.code, Some(0), "{status:?}");
    assert!(status.stdout.contains("the database does not know this journal yet"), "{status:?}");
    assert!(!file.exists());
}

#[tokio::test]
async fn secrets_generated_by_command_are_announced_and_private() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    app.unset("WEIR_JWT_SECRET");
    let made = app.run(&["jwt", "alice"]).await;
    assert!(made.stderr.contains("made jwt_secret, internal_key"), "{made:?}");
    assert_eq!(std::fs::metadata(app.data_dir()).unwrap().permissions().mode() & 0o777, 0o700);
    let again = app.run(&["jwt", "alice"]).await;
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn cli_explain_says_what_becomes_of_a_user_agent() {
    let mut app = TestApp::prepare(Backend::Sqlite).await;
    let bot = app.run(&["explain", "--user-agent", "Twitterbot/1.0"]).await;
    assert_eq!(bot.code, Some(0), "{bot:?}");
    assert!(bot.stdout.contains("a bot's, for the word twitter"), "{bot:?}");
    let phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.2 \
                 Mobile/15E148 Safari/604.1";
    let person = app.run(&["explain", "--json", "--user-agent", phone]).await;
    let told: Value = serde_json::from_str(&person.stdout).unwrap();
    let expected = json!({
        "userAgent": phone, "stored": true, "botWord": null, "device": "mobile", "browser": "Mobile Safari", "os": "iOS",
        "osVersion": "26.2",
    });
    assert_eq!(told, expected);
    app.set("WEIR_BOTS__PEOPLE", "bot");
    let refused = app.run(&["explain", "--user-agent", phone]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("bots.people: the phrase \"bot\" would let"), "{refused:?}");
}

#[tokio::test]
async fn cli_database_in_another_encoding_is_refused_by_name() {
    let mut app = TestApp::prepare(Backend::Postgres).await;
    let usable = app.databases.main_url.clone();
    let name = format!("{}_latin1", usable.rsplit('/').next().unwrap());
    let create = format!("CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    app.databases.execute(Database::Main, &create).await;
    let latin = format!("{}/{name}", usable.rsplit_once('/').unwrap().0);
    for variable in ["WEIR_MAIN_DATABASE_URL", "WEIR_ANALYTICS_DATABASE_URL"] {
        app.set_all(&[("WEIR_MAIN_DATABASE_URL", &usable), ("WEIR_ANALYTICS_DATABASE_URL", &usable)]);
        app.set(variable, &latin);
        for (command, code) in [(&["check"][..], 2), (&["migrate"], 1), (&[], 1)] {
            let refused = app.run(command).await;
            assert_eq!(refused.code, Some(code), "{variable} {command:?}: {refused:?}");
            for part in ["LATIN1", "ENCODING 'UTF8' TEMPLATE template0", &name] {
                let is_said = refused.stderr.contains(part) || (command == ["migrate"] && part == name);
                assert!(is_said, "{variable} {command:?} does not say {part}: {refused:?}");
            }
        }
    }
}

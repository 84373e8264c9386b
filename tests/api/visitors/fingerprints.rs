//! What is kept of a fingerprint, and for how long.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::*;

/// Addresses that stand in nothing else.
const ADDRESSES: [&str; 2] = ["203.0.113.77", "2001:db8:77::7"];

/// What a fingerprint is without a key.
fn plain(ip: &str) -> [u8; 32] {
    Sha256::digest(format!("{ip}{BROWSER}").as_bytes()).into()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The files of this server that hold one of these, and how many were looked through.
fn holders(app: &TestApp, needles: &[Vec<u8>]) -> (Vec<PathBuf>, usize) {
    let automaton = aho_corasick::AhoCorasick::new(needles).unwrap();
    let files = files(app.directory.path());
    let held = files.iter().filter(|path| automaton.is_match(&std::fs::read(path).unwrap())).cloned().collect();
    (held, files.len())
}

async fn fingerprints(app: &TestApp) -> Vec<Value> {
    app.applied().await;
    let rows = app.rows(Database::Main, "SELECT fingerprint FROM visitors ORDER BY created_at, token").await;
    rows.iter().map(|row| row["fingerprint"].clone()).collect()
}

on_both_databases! {
    async fn fingerprint_stored_cannot_be_searched_for_address(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        for ip in ADDRESSES {
            init(from(&app, ip, &json!({"utmSource": "news"}))).await;
            init(from(&app, ip, &json!({"utmTerm": "later"}))).await;
            from(&app, ip, &json!({"utmSource": 7})).send().await.unwrap();
        }
        let kept = fingerprints(&app).await;
        for (fingerprint, ip) in kept.iter().zip(ADDRESSES) {
            assert_eq!(fingerprint.as_str().unwrap().len(), 64);
            assert_ne!(*fingerprint, json!(hex::encode(plain(ip))));
        }
        app.stop().await;
        let needles: Vec<Vec<u8>> = ADDRESSES
            .iter()
            .flat_map(|ip| [ip.as_bytes().to_vec(), plain(ip).to_vec(), hex::encode(plain(ip)).into_bytes()])
            .collect();
        let (held, searched) = holders(&app, &needles);
        assert!(searched >= 3, "{searched} files");
        assert_eq!(held, Vec::<PathBuf>::new());
        // What is there is found: the search works.
        let token = [b"visitor_".to_vec()];
        assert!(backend == Backend::Postgres || !holders(&app, &token).0.is_empty());
    }

    async fn fingerprint_without_key_is_plain_hash(backend) {
        let app = TestApp::start_with(backend, &[("WEIR_FINGERPRINT_KEY", "")]).await;
        init(from(&app, ADDRESSES[0], &json!({}))).await;
        assert_eq!(fingerprints(&app).await, [json!(hex::encode(plain(ADDRESSES[0])))]);
        let (held, _) = holders(&app, &[plain(ADDRESSES[0]).to_vec()]);
        assert_eq!(held.iter().filter(|path| path.to_string_lossy().contains("journal/main")).count(), 1, "{held:?}");
    }

    async fn fingerprint_after_window_is_cleared(backend) {
        let app = TestApp::start_with(backend, UNTHROTTLED).await;
        for ip in ["203.0.113.1", "203.0.113.2"] {
            init(from(&app, ip, &json!({}))).await;
        }
        app.applied().await;
        let all = app.rows(Database::Main, "SELECT token, fingerprint FROM visitors").await;
        assert!(all.iter().all(|row| row["fingerprint"].is_string()), "{all:?}");
        let (old, fresh) = (&all[0]["token"], &all[1]["token"]);
        let (past, within) = (app.databases.ago(Duration::from_mins(5)), app.databases.ago(Duration::from_mins(4)));
        let age = |token: &Value, to: &str| {
            format!("UPDATE visitors SET created_at = {to} WHERE token = '{}'", token.as_str().unwrap())
        };
        app.databases.execute(Database::Main, &age(fresh, &within)).await;
        app.databases.execute(Database::Main, &age(old, &past)).await;
        let since = Instant::now();
        app.until("the fingerprint is cleared", async || {
            row(&app, old.as_str().unwrap()).await["fingerprint"].is_null()
        })
        .await;
        assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
        assert!(row(&app, fresh.as_str().unwrap()).await["fingerprint"].is_string());
    }
}

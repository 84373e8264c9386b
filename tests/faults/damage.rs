//! A journal whose files are damaged while no server has them: what is whole flows, what is not is named, and intake
//! goes on.

mod earlier_format;

use std::fs::{self, OpenOptions};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use weir_testkit::on_both_databases;

use super::*;

/// Sessions of a backlog: several segments of them.
const BACKLOG: u64 = 60;
/// Positions after an end that was not orderly are beyond this.
const JUMP: f64 = 4_294_967_296.0;

/// A server that was killed with a backlog. The sessions' ids are in the order of their positions: 1 is the first.
async fn killed_with_a_backlog(fault: &'static str, backend: Backend) -> (TestApp, Vec<String>, Ledger) {
    let mut app = TestApp::prepare(backend).await;
    app.set_all(UNTHROTTLED);
    app.set("WEIR_JOURNAL__SEGMENT_BYTES", "4096");
    app.set("WEIR_ANALYTICS_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere");
    app.launch().await;
    let mut ledger = Ledger::of(fault, backend);
    let mut ids = Vec::new();
    for number in 0..BACKLOG {
        let name = format!("{number}/{}", "x".repeat(300));
        ids.push(visit(&app, &mut ledger, &name).await.unwrap());
    }
    app.kill();
    let url = app.databases.analytics_url.clone();
    app.set("WEIR_ANALYTICS_DATABASE_URL", &url);
    assert!(segments(&app).len() >= 5);
    (app, ids, ledger)
}

fn directory(app: &TestApp) -> PathBuf {
    app.data_dir().join("journal/analytics")
}

fn segments(app: &TestApp) -> Vec<PathBuf> {
    let files = fs::read_dir(directory(app)).unwrap().map(|file| file.unwrap().path());
    let mut segments: Vec<_> = files.filter(|file| file.extension().is_some_and(|kind| kind == "journal")).collect();
    segments.sort();
    segments
}

/// Each record of a segment: its position, and where it begins.
fn records(segment: &Path) -> Vec<(u64, u64)> {
    let bytes = fs::read(segment).unwrap();
    let starts = (64..bytes.len().saturating_sub(16)).filter(|at| bytes[*at..].starts_with(b"WREC"));
    starts.map(|at| (u64::from_le_bytes(*bytes[at + 8..].first_chunk().unwrap()), at as u64)).collect()
}

fn write_at(file: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(file).unwrap().write_all_at(bytes, offset).unwrap();
}

fn cut(file: &Path, length: u64) {
    OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

/// Where a segment's last record ends: its file runs ahead in zeros.
fn end(segment: &Path) -> u64 {
    let (_, begin) = records(segment).pop().unwrap();
    let bytes = fs::read(segment).unwrap();
    let length = u32::from_le_bytes(*bytes[begin as usize + 4..].first_chunk().unwrap());
    begin + 28 + u64::from(length)
}

fn append(file: &Path, bytes: &[u8]) {
    write_at(file, end(file), bytes);
}

async fn stored(app: &TestApp) -> Vec<String> {
    app.applied().await;
    let rows = app.rows(Database::Analytics, "SELECT id FROM analytics_sessions ORDER BY id").await;
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// Starts the server. Of these sessions exactly those are stored whose positions are in none of the stretches; each
/// stretch is named wherever an operator looks; and the next session is taken at a position that none had before.
async fn recovers(app: &mut TestApp, ids: &mut Vec<String>, lost: &[RangeInclusive<u64>], ledger: &mut Ledger) {
    app.launch().await;
    let is_lost = |number: usize| lost.iter().any(|stretch| stretch.contains(&(number as u64 + 1)));
    let mut whole: Vec<String> =
        ids.iter().enumerate().filter(|(number, _)| !is_lost(*number)).map(|(_, id)| id.clone()).collect();
    whole.sort();
    assert_eq!(stored(app).await, whole);
    ledger.destroyed.extend(ids.iter().filter(|id| !whole.contains(id)).cloned());

    let listed = app.run(&["dead-letters", "list", "analytics", "--json"]).await;
    let letters: Vec<Value> = listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let named: Vec<_> = letters.iter().map(|letter| (&letter["position"], &letter["last"])).collect();
    let stretches: Vec<_> = lost.iter().map(|stretch| (json!(stretch.start()), json!(stretch.end()))).collect();
    assert_eq!(named, stretches.iter().map(|(first, last)| (first, last)).collect::<Vec<_>>());
    for letter in &letters {
        assert_eq!((&letter["reason"], &letter["record"]), (&json!("damaged"), &json!("")));
        assert!(letter["detail"].as_str().unwrap().contains(".journal is damaged from offset"), "{letter}");
    }
    let count: u64 = lost.iter().map(|stretch| stretch.end() + 1 - stretch.start()).sum();
    let counted = app.metric("weir_dead_letters_total{database=\"analytics\",reason=\"damaged\"}").await;
    assert!((counted - f64::from(u32::try_from(count).unwrap())).abs() < f64::EPSILON, "{counted}, not {count}");
    let log = app.log();
    for stretch in lost {
        let said = |line: &&str| {
            let count = stretch.end() + 1 - stretch.start();
            line.contains("record set aside as a dead letter")
                && line.contains("reason=\"damaged\"")
                && line.contains(&format!("position={} records={count} ", stretch.start()))
        };
        assert_eq!(log.lines().filter(said).count(), 1, "{stretch:?} in the log");
    }

    let before = app.metric("weir_journal_position{journal=\"analytics\"}").await;
    let id = visit(app, ledger, &format!("later/{}", ids.len())).await.expect("intake goes on");
    let after = app.metric("weir_journal_position{journal=\"analytics\"}").await;
    assert!(after > before && after > JUMP, "{after} after {before}");
    app.session(&id).await;
    ids.push(id);
}

on_both_databases! {
    async fn torn_tail_after_kill_is_truncated_without_loss(backend) {
        let (mut app, mut ids, mut ledger) = killed_with_a_backlog("a torn tail", backend).await;
        let mut half = fs::read(&segments(&app)[0]).unwrap()[64..164].to_vec();
        half.push(b'?');
        for tail in [half, vec![0; 300_000], b"WRECWRECWREC\0\0\0\x01".repeat(7)] {
            append(segments(&app).last().unwrap(), &tail);
            recovers(&mut app, &mut ids, &[], &mut ledger).await;
            if tail[0] != 0 {
                assert_eq!(fs::read(directory(&app).join("torn-tail")).unwrap(), tail, "what is cut is kept");
            }
            app.kill();
        }
        // Zeros are what a file runs ahead of its records with.
        assert_eq!(app.log().matches("journal ends in a torn record, cut").count(), 2);
        app.launch().await;
        ledger.settle(&app).await;
    }

    async fn journal_cut_in_last_record_loses_only_that_record(backend) {
        let (mut app, mut ids, mut ledger) = killed_with_a_backlog("a disk that forgot the last record", backend).await;
        let newest = segments(&app).pop().unwrap();
        cut(&newest, end(&newest) - 5);
        let forgotten = ids.pop().unwrap();
        ledger.destroyed.insert(forgotten.clone());
        // Nobody can tell it from one that was never acknowledged: it is cut, and the log says where.
        recovers(&mut app, &mut ids, &[], &mut ledger).await;
        assert!(app.log().contains("journal ends in a torn record, cut"));
        assert!(!stored(&app).await.contains(&forgotten));
        ledger.settle(&app).await;
    }

    async fn corrupt_records_become_dead_letters_and_others_apply(backend) {
        let (mut app, mut ids, mut ledger) = killed_with_a_backlog("flipped bytes", backend).await;
        for segment in segments(&app) {
            for (position, at) in records(&segment) {
                match position {
                    // In the payload, in the length, in the position, in the magic.
                    5 => write_at(&segment, at + 100, b"????"),
                    20 => write_at(&segment, at + 4, &[0xff; 4]),
                    21 => write_at(&segment, at + 8, &[7; 8]),
                    40 => write_at(&segment, at, b"?"),
                    _ => {}
                }
            }
        }
        recovers(&mut app, &mut ids, &[5..=5, 20..=21, 40..=40], &mut ledger).await;
        ledger.settle(&app).await;
    }

    async fn segments_missing_or_cut_report_exact_lost_positions(backend) {
        let (mut app, mut ids, mut ledger) = killed_with_a_backlog("a segment missing, one cut short", backend).await;
        let files = segments(&app);
        let ends = |records: &[(u64, u64)]| records[0].0..=records[records.len() - 1].0;
        let missing = ends(&records(&files[1]));
        fs::remove_file(&files[1]).unwrap();
        let kept = records(&files[3]);
        // In the middle of the third record.
        cut(&files[3], kept[2].1 + 50);
        recovers(&mut app, &mut ids, &[missing, ends(&kept[2..])], &mut ledger).await;
        ledger.settle(&app).await;
    }

    async fn data_directory_in_use_refuses_second_process(backend) {
        let mut app = TestApp::start_with(backend, UNTHROTTLED).await;
        let first = app.create_session(&weir_testkit::minimal_session()).await;
        let second = app.run(&["serve"]).await;
        assert_ne!(second.code, Some(0));
        let said = format!("{}{}", second.stdout, second.stderr);
        assert!(said.contains("journal/analytics is in use by another process"), "{said}");
        assert!(!said.contains("serves requests at"), "{said}");
        let created = app.create_session(&weir_testkit::minimal_session()).await;
        for session in [&first, &created] {
            app.session(session["id"].as_str().unwrap()).await;
        }
        assert!(app.stop().await.success());
        app.launch().await;
        app.still_serves().await;
    }
}

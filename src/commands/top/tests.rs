//! The screen, drawn from two fixed scrapes of a Weir under load.

use std::time::{Duration, Instant};

use chrono::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::*;

const BEFORE: &str = include_str!("fixtures/before.txt");
const NOW: &str = include_str!("fixtures/now.txt");
const URL: &str = "http://127.0.0.1:8080";
/// All but the first line.
const SCREEN: &str = "\
cpu 14 % avg  memory 50.7 MiB  restarts 0  connections 3 / 20k  files 62 / 20k
requests 958/s: accepted 942/s  bot 4.0/s  invalid 4.0/s  not_found 4.0/s
served 2.5/s  throttled 1.5/s
route                  /s    p50    p99  stage                  /s    p50    p99
session               939 1.8 ms  14 ms  parse                 946  18 µs  50 µs
consent               4.0 1.4 ms 4.8 ms  enrich                939  39 µs 679 µs
metrics               2.5 2.3 ms 9.8 ms  journal               942 1.7 ms  14 ms
other                 4.0 130 µs 248 µs  fsync analytics       263 268 µs 7.8 ms
pageview              4.0 2.5 ms 9.6 ms  fsync main            2.5 625 µs 2.4 ms
track_init            4.0 186 µs 480 µs  apply analytics        20 6.8 ms  45 ms
                                         apply main            2.5 1.9 ms 4.9 ms
             analytics            main                  in memory
journal      accepts records      accepts records       mailer       0 / 256
queue        0 / 16k              0 / 16k               user agent   0 / 2.0k
disk         9.9 MiB / 8.0 GiB    320.8 KiB / 8.0 GiB   throttles    2 / 1.0M
appended/s   939                  2.5                   fingerprints 1 / 1.0M
writer       up                   up                    batch keys   0 / 1.0M
behind       0                    0
oldest       0 s                  0 s
applied/s    939                  2.5
rows/s       942                  2.5
retries      0                    0
dead letters 0                    0
";

const NARROW_SCREEN: &str = "\
cpu 14 % avg  memory 50.7 MiB  restarts 0  connections 3 /
20k  files 62 / 20k
requests 958/s: accepted 942/s  bot 4.0/s  invalid 4.0/s
not_found 4.0/s  served 2.5/s  throttled 1.5/s

route               /s    p99  stage               /s    p99
session            939  14 ms  parse              946  50 µs
consent            4.0 4.8 ms  enrich             939 679 µs
metrics            2.5 9.8 ms  journal            942  14 ms
other              4.0 248 µs  fsync analytics    263 7.8 ms
pageview           4.0 9.6 ms  fsync main         2.5 2.4 ms
             analytics               main
journal      accepts records         accepts records
queue        0 / 16k                 0 / 16k
disk         9.9 MiB / 8.0 GiB       320.8 KiB / 8.0 GiB
appended/s   939                     2.5
writer       up                      up
behind       0                       0
oldest       0 s                     0 s
applied/s    939                     2.5
rows/s       942                     2.5
retries      0                       0
dead letters 0                       0
";

/// Two scrapes, two seconds apart.
fn scrapes(before: &str, now: &str) -> (Scrape, Scrape) {
    let began = Instant::now();
    (Scrape::parse(before, began).unwrap(), Scrape::parse(now, began + Duration::from_secs(2)).unwrap())
}

fn seen(before: &str, now: &str) -> Seen {
    let (before, now) = scrapes(before, now);
    let mut seen = Seen::default();
    seen.take(Ok(before), at(0));
    seen.take(Ok(now), at(2));
    seen
}

/// So many seconds after the first scrape was taken.
fn at(second: i64) -> DateTime<Local> {
    Local.timestamp_opt(1_795_661_044 + second, 0).unwrap()
}

fn draw(seen: &Seen, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, &seen.screen(URL))).unwrap();
    terminal
}

/// The cells, line by line.
fn rows(terminal: &Terminal<TestBackend>) -> impl Iterator<Item = &[ratatui::buffer::Cell]> {
    let buffer = terminal.backend().buffer();
    buffer.content.chunks(usize::from(buffer.area.width))
}

fn lines(terminal: &Terminal<TestBackend>) -> Vec<String> {
    let text = |cells: &[ratatui::buffer::Cell]| cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
    rows(terminal).map(text).map(|line| line.replace('\u{a0}', " ").trim_end().to_owned()).collect()
}

/// What is red.
fn alarms(terminal: &Terminal<TestBackend>) -> Vec<String> {
    let red =
        |cell: &ratatui::buffer::Cell| if cell.fg == Color::Red { cell.symbol().to_owned() } else { " ".to_owned() };
    let lines = rows(terminal).map(|cells| cells.iter().map(red).collect::<String>());
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|line| !line.is_empty()).collect()
}

/// The text of a scrape, with another value of a series.
fn with(text: &str, series: &str, value: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(&format!("{series} "))).expect("the fixture has it");
    text.replace(line, &format!("{series} {value}"))
}

#[test]
fn screen_of_80_by_24_shows_everything() {
    let lines = lines(&draw(&seen(BEFORE, NOW), 80, 24));
    assert_eq!(lines[1..], SCREEN.lines().collect::<Vec<_>>());
    assert!(
        lines[0].starts_with("weir 0.1.0 at http://127.0.0.1:8080  ready, up 7 s ") && lines[0].ends_with("  q quits")
    );
}

#[test]
fn screen_of_60_by_24_fits() {
    let lines = lines(&draw(&seen(BEFORE, NOW), 60, 24));
    assert_eq!(lines[0], "weir 0.1.0 at http://127.0.0.1:8080  ready, up 7 s   q quits");
    assert_eq!(lines[1..], NARROW_SCREEN.lines().collect::<Vec<_>>());
    // What has no table of its own there is shown when it is nearly full.
    let crowded = with(NOW, "weir_mailbox_messages{actor=\"mailer\"}", "255");
    assert_eq!(alarms(&draw(&seen(BEFORE, &crowded), 60, 24)), ["255 / 256"]);
}

#[test]
fn larger_screen_shows_more() {
    let lines = lines(&draw(&seen(BEFORE, NOW), 120, 40));
    assert_eq!(lines.iter().filter(|line| line.matches("p90").count() == 2).count(), 1, "{lines:#?}");
    // More routes than seven have room.
    let others: String =
        (0..20).map(|n| format!("weir_requests_total{{route=\"r{n}\",outcome=\"served\"}} 1\n")).collect();
    let crowded = seen(BEFORE, &format!("{NOW}{others}"));
    let routes = |height| self::lines(&draw(&crowded, 120, height)).iter().filter(|line| line.starts_with('r')).count();
    assert!(routes(40) > routes(24), "{} {}", routes(40), routes(24));
}

#[test]
fn values_that_need_an_operator_are_red() {
    assert_eq!(alarms(&draw(&seen(BEFORE, NOW), 100, 30)), Vec::<String>::new());
    let mut bad = NOW.to_owned();
    for (series, value) in [
        ("weir_ready", "0"),
        ("weir_journal_writable{journal=\"main\"}", "0"),
        ("weir_journal_disk_bytes{journal=\"main\"}", "8000000000"),
        ("weir_journal_queue_records{journal=\"analytics\"}", "16384"),
        ("weir_writer_up{database=\"analytics\"}", "0"),
        ("weir_writer_oldest_unapplied_age_seconds{database=\"analytics\"}", "3661"),
        ("weir_dead_letters_total{database=\"main\",reason=\"refused\"}", "3"),
        ("weir_actor_restarts_total{actor=\"warmer\",cause=\"panic\"}", "1"),
        ("weir_connections", "19700"),
        ("weir_mailbox_messages{actor=\"mailer\"}", "255"),
    ] {
        bad = with(&bad, series, value);
    }
    bad += "weir_requests_total{route=\"session\",outcome=\"unavailable\",status=\"200\"} 8\n";
    let expected = [
        "not ready, up 7 s",
        "1 20k / 20k",
        "4.0/s",
        "refuses 255 / 256",
        "16k / 16k",
        "7.5 GiB / 8.0 GiB",
        "cannot apply",
        "1 h 1 min",
        "3",
    ];
    assert_eq!(alarms(&draw(&seen(BEFORE, &bad), 100, 30)), expected);
}

#[test]
fn unreachable_server_keeps_its_last_picture_until_it_is_back() {
    let mut seen = seen(BEFORE, NOW);
    let there = lines(&draw(&seen, 80, 24));
    for second in 3..5 {
        seen.take(Err("io: Connection refused".to_owned()), at(second));
    }
    let gone = draw(&seen, 80, 24);
    assert_eq!(lines(&gone)[2..], there[2..]);
    let since = format!("unreachable since {}: io: Connection refused", clock(at(3)));
    assert_eq!((lines(&gone)[1].as_str(), alarms(&gone)), (since.as_str(), vec![since.clone()]));
    let (before, now) = scrapes(BEFORE, NOW);
    seen.take(Ok(before), at(7));
    let back = lines(&draw(&seen, 80, 24));
    assert!(
        back[1].starts_with("cpu ") && back[2].starts_with("requests accepted –/s"),
        "no rate over the gap: {back:#?}"
    );
    seen.take(Ok(now), at(9));
    assert_eq!(lines(&draw(&seen, 80, 24))[2..], there[2..]);
}

#[test]
fn screen_of_any_size_is_drawn() {
    let crowded = seen(BEFORE, NOW);
    for (width, height) in [(1, 1), (3, 40), (20, 5), (79, 23), (81, 25), (400, 200)] {
        draw(&crowded, width, height);
        draw(&Seen::default(), width, height);
    }
}

#[test]
fn keys_q_escape_and_control_c_end_it() {
    let key = |code, modifiers| ends(KeyEvent::new(code, modifiers));
    assert!(key(KeyCode::Char('q'), KeyModifiers::NONE) && key(KeyCode::Esc, KeyModifiers::NONE));
    assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE) && !key(KeyCode::Enter, KeyModifiers::NONE));
}

#[test]
fn output_without_a_terminal_is_printed_once() {
    let (before, now) = scrapes(BEFORE, NOW);
    let lines = plain::lines(URL, &Picture::of(Some(&before), &now, unix_seconds(at(2))));
    assert_eq!(lines[0], "weir 0.1.0 at http://127.0.0.1:8080: ready, up 7 s");
    let session = lines.iter().find(|line| line.starts_with("  session ")).expect("its rate and times");
    let words: Vec<&str> = session.split_whitespace().collect();
    assert_eq!((&words[..4], &words[6..]), (&["session", "939", "1.8", "ms"][..], &["14", "ms"][..]));
    for part in tables::OF_DATABASE {
        assert!(lines.iter().filter(|line| line.starts_with(&format!("  {part} "))).count() >= 2, "{part}");
    }
}

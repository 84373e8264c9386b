//! Against a mail server that really listens.

use std::io::Write;
use std::sync::{LazyLock, Mutex};

use actix::Arbiter;
use weir_testkit::smtp::{Behaviour, SmtpServer};

use super::*;
use crate::actor::Health;

const PATIENT: Timing = Timing { attempt: Duration::from_secs(30), pauses: [Duration::from_millis(20); 2] };
const HASTY: Timing = Timing { attempt: Duration::from_millis(200), pauses: [Duration::from_millis(20); 2] };

struct Scene {
    outbox: Outbox,
    telemetry: Arc<Telemetry>,
    health_state: Arc<Health>,
    _watchdog: Watchdog,
}

impl Scene {
    fn new(way: Transport, timing: Timing, capacity: usize) -> Self {
        let telemetry = Telemetry::new();
        let health_state = Health::new(Arc::clone(&telemetry));
        let watchdog = Watchdog::default();
        // In the test's own thread, so that its log can be read.
        let arbiter = Arbiter::current();
        let restart_budget = health_state.restart_budget("mailer");
        let bounds = Bounds { workers: 1, queue: capacity };
        let outbox =
            Outbox::start_with(way, timing, bounds, &watchdog, &restart_budget, Arc::clone(&telemetry), &arbiter);
        watchdog.watch();
        Self { outbox, telemetry, health_state, _watchdog: watchdog }
    }

    fn smtp(server: &SmtpServer, timing: Timing) -> Self {
        Self::new(Transport::smtp(&settings(&server.url())).unwrap(), timing, QUEUE)
    }

    fn counted(&self, result: &str) -> u64 {
        let series = format!("weir_mails_total{{result=\"{result}\"}} ");
        let text = self.telemetry.render();
        text.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until nothing waits to be sent.
    async fn idle(&self) {
        let begin = Instant::now();
        while self.outbox.depth_and_capacity().0 > 0 {
            assert!(begin.elapsed() < Duration::from_mins(1), "mails still wait");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn settings(url: &str) -> MailSettings {
    MailSettings { smtp_url: url.to_owned().into(), from: "Weir <weir@example.org>".to_owned() }
}

/// What is logged by this thread as long as the guard lives.
fn logged() -> (Arc<Mutex<Vec<u8>>>, tracing::subscriber::DefaultGuard) {
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    // As long as a process has one subscriber only, tracing keeps what that one thinks of a line, and where the line is
    // first met by a thread without a subscriber, keeps that nobody wants it.
    static OTHER: LazyLock<tracing::Dispatch> =
        LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));
    LazyLock::force(&OTHER);
    let log = Arc::<Mutex<Vec<u8>>>::default();
    let shared = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || Shared(Arc::clone(&shared)))
        .finish();
    (log, tracing::subscriber::set_default(subscriber))
}

fn text(log: &Mutex<Vec<u8>>) -> String {
    String::from_utf8(log.lock().unwrap().clone()).unwrap()
}

#[actix_web::test]
async fn mail_with_code_arrives_complete() {
    let server = SmtpServer::start();
    let scene = Scene::smtp(&server, PATIENT);
    scene.outbox.send_code("ann@example.org", "042137", 10).unwrap();
    let mails = server.wait_for(1).await;
    let [mail] = &mails[..] else { panic!("{mails:#?}") };
    assert_eq!((mail.from.as_str(), mail.to.join(" ").as_str()), ("weir@example.org", "ann@example.org"));
    assert_eq!(mail.header("From").as_deref(), Some("Weir <weir@example.org>"));
    assert_eq!(mail.header("To").as_deref(), Some("ann@example.org"));
    assert_eq!(mail.header("Subject").as_deref(), Some("Your sign-in code"));
    assert!(mail.header("Date").is_some());
    assert!(mail.header("Message-ID").unwrap().ends_with("@example.org>"));
    assert!(mail.header("Content-Type").unwrap().starts_with("text/plain"));
    assert_eq!(mail.code(6), Some("042137"));
    assert!(mail.body().contains("valid for 10 minutes"), "{}", mail.body());
    scene.idle().await;
    assert_eq!(scene.counted("sent"), 1);
    assert_eq!(scene.outbox.depth_and_capacity(), (0, QUEUE));
}

#[actix_web::test]
async fn mails_are_sent_in_order() {
    let server = SmtpServer::start();
    let scene = Scene::smtp(&server, PATIENT);
    for number in 0..10 {
        scene.outbox.send_code(&format!("u{number}@example.org"), "123456", 10).unwrap();
    }
    let to: Vec<String> = server.wait_for(10).await.into_iter().flat_map(|mail| mail.to).collect();
    let expected: Vec<String> = (0..10).map(|number| format!("u{number}@example.org")).collect();
    assert_eq!(to, expected);
}

#[actix_web::test]
async fn mail_deferred_by_server_is_retried() {
    let (log, _guard) = logged();
    let server = SmtpServer::start_with(Behaviour::Defers(2));
    let scene = Scene::smtp(&server, PATIENT);
    scene.outbox.send_code("ann@example.org", "123456", 10).unwrap();
    assert_eq!(server.wait_for(1).await.len(), 1);
    scene.idle().await;
    assert_eq!((scene.counted("sent"), scene.counted("failed"), server.connections()), (1, 0, 3));
    let log = text(&log);
    assert!(log.contains("trying again") && log.contains("status=451"), "{log}");
    assert!(!log.contains("example.org") && !log.contains("123456"), "{log}");
}

#[actix_web::test]
async fn mail_deferred_three_times_is_abandoned() {
    let server = SmtpServer::start_with(Behaviour::Defers(3));
    let scene = Scene::smtp(&server, PATIENT);
    scene.outbox.send_code("ann@example.org", "123456", 10).unwrap();
    scene.idle().await;
    assert_eq!((scene.counted("sent"), scene.counted("failed"), server.connections()), (0, 1, 3));
}

#[actix_web::test]
async fn mail_rejected_by_server_is_not_retried() {
    let (log, _guard) = logged();
    let server = SmtpServer::start_with(Behaviour::Refuses);
    let scene = Scene::smtp(&server, PATIENT);
    scene.outbox.send_code("ann@example.org", "123456", 10).unwrap();
    scene.idle().await;
    assert_eq!((scene.counted("failed"), server.connections()), (1, 1));
    let log = text(&log);
    assert!(log.contains("abandoned") && log.contains("status=550"), "{log}");
    assert!(!log.contains("example.org") && !log.contains("123456"), "{log}");
}

#[actix_web::test]
async fn mail_to_silent_server_fails_without_blocking_sender() {
    let server = SmtpServer::start_with(Behaviour::Hangs);
    let scene = Scene::smtp(&server, HASTY);
    let begin = Instant::now();
    scene.outbox.send_code("ann@example.org", "123456", 10).unwrap();
    assert!(begin.elapsed() < HASTY.attempt, "the sender waited");
    scene.idle().await;
    assert!(begin.elapsed() >= HASTY.attempt * 3);
    assert_eq!((scene.counted("failed"), server.connections()), (1, 3));
}

#[actix_web::test]
async fn mail_without_listening_server_fails() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let scene = Scene::new(Transport::smtp(&settings(&format!("smtp://{free}"))).unwrap(), PATIENT, QUEUE);
    scene.outbox.send_code("ann@example.org", "123456", 10).unwrap();
    scene.idle().await;
    assert_eq!(scene.counted("failed"), 1);
}

#[actix_web::test]
async fn outbox_full_refuses_mail() {
    let server = SmtpServer::start_with(Behaviour::Hangs);
    let scene = Scene::new(Transport::smtp(&settings(&server.url())).unwrap(), HASTY, 2);
    assert_eq!(scene.outbox.send_code("a@example.org", "123456", 10), Ok(()));
    assert_eq!(scene.outbox.send_code("b@example.org", "123456", 10), Ok(()));
    assert_eq!(scene.outbox.depth_and_capacity(), (2, 2));
    assert_eq!(scene.outbox.send_code("c@example.org", "123456", 10), Err(OutboxFull));
    assert_eq!(scene.counted("refused"), 1);
    scene.idle().await;
    assert_eq!(scene.outbox.send_code("c@example.org", "123456", 10), Ok(()));
}

#[actix_web::test]
async fn mail_with_expired_code_is_not_sent() {
    let server = SmtpServer::start();
    let scene = Scene::smtp(&server, PATIENT);
    scene.outbox.send_code("late@example.org", "123456", 0).unwrap();
    scene.outbox.send_code("ann@example.org", "123456", 1).unwrap();
    let mails = server.wait_for(1).await;
    scene.idle().await;
    assert_eq!(mails[0].to, ["ann@example.org"]);
    assert_eq!((scene.counted("expired"), scene.counted("sent"), server.connections()), (1, 1, 1));
}

#[actix_web::test]
async fn mail_to_malformed_address_injects_nothing() {
    const NO_ADDRESSES: [&str; 9] = [
        "",
        "nobody",
        "a@example.org\r\nBcc: b@example.org",
        "a@example.org>\r\nRCPT TO:<b@example.org",
        "a@example.org\n",
        "\"a\r\nDATA\"@example.org",
        "a@example.org, b@example.org",
        "Ann <a@example.org>",
        "\"a b\"@example.org",
    ];
    let server = SmtpServer::start();
    let scene = Scene::smtp(&server, PATIENT);
    let (log, _guard) = logged();
    let logging = Scene::new(Transport::Log, PATIENT, QUEUE);
    for address in NO_ADDRESSES {
        scene.outbox.send_code(address, "123456", 10).unwrap();
        logging.outbox.send_code(address, "123456", 10).unwrap();
    }
    scene.idle().await;
    logging.idle().await;
    assert_eq!((scene.counted("failed"), server.connections()), (NO_ADDRESSES.len() as u64, 0));
    assert_eq!(logging.counted("failed"), NO_ADDRESSES.len() as u64);
    let log = text(&log);
    assert!(!log.contains("example.org") && !log.contains("123456"), "{log}");
}

#[actix_web::test]
async fn mail_without_server_logs_code() {
    let (log, _guard) = logged();
    let telemetry = Telemetry::new();
    let (health_state, watchdog) = (Health::new(Arc::clone(&telemetry)), Watchdog::default());
    let outbox =
        Outbox::start(None, &watchdog, &health_state.restart_budget("mailer"), telemetry, &Arbiter::current()).unwrap();
    outbox.send_code("ann@example.org", "042137", 10).unwrap();
    while outbox.depth_and_capacity().0 > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let log = text(&log);
    assert!(log.lines().any(|line| line.trim() == "INFO sign-in code for ann@example.org is 042137"), "{log}");
}

#[actix_web::test]
async fn mail_worker_panic_loses_one_mail() {
    let scene = Scene::new(Transport::Fragile, PATIENT, QUEUE);
    scene.outbox.send_code("a@example.org", "panic", 10).unwrap();
    scene.outbox.send_code("b@example.org", "123456", 10).unwrap();
    scene.idle().await;
    assert_eq!((scene.counted("failed"), scene.counted("sent")), (1, 1));
    assert_eq!(scene.health_state.failed(), None);
    scene.outbox.send_code("c@example.org", "123456", 10).unwrap();
    scene.idle().await;
    assert_eq!(scene.counted("sent"), 2);
}

#[test]
fn mail_settings_unusable_are_refused_without_quoting_secrets() {
    for url in ["smtps://user:s3cret@mail.example.org/weir.example.org", "smtp://mail.example.org?tls=required"] {
        assert!(check(&settings(url)).is_ok(), "{url}");
    }
    for url in ["s3cret", "http://user:s3cret@mail.example.org", "smtp://user:s3cret@mail.example.org?tls=none"] {
        let error = check(&settings(url)).unwrap_err().to_string();
        assert!(error.starts_with("smtp_url") && !error.contains("s3cret"), "{error}");
    }
    let no_sender = MailSettings { from: "weir".to_owned(), ..settings("smtp://localhost") };
    assert!(matches!(check(&no_sender), Err(MailError::From)));
}

//! A disk that takes a part of a write and fails: nothing of the batch is ever read, and the next one is taken.
//!
//! The system's limit on a file's length makes a write fail so. It is a whole process's, so the test runs itself again as
//! a process under that limit.

use std::process::Command;

use super::*;

/// In the process under the limit: the directory that it works in.
const CHILD: &str = "JOURNAL_UNDER_A_FILE_LIMIT";
const NAME: &str = "file_limit::partial_write_refuses_batch_and_accepts_next";

#[tokio::test]
async fn partial_write_refuses_batch_and_accepts_next() {
    if let Ok(directory) = std::env::var(CHILD) {
        return under_the_limit(Path::new(&directory)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    // 8 KiB a file, and a write beyond it is an error and no signal.
    let shell = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact --nocapture \"$1\""])
        .arg(std::env::current_exe().unwrap())
        .arg(NAME)
        .env(CHILD, directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&shell.stdout);
    assert!(shell.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&shell.stderr));
}

async fn under_the_limit(directory: &Path) {
    let journal = start(directory, JournalOptions::default());
    let (mut taken, mut refused) = (Vec::new(), 0);
    for number in 0..60 {
        // Together they are written at once, or one after the other: each is taken or refused by itself.
        let batch: Vec<_> = (0..5).map(|part| format!("{number} {part} {}", "x".repeat(300)).into_bytes()).collect();
        let acks: Vec<_> = batch.iter().map(|payload| journal.appender().append(payload.clone()).unwrap()).collect();
        for (ack, payload) in acks.into_iter().zip(batch) {
            match ack.await {
                Ok(()) => taken.push(payload),
                Err(error) => {
                    assert_eq!(error, AppendError::Failed);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused >= 5 && taken.len() >= 150, "{refused} refused, {} taken", taken.len());
    let (records, corrupt) = read_all(&journal, Position::START);
    assert_eq!((payloads(&records) == taken, corrupt), (true, vec![]), "all that was taken, and nothing else");
    // The next process finds the same, whether the files are as this one leaves them now or after its end.
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    journal.appender().close();
    drop(journal);
    for directory in [directory, copy.path()] {
        let (records, corrupt) = read_all(&start(directory, JournalOptions::default()), Position::START);
        assert_eq!((payloads(&records) == taken, corrupt), (true, vec![]), "the same after a start");
    }
}

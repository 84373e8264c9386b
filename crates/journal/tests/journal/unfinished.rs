//! What a crash leaves that came while a segment was made.

use super::*;

#[tokio::test]
async fn headerless_segment_is_no_loss_and_reuses_no_position() {
    for bytes in [0, 10, 63] {
        let directory = tempfile::tempdir().unwrap();
        let mut crashed = open(directory.path(), JournalOptions::default()).unwrap();
        let given = crashed.append(&numbered(0..10)).unwrap();
        drop(crashed);
        // As a start that jumps ahead names it.
        let unfinished = Position(given.0 + (1 << 32));
        let path = directory.path().join(format!("{:020}.journal", unfinished.0));
        fs::write(&path, vec![0; bytes]).unwrap();
        let mut again = open(directory.path(), JournalOptions::default()).unwrap();
        assert!(again.append(&numbered(10..11)).unwrap() > unfinished);
        drop(again);
        let journal = start(directory.path(), JournalOptions::default());
        let (records, corrupt) = read_all(&journal, Position::START);
        assert_eq!((payloads(&records), corrupt), (numbered(0..11), vec![]), "{bytes} bytes");
    }
}

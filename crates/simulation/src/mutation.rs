//! Rules that can be taken away, to see that the search finds what they are for.

/// A rule that is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Records are acknowledged before they are synced.
    FilesNotSynced,
    /// Names are used before their directory is synced.
    DirectoriesNotSynced,
    /// The position is moved in a transaction of its own.
    PositionMovedApart,
    /// A step is applied wherever the position stands: a commit whose answer was lost is repeated.
    PositionNotCompared,
    /// The position passes a record before its dead letter is on disk.
    LettersAfterPosition,
    /// Applied segments are deleted at once, and a database that goes back lacks them.
    NothingKept,
    /// Nobody asks an idle database where it stands.
    NobodyLooks,
    /// What follows a session that is not there yet is dropped.
    EffectsDoNotWait,
    /// A second item with a key is stored like the first.
    KeysStoredTwice,
    /// A keyed item is refused while nobody can look its key up.
    UnknownKeysRefused,
}

impl Mutation {
    pub const ALL: [Self; 10] = [
        Self::FilesNotSynced,
        Self::DirectoriesNotSynced,
        Self::PositionMovedApart,
        Self::PositionNotCompared,
        Self::LettersAfterPosition,
        Self::NothingKept,
        Self::NobodyLooks,
        Self::EffectsDoNotWait,
        Self::KeysStoredTwice,
        Self::UnknownKeysRefused,
    ];

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutation| format!("{mutation:?}") == name)
    }
}

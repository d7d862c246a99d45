//! The file: its format, its migrations, and the few statements ever run on it.
//!
//! ```text
//! log(rev INTEGER PRIMARY KEY, key TEXT, value BLOB)   value is an envelope
//! floor(bucket TEXT PRIMARY KEY, rev INTEGER)          history is complete after rev; bucket '' is all buckets
//! ```
//!
//! Invariant: a floor is in the same transaction as the first deletion it permits, so that neither a gap in history
//! nor a reused revision can be seen after a crash.

use std::collections::HashMap;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

use crate::envelope::{self, EnvelopeError, Record};
use crate::view::bucket_of;
use crate::{Entry, Event, ReadFacts, Revision, quarantine, splice};

/// Marks the file as ours (`Mnke`).
const APPLICATION_ID: i32 = 0x4d6e_6b65;
/// Step `i` turns format `i` into `i + 1`; the last one's result is today's format.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE log (rev INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB NOT NULL);
    CREATE TABLE floor (bucket TEXT PRIMARY KEY, rev INTEGER NOT NULL) WITHOUT ROWID;
"];
/// Events handed over at a time while loading.
const LOAD_STEP: usize = 1000;

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A newer program wrote it.
    #[error(
        "{} has store format {found}, this version of Minke knows formats up to {known}: \
         start the version that wrote it, or a newer one, or choose another data directory", path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its format.
        found: usize,
        /// The newest known format.
        known: usize,
    },
    /// Another program's database.
    #[error("{} is not a database of Minke: choose another data directory", .0.display())]
    Foreign(PathBuf),
    /// A row cannot be understood.
    #[error("{}: revision {revision} of {key} cannot be read, {why}", path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// The row's revision.
        revision: Revision,
        /// The row's key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file cannot be created or opened.
    #[error("cannot create {}", path.display())]
    File {
        /// The database file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The engine refuses the file or failed on it.
    #[error("cannot open {}", path.display())]
    Engine {
        /// The database file.
        path: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// No thread for the writer.
    #[error("cannot start the store's writer")]
    Thread(#[source] std::io::Error),
}

impl OpenError {
    /// Whether a disk without room can be the cause.
    pub(super) fn may_want_room(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, DiskFull, SystemIoFailure};
        matches!(self, Self::Engine { source, .. }
            if matches!(source.sqlite_error_code(), Some(CannotOpen | DiskFull | SystemIoFailure)))
    }
}

/// What [`Log::load`] finds, in this order.
pub(super) enum Loaded {
    Floors(Floors),
    Events(Vec<Event>),
    /// A deletion whose key is already gone: what a compaction left to do.
    Rest(Arc<str>, Revision),
    Newest(Revision),
}

/// After which revisions history is complete: everywhere, and per bucket.
#[derive(Default)]
pub(super) struct Floors {
    pub(super) all: Revision,
    pub(super) buckets: Vec<(Arc<str>, Revision)>,
}

/// One row to append.
pub(super) struct Row {
    pub(super) revision: Revision,
    pub(super) key: Arc<str>,
    pub(super) envelope: Vec<u8>,
}

pub(super) struct Log {
    connection: Connection,
    path: PathBuf,
}

/// SQLite's integers are signed; 2^63 writes are out of reach.
fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).expect("revisions count up from 1")
}

fn unsigned(rev: i64) -> Revision {
    Revision::try_from(rev).unwrap_or(0)
}

impl Log {
    pub(super) fn open(path: &Path, checkpoint_pages: u32) -> Result<Self, OpenError> {
        create_private(path).map_err(|source| OpenError::File { path: path.to_owned(), source })?;
        let engine = |source| OpenError::Engine { path: path.to_owned(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(engine)?;
        migrate(&mut connection, path)?;
        configure(&connection, checkpoint_pages).map_err(engine)?;
        Ok(Self { connection, path: path.to_owned() })
    }

    /// Reads everything, in revision order.
    pub(super) fn load(
        &self,
        read_facts: &ReadFacts,
        mut found: impl FnMut(Loaded),
    ) -> Result<(), OpenError> {
        let engine = |source| OpenError::Engine { path: self.path.clone(), source };
        let floors = self.floors().map_err(engine)?;
        let mut newest = floors.buckets.iter().map(|(_, floor)| *floor).fold(floors.all, Revision::max);
        found(Loaded::Floors(floors));
        let mut rows =
            self.connection.prepare("SELECT rev, key, value FROM log ORDER BY rev").map_err(engine)?;
        let mut rows = rows.query(()).map_err(engine)?;
        let mut current: HashMap<Arc<str>, Arc<Entry>> = HashMap::new();
        let mut events = Vec::with_capacity(LOAD_STEP);
        while let Some(row) = rows.next().map_err(engine)? {
            let revision = unsigned(row.get(0).map_err(engine)?);
            let key = row.get_ref(1).and_then(|key| Ok(key.as_str()?)).map_err(engine)?;
            let value = row.get_ref(2).and_then(|value| Ok(value.as_blob()?)).map_err(engine)?;
            let event =
                replay(&mut current, revision, key, value, read_facts).map_err(|why| OpenError::Corrupt {
                    path: self.path.clone(),
                    revision,
                    key: key.to_owned(),
                    why: why.to_string(),
                })?;
            newest = newest.max(revision);
            match event {
                Some(event) => events.push(event),
                None => found(Loaded::Rest(key.into(), revision)),
            }
            if events.len() == LOAD_STEP {
                found(Loaded::Events(std::mem::replace(&mut events, Vec::with_capacity(LOAD_STEP))));
            }
        }
        found(Loaded::Events(events));
        found(Loaded::Newest(newest));
        Ok(())
    }

    fn floors(&self) -> rusqlite::Result<Floors> {
        let mut floors = Floors::default();
        let mut rows = self.connection.prepare("SELECT bucket, rev FROM floor")?;
        let mut rows = rows.query(())?;
        while let Some(row) = rows.next()? {
            let bucket: String = row.get(0)?;
            let floor = unsigned(row.get(1)?);
            if bucket.is_empty() { floors.all = floor } else { floors.buckets.push((bucket.into(), floor)) }
        }
        Ok(floors)
    }

    /// Appends rows durably. `unpublished_after`: what an earlier failure may have left beyond this revision goes.
    pub(super) fn append(
        &mut self,
        rows: &[Row],
        unpublished_after: Option<Revision>,
    ) -> rusqlite::Result<()> {
        let transaction = begin(&mut self.connection)?;
        if let Some(revision) = unpublished_after {
            transaction.execute("DELETE FROM log WHERE rev > ?1", [signed(revision)])?;
        }
        {
            let mut insert =
                transaction.prepare_cached("INSERT INTO log (rev, key, value) VALUES (?1, ?2, ?3)")?;
            for row in rows {
                insert.execute(params![signed(row.revision), row.key, row.envelope])?;
            }
        }
        transaction.commit()
    }

    /// Sets floors and deletes rows that they permit to delete.
    pub(super) fn sweep(&mut self, floors: &[(&str, Revision)], rows: &[Revision]) -> rusqlite::Result<()> {
        let transaction = begin(&mut self.connection)?;
        {
            let mut set =
                transaction.prepare_cached("INSERT OR REPLACE INTO floor (bucket, rev) VALUES (?1, ?2)")?;
            for (bucket, floor) in floors {
                set.execute(params![bucket, signed(*floor)])?;
            }
            let mut delete = transaction.prepare_cached("DELETE FROM log WHERE rev = ?1")?;
            for row in rows {
                delete.execute([signed(*row)])?;
            }
        }
        transaction.commit()
    }

    /// How many bytes of the database are free for new rows.
    pub(super) fn free_bytes(&self) -> rusqlite::Result<u64> {
        let number =
            |name: &str| self.connection.query_row(name, (), |row| row.get::<_, i64>(0)).map(unsigned);
        Ok(number("PRAGMA freelist_count")?.saturating_mul(number("PRAGMA page_size")?))
    }

    /// Carries over what it can while keeping the write-ahead log's file: the next writes take no more room for it.
    pub(super) fn recycle(&self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", (), |_| Ok(()))
    }

    /// Carries the write-ahead log over into the database, so that its space can be used again.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
    }

    /// Closes the file; the last connection's end removes the write-ahead log.
    pub(super) fn close(self) -> rusqlite::Result<()> {
        self.checkpoint()?;
        self.connection.close().map_err(|(_, error)| error)
    }
}

fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Secrets are inside: nobody else may read the file. SQLite gives its side files the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut create = std::fs::OpenOptions::new();
    match create.write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all()?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn configure(connection: &Connection, checkpoint_pages: u32) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    // Kibibytes when negative. The view answers all reads; SQLite needs no more than the tree's right edge.
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "wal_autocheckpoint", checkpoint_pages)?;
    connection.pragma_update(None, "journal_size_limit", 4 << 20)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let engine = |source| OpenError::Engine { path: path.to_owned(), source };
    let number = |name| connection.query_row(&format!("PRAGMA {name}"), (), |row| row.get::<_, i64>(0));
    let application = number("application_id").map_err(engine)?;
    let found = usize::try_from(number("user_version").map_err(engine)?).unwrap_or(usize::MAX);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0)).map_err(engine)?;
    if application != i64::from(APPLICATION_ID) && (application != 0 || found != 0 || tables != 0) {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    if found > MIGRATIONS.len() {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: MIGRATIONS.len() });
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(engine)?;
    if found < MIGRATIONS.len() {
        upgrade(connection, found).map_err(engine)?;
    }
    Ok(())
}

fn upgrade(connection: &mut Connection, found: usize) -> rusqlite::Result<()> {
    let transaction = begin(connection)?;
    for step in &MIGRATIONS[found..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", i64::try_from(MIGRATIONS.len()).expect("few"))?;
    transaction.commit()
}

/// The event that a row stands for; `None` for a deletion whose key is already gone.
fn replay(
    current: &mut HashMap<Arc<str>, Arc<Entry>>,
    revision: Revision,
    key: &str,
    value: &[u8],
    read_facts: &ReadFacts,
) -> Result<Option<Event>, ReplayError> {
    if bucket_of(key).is_none_or(str::is_empty) {
        return Err(ReplayError::Key);
    }
    let damaged = match envelope::open(value) {
        Ok(Record::Put(value)) => quarantine::damage(value).map(|why| (value, why.to_string())),
        Err(why @ (EnvelopeError::Payload | EnvelopeError::Short)) => Some((value, why.to_string())),
        _ => None,
    };
    let stand_in;
    let record = match damaged {
        None => envelope::open(value)?,
        Some((value, why)) => {
            tracing::error!(
                key,
                revision,
                why,
                "a stored object cannot be read; it can be replaced or deleted"
            );
            stand_in = quarantine::stand_in(key, value, &why);
            Record::Put(&stand_in)
        }
    };
    match record {
        Record::Put(value) => {
            let key = current.get_key_value(key).map_or_else(|| key.into(), |(key, _)| key.clone());
            let entry = Arc::new(entry(&key, revision, value, read_facts));
            let previous = current.insert(key, entry.clone());
            Ok(Some(Event { entry, previous, deleted: false }))
        }
        Record::Delete(last) => Ok(current.remove(key).map(|previous| Event {
            entry: Arc::new(deletion(&previous, revision, last)),
            previous: Some(previous),
            deleted: true,
        })),
    }
}

#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error("its key has no bucket")]
    Key,
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

/// A version as readers see it.
pub(super) fn entry(key: &Arc<str>, revision: Revision, value: &[u8], read_facts: &ReadFacts) -> Entry {
    Entry::new(key.clone(), revision, splice::splice(value, revision), read_facts)
}

/// The final version of a deleted key: `last`, or what was before.
pub(super) fn deletion(previous: &Entry, revision: Revision, last: Option<&[u8]>) -> Entry {
    match last {
        Some(last) => entry(&previous.key, revision, last, &previous.read_facts),
        None => {
            let value = splice::strip(&previous.value);
            entry(&previous.key, revision, &value, &previous.read_facts)
                .with_facts(previous.facts.get().cloned())
        }
    }
}

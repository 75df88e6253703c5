//! A [`Store`] on SQLite with the real migrations, in which a test can plan a fault.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use colibri_edge::storage::{CommitError, Fault, Param, Statement, Store};
use rusqlite::backup::Backup;
use rusqlite::limits::Limit;
use rusqlite::types::Value;
use rusqlite::{Connection, StatementStatus, params_from_iter};

/// Where a fault occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// Reading facts fails.
    Read,
    /// The commit fails, and nothing of it is stored.
    CommitLost,
    /// The commit is stored, but the answer is lost.
    CommitStored,
    /// Another writer commits first.
    Conflict,
}

/// A database in memory.
pub(crate) struct Sqlite {
    db: RefCell<Connection>,
    broken: Cell<Option<Break>>,
    /// The number of faults that occurred.
    pub(crate) struck: Cell<u32>,
    /// Every statement that was run.
    pub(crate) seen: RefCell<BTreeSet<&'static str>>,
    /// The number of round trips that read something.
    pub(crate) read_times: Cell<u32>,
    /// The instructions of SQLite's machine that reads ran: what a question costs, the same on every computer.
    pub(crate) steps: Cell<i64>,
}

impl Sqlite {
    /// An empty database with every migration applied, in file-name order as wrangler does it.
    pub(crate) fn new() -> Self {
        /// The migrations are applied once for all tests, which copy the pages: a history opens several databases.
        static MIGRATED: LazyLock<Mutex<Connection>> = LazyLock::new(|| {
            let db = connection();
            apply(&db, &migrations());
            Mutex::new(db)
        });
        let mut db = connection();
        let migrated = MIGRATED.lock().unwrap();
        Backup::new(&migrated, &mut db).unwrap().run_to_completion(i32::MAX, Duration::ZERO, None).unwrap();
        drop(migrated);
        Self::of(db)
    }

    /// What this database holds as it would be today if `n` migrations had been there when it was written: the rows of
    /// the tables and columns of that schema, and then the other migrations.
    pub(crate) fn upgraded_from(&self, n: usize) -> Self {
        let (db, files) = (connection(), migrations());
        apply(&db, &files[..n]);
        let mine = self.db.borrow();
        for table in names(
            &db,
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'message_words%'",
            [],
        ) {
            let columns = names(&db, "SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0", [&table]);
            let (list, places) = (columns.join(", "), vec!["?"; columns.len()].join(", "));
            db.execute(&format!("DELETE FROM {table}"), []).unwrap(); // what a migration put there, such as the ledger
            let mut read = mine.prepare(&format!("SELECT {list} FROM {table}")).unwrap();
            let mut write = db.prepare(&format!("INSERT INTO {table} ({list}) VALUES ({places})")).unwrap();
            let mut rows = read.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let cells: Vec<Value> = (0..columns.len()).map(|at| row.get(at).unwrap()).collect();
                write.execute(params_from_iter(cells)).unwrap();
            }
        }
        apply(&db, &files[n..]);
        Self::of(db)
    }

    fn of(db: Connection) -> Self {
        Self {
            db: RefCell::new(db),
            broken: Cell::new(None),
            struck: Cell::new(0),
            seen: RefCell::new(BTreeSet::new()),
            read_times: Cell::new(0),
            steps: Cell::new(0),
        }
    }

    /// The next operation of that kind fails once.
    pub(crate) fn break_next(&self, at: Break) {
        self.broken.set(Some(at));
    }

    /// Cancels a planned fault.
    pub(crate) fn unbreak(&self) {
        self.broken.set(None);
    }

    fn strikes(&self, at: Break) -> bool {
        let strikes = self.broken.get() == Some(at);
        if strikes {
            self.broken.set(None);
            self.struck.set(self.struck.get() + 1);
        }
        strikes
    }

    /// Rows of a query, each as its columns joined by a bar. For assertions only.
    pub(crate) fn look(&self, sql: &str) -> Vec<String> {
        let db = self.db.borrow();
        let mut statement = db.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let cells: Vec<String> = (0..columns)
                .map(|n| match row.get::<_, Value>(n).unwrap() {
                    Value::Null => "null".into(),
                    Value::Integer(number) => number.to_string(),
                    Value::Real(number) => number.to_string(),
                    Value::Text(text) => text,
                    Value::Blob(_) => "blob".into(),
                })
                .collect();
            Ok(cells.join("|"))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// The plan of a statement (`EXPLAIN QUERY PLAN`), step by step. A plan does not depend on the
    /// parameters.
    pub(crate) fn plan(&self, sql: &str) -> Vec<String> {
        let db = self.db.borrow();
        let mut prepared =
            db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap_or_else(|e| panic!("{e}: {sql}"));
        let mut steps = prepared.raw_query(); // nothing needs to be bound
        let mut plan = Vec::new();
        while let Some(step) = steps.next().unwrap() {
            plan.push(step.get("detail").unwrap());
        }
        plan
    }

    /// The tables that a statement reads and writes, as SQLite opens them (`EXPLAIN`).
    pub(crate) fn opens(&self, sql: &str) -> (BTreeSet<String>, BTreeSet<String>) {
        let db = self.db.borrow();
        let mut schema = db.prepare("SELECT tbl_name FROM sqlite_schema WHERE rootpage = ?1").unwrap();
        let mut prepared = db.prepare(&format!("EXPLAIN {sql}")).unwrap_or_else(|e| panic!("{e}: {sql}"));
        let mut steps = prepared.raw_query(); // nothing needs to be bound
        let (mut read, mut written) = (BTreeSet::new(), BTreeSet::new());
        while let Some(step) = steps.next().unwrap() {
            let opcode: String = step.get("opcode").unwrap();
            let (found, page) = match opcode.as_str() {
                "OpenRead" | "ReopenIdx" => (&mut read, "p2"),
                "OpenWrite" => (&mut written, "p2"),
                "Clear" => (&mut written, "p1"),
                _ => continue,
            };
            let page: i64 = step.get(page).unwrap();
            // The schema table itself has no row in it.
            found.extend(schema.query_row([page], |row| row.get::<_, String>(0)));
        }
        (read, written)
    }

    /// Everything in the index, except what depends on the batching: for comparing two histories.
    pub(crate) fn index(&self) -> Vec<String> {
        let mut all = Vec::new();
        for sql in [
            "SELECT 'community', uri, name, description, picture, category_order, requires_approval_to_join, rev FROM communities ORDER BY uri",
            "SELECT 'channel', uri, community_uri, name, owner_only, category_rkey, rev FROM channels ORDER BY uri",
            "SELECT 'category', uri, community_uri, name, channel_order, rev FROM categories ORDER BY uri",
            "SELECT 'membership', uri, community_uri, rev FROM memberships ORDER BY uri",
            "SELECT 'member', uri, member_did, community_uri, roles, withdrawn, hidden, rev FROM members ORDER BY uri",
            "SELECT 'role', uri, position, protected, rev FROM roles ORDER BY uri",
            "SELECT 'lists', uri, allowed_roles, allowed_members FROM channels WHERE allowed_roles || allowed_members IS NOT NULL ORDER BY uri",
            "SELECT 'approval', uri, membership_uri, rev FROM approvals ORDER BY uri",
            "SELECT 'message', uri, channel_uri, channel, text, created_at, edited, parent, facets, rev FROM messages ORDER BY uri",
            "SELECT 'reaction', uri, target_uri, emoji, rev FROM reactions ORDER BY uri",
            "SELECT 'profile', uri, display_name, rev FROM actor_profiles ORDER BY uri",
            "SELECT 'mute', uri, subject, rev FROM mutes ORDER BY uri",
            "SELECT 'preference', uri, level, rev FROM preferences ORDER BY uri",
            "SELECT 'held', uri, waits_for, rev FROM held ORDER BY uri",
            "SELECT 'settled', uri, outcome, rev FROM settled ORDER BY uri",
            "SELECT 'moderation', uri, action, subject, rev FROM moderations ORDER BY uri",
            "SELECT 'hidden', uri, hidden FROM messages WHERE hidden ORDER BY uri",
            "SELECT 'notification', message_uri, kind, recipient_did FROM notifications ORDER BY message_uri, kind, recipient_did",
            "SELECT 'ban', community_uri, member_did, by_service, by_record FROM bans ORDER BY community_uri, member_did",
            "SELECT 'block', uri, by_service, by_record FROM blocks ORDER BY uri",
            "SELECT 'refusals', reason, count FROM refusal_counts ORDER BY reason",
        ] {
            all.extend(self.look(sql));
        }
        all
    }

    /// Runs SQL as another writer would, and raises the ledger version. For facts that no event
    /// creates.
    pub(crate) fn exec(&self, sql: &str) {
        self.by_hand(sql);
        self.by_hand("UPDATE ledger SET version = version + 1");
    }

    /// Runs SQL as an admin in the D1 console, who knows nothing of the ledger.
    pub(crate) fn by_hand(&self, sql: &str) {
        self.db.borrow().execute_batch(sql).unwrap();
    }

    /// Values for rusqlite.
    pub(crate) fn bind(params: &[Param]) -> Vec<Value> {
        assert!(params.len() <= 100, "D1 binds at most 100 parameters");
        params
            .iter()
            .map(|param| match param {
                Param::Int(number) => Value::Integer(*number),
                Param::Text(text) => Value::Text(text.clone()),
                Param::Null => Value::Null,
            })
            .collect()
    }
}

/// Runs a statement of an object's database.
pub(crate) fn run(db: &Connection, statement: &Statement) -> Result<Vec<String>, Fault> {
    let mut prepared = db.prepare_cached(statement.sql).unwrap();
    let rows = prepared.query_map(params_from_iter(Sqlite::bind(&statement.params)), |row| row.get("row"));
    Ok(rows.unwrap().map(Result::unwrap).collect())
}

impl Store for Sqlite {
    async fn read(&self, statements: &[Statement]) -> Result<Vec<Vec<String>>, Fault> {
        if self.strikes(Break::Read) {
            return Err(Fault::new("reading", "made to fail"));
        }
        self.read_times.set(self.read_times.get() + 1);
        let db = self.db.borrow();
        statements
            .iter()
            .map(|statement| {
                self.seen.borrow_mut().insert(statement.sql);
                let mut prepared =
                    db.prepare_cached(statement.sql).map_err(|e| Fault::new("preparing", e))?;
                let rows = prepared
                    .query_map(params_from_iter(Self::bind(&statement.params)), |row| row.get("row"))
                    .map_err(|error| Fault::new("reading", error))?
                    .collect::<Result<Vec<String>, _>>()
                    .map_err(|error| Fault::new("reading", error));
                let steps = prepared.reset_status(StatementStatus::VmStep);
                self.steps.set(self.steps.get() + i64::from(steps));
                rows
            })
            .collect()
    }

    async fn write(&self, statements: &[Statement]) -> Result<Vec<Vec<String>>, Fault> {
        if self.strikes(Break::CommitLost) {
            return Err(Fault::new("writing", "made to fail"));
        }
        let mut db = self.db.borrow_mut();
        let transaction = db.transaction().map_err(|error| Fault::new("beginning", error))?;
        let answers = statements
            .iter()
            .map(|statement| {
                self.seen.borrow_mut().insert(statement.sql);
                let mut prepared =
                    transaction.prepare_cached(statement.sql).map_err(|e| Fault::new("preparing", e))?;
                let rows = prepared
                    .query_map(params_from_iter(Self::bind(&statement.params)), |row| row.get("row"))
                    .map_err(|error| Fault::new("writing", error))?;
                rows.collect::<Result<Vec<String>, _>>().map_err(|error| Fault::new("writing", error))
            })
            .collect::<Result<Vec<_>, _>>()?;
        transaction.commit().map_err(|error| Fault::new("committing", error))?;
        Ok(answers)
    }

    async fn commit(&self, statements: Vec<Statement>) -> Result<(), CommitError> {
        if self.strikes(Break::CommitLost) {
            return Err(CommitError::Fault(Fault::new("committing", "made to fail")));
        }
        if self.strikes(Break::Conflict) {
            self.exec("");
        }
        let mut db = self.db.borrow_mut();
        let transaction = db.transaction().map_err(|e| CommitError::Fault(Fault::new("beginning", e)))?;
        for statement in &statements {
            self.seen.borrow_mut().insert(statement.sql);
            let run = transaction
                .prepare_cached(statement.sql)
                .and_then(|mut prepared| prepared.execute(params_from_iter(Self::bind(&statement.params))));
            if let Err(error) = run {
                let text = error.to_string();
                return Err(if text.contains("ledger.version") {
                    CommitError::Conflict
                } else {
                    CommitError::Fault(Fault::new("committing", format!("{text}: {}", statement.sql)))
                });
            }
        }
        transaction.commit().map_err(|error| CommitError::Fault(Fault::new("committing", error)))?;
        drop(db);
        if self.strikes(Break::CommitStored) {
            return Err(CommitError::Fault(Fault::new("committing", "the answer was lost")));
        }
        Ok(())
    }
}

/// An empty database in memory, with the limits that workerd sets for D1 and for the SQLite of objects.
fn connection() -> Connection {
    let db = Connection::open_in_memory().unwrap();
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, 2_200_000),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 100_000),
        (Limit::SQLITE_LIMIT_COLUMN, 100),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 5),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 32),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
    ] {
        db.set_limit(limit, value).unwrap();
    }
    db.set_prepared_statement_cache_capacity(1_000); // more than there are: preparing costs more than running
    db
}

/// The files of the migrations, in order.
pub(crate) fn migrations() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir("migrations").unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn apply(db: &Connection, files: &[PathBuf]) {
    for file in files {
        db.execute_batch(&std::fs::read_to_string(file).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

fn names(db: &Connection, sql: &str, params: impl rusqlite::Params) -> Vec<String> {
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map(params, |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

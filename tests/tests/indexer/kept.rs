//! The example on a store that outlives it: killed and started again, it goes on, and what was
//! done is not done again.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use conveyor_test_servers::{Options, Postgres};

use crate::run::{LIMIT, Run, Tree, row};

/// Where a run keeps its tasks and its index, as a test looks at it.
enum Store {
    File(String),
    Server(Postgres),
}

impl Store {
    /// In the very tree that is indexed: the index is no file of it.
    fn file(tree: &Tree) -> Self {
        Store::File(tree.0.join("index.db").into_os_string().into_string().unwrap())
    }

    fn option(&self) -> String {
        match self {
            Store::File(path) => format!("--store=sqlite:{path}"),
            Store::Server(server) => format!("--store={}", server.url()),
        }
    }

    /// A number that the database answers.
    fn number(&self, question: &str) -> u64 {
        match self {
            Store::File(path) => {
                let sql = rusqlite::Connection::open(path).unwrap();
                let number: i64 = sql.query_row(question, (), |row| row.get(0)).unwrap();
                number.unsigned_abs()
            }
            Store::Server(server) => server.query(question).unwrap().parse().unwrap(),
        }
    }

    fn indexed(&self) -> u64 {
        self.number("SELECT count(*) FROM indexer_files WHERE entry IS NOT NULL")
    }

    /// How many tasks more have written an entry than have succeeded, or the other way round. The
    /// keys of these tasks are paths.
    fn torn(&self) -> u64 {
        let succeeded = match self {
            Store::File(_) => "conveyor_tasks WHERE state = 4 AND ending = 0",
            Store::Server(_) => "conveyor.ended WHERE how = 0",
        };
        self.number(&format!(
            "SELECT abs((SELECT count(*) FROM {succeeded} AND key LIKE '%/%') - \
             (SELECT coalesce(sum(tasks), 0) FROM indexer_files))"
        ))
    }
}

fn tree_of(files: u64) -> Tree {
    let tree = Tree::new();
    for number in 0..files {
        let kind = ["rs", "c", "md", "txt"][number as usize % 4];
        let lines = "some words in it\n".repeat(number as usize % 30);
        tree.write(format!("{:02}/{number}.{kind}", number % 50), format!("{number}\n{lines}"));
    }
    tree
}

fn start(tree: &Tree, store: &Store) -> Run {
    Run::of(tree, &["--consumers=4", &store.option()])
}

/// Waits until so many files are indexed. An entry and the end of its task are one, at any moment.
fn wait_for_files(run: &Run, store: &Store, least: u64) {
    run.line_that(|line| line.contains(" files, ").then_some(()));
    let begun = Instant::now();
    while store.indexed() < least {
        assert_eq!(store.torn(), 0);
        assert!(begun.elapsed() < LIMIT, "it hangs");
        sleep(Duration::from_millis(10));
    }
}

/// What it says of the runs before: the files that were indexed, and the tasks that wait. A file
/// that is read while a scan goes on may be given another task, which ends at once.
fn goes_on(run: &Run) -> (u64, u64) {
    run.line_that(|line| {
        let (indexed, rest) = line.strip_prefix("going on: ")?.split_once(" files were indexed")?;
        let waiting = rest.strip_prefix(" before, ")?.strip_suffix(" wait")?;
        Some((indexed.parse().ok()?, waiting.parse().ok()?))
    })
}

/// The table of languages.
fn languages(said: &str) -> &str {
    said.split("\n\n").next().unwrap()
}

/// A run on what is left: what it tells is what a run in memory tells, and each file cost one task
/// over all runs.
fn ends_well(run: Run, files: u64, in_memory: &str, store: &Store) {
    let (output, said) = run.end();
    assert!(output.status.success());
    assert!(said.contains(&format!("files on disk {files} = indexed {files} + unreadable 0\n")));
    assert!(said.contains(&format!(" = succeeded {files} + failed 0 + cancelled ")));
    assert!(said.contains(" + crashed 0 + live 0\n"));
    assert_eq!(languages(&said), languages(in_memory));
    assert_eq!(store.indexed(), files);
    assert_eq!(store.number("SELECT count(*) FROM indexer_files WHERE tasks <> 1"), 0);
}

/// Kills a run in the middle, and another, and sees the third through.
fn is_killed_and_goes_on(files: u64, tree: &Tree, store: &Store) {
    let (_, in_memory) = Run::of(tree, &[]).end();
    assert_eq!(row(&in_memory, "total")[0], files);
    let mut indexed = 0;
    for _ in 0..2 {
        let run = start(tree, store);
        wait_for_files(&run, store, indexed + 100);
        run.signal("-KILL");
        assert!(!run.end().0.status.success());
        let before = indexed;
        indexed = store.indexed();
        assert_eq!(store.torn(), 0);
        assert!((before + 100..files).contains(&indexed), "{indexed}");
    }
    let run = start(tree, store);
    let (before, waiting) = goes_on(&run);
    assert_eq!(before, indexed);
    assert!(waiting >= files - indexed, "{waiting}");
    ends_well(run, files, &in_memory, store);

    // Once more, with nothing to do.
    let run = start(tree, store);
    assert_eq!(goes_on(&run), (files, 0));
    ends_well(run, files, &in_memory, store);
}

#[test]
fn killed_and_started_again_it_goes_on_in_a_file() {
    let tree = tree_of(1_500);
    is_killed_and_goes_on(1_500, &tree, &Store::file(&tree));
}

#[test]
fn killed_and_started_again_it_goes_on_on_a_server() {
    let tree = tree_of(1_500);
    let server = Postgres::start(Options::new()).unwrap();
    is_killed_and_goes_on(1_500, &tree, &Store::Server(server));
}

#[test]
fn interrupted_and_started_again_it_goes_on() {
    let tree = tree_of(400);
    let store = Store::file(&tree);
    let (_, in_memory) = Run::of(&tree, &[]).end();
    let run = start(&tree, &store);
    wait_for_files(&run, &store, 50);
    run.signal("-INT");
    let (output, said) = run.end();
    assert!(output.status.success() && said.starts_with("interrupted"));
    let indexed = store.indexed();
    assert!(
        said.contains(&format!("= indexed {indexed} + unreadable 0 + to do {}\n", 400 - indexed))
    );
    let run = start(&tree, &store);
    let (before, waiting) = goes_on(&run);
    assert_eq!(before, indexed);
    assert!(waiting >= 400 - indexed, "{waiting}");
    ends_well(run, 400, &in_memory, &store);
}

#[test]
fn what_changed_between_two_runs_is_read_again_and_what_went_is_forgotten() {
    let tree = tree_of(20);
    let store = Store::file(&tree);
    assert!(start(&tree, &store).end().0.status.success());
    fs::remove_file(tree.0.join("00/0.rs")).unwrap();
    tree.write("01/1.c", "changed\n");
    tree.write("new.c", "new\n");
    for _ in 0..2 {
        let run = start(&tree, &store);
        run.wait_for("going on: ");
        let (output, said) = run.end();
        assert!(output.status.success());
        assert!(said.contains("files on disk 20 = indexed 20 + unreadable 0\n"));
        assert!(said.contains("tasks 22 = succeeded 22 + failed 0 + cancelled 0"));
        assert!(said.contains("entries that later ones replaced, or whose files went: 2\n"));
        assert_eq!(row(&said, "C ")[0], 6);
        assert_eq!(store.indexed(), 20);
    }
}

#[test]
fn a_store_has_the_index_of_one_directory() {
    let (one, other) = (tree_of(1), tree_of(1));
    let store = Store::file(&one);
    assert!(start(&one, &store).end().0.status.success());
    let run = start(&other, &store);
    run.wait_for(&format!("indexer: that store has the index of {:?}", one.0));
    assert!(!run.end().0.status.success());
    assert_eq!(store.indexed(), 1);
}

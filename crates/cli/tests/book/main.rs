//! The commands of the book are run: every block that a page marks `sh test`, page by page, in a fresh home with a
//! real PostgreSQL. A command that fails, or that the page does not say, fails the test with page and line.

#![expect(clippy::unwrap_used, reason = "a test may end there")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::postgres::Postgres;

const OPENING: &str = "```sh test";
/// Public, for tests alone; as long as a generated one, so that the key derivation stays cheap.
const PASSWORD: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01";

fn book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        match path.extension() {
            None if path.is_dir() => pages(&path, found),
            Some(extension) if extension == "md" => found.push(path),
            _ => {}
        }
    }
}

/// One script for a page: its blocks in order, each behind a line that says where it stands.
fn script(page: &Path, text: &str) -> Option<String> {
    let mut script = String::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        match line.trim() {
            OPENING => {
                inside = true;
                script += &format!("echo '--- {}:{}' >&2\n", page.display(), number + 1);
            }
            "```" => inside = false,
            _ if inside => script += &format!("{line}\n"),
            _ => {}
        }
    }
    (!script.is_empty()).then_some(script)
}

fn run(page: &Path, script: &str, server: &Postgres) {
    let home = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_mainstay"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(home.path())
        .env_clear()
        .env("PATH", path)
        .env("HOME", home.path())
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", server.port().to_string())
        .env("PGUSER", "postgres")
        .env("PGPASSWORD", server.password())
        .env("MAINSTAY_PASSWORD", PASSWORD)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} is not true: {}\n{out}\n{err}", page.display(), output.status);
}

#[test]
fn the_commands_of_the_book_work() {
    let mut found = vec![];
    pages(&book(), &mut found);
    found.push(book().join("../README.md"));
    let scripts: Vec<_> = found
        .into_iter()
        .filter_map(|page| script(&page, &fs::read_to_string(&page).unwrap()).map(|script| (page, script)))
        .collect();
    assert!(scripts.len() >= 5, "the book has lost its tested pages");
    let server = Postgres::start();
    for (page, script) in &scripts {
        server.psql("DROP DATABASE IF EXISTS app");
        server.psql("CREATE DATABASE app");
        server.psql_in("app", "CREATE TABLE users (id bigint PRIMARY KEY, name text); INSERT INTO users SELECT i, 'user ' || i FROM generate_series(1, 100) i");
        run(page, script, &server);
    }
}

//! Each rule finds a planted violation, says where, and is silent about the neighbour that keeps it.

use tidy::{Finding, Tree};

/// The findings of one rule in a tree of these files.
fn findings(rule: &str, files: &[(&str, &str)]) -> Vec<Finding> {
    tidy::check(&Tree::planted(files)).into_iter().filter(|finding| finding.rule == rule).collect()
}

/// Places of the findings of one rule.
fn places(rule: &str, files: &[(&str, &str)]) -> Vec<(String, usize)> {
    findings(rule, files).into_iter().map(|finding| (finding.file, finding.line)).collect()
}

fn at(file: &str, line: usize) -> Vec<(String, usize)> {
    vec![(file.to_owned(), line)]
}

const MODEL: (&str, &str) = ("crates/model/Cargo.toml", "[dependencies]\n");
const STORE: (&str, &str) = ("crates/store/Cargo.toml", "[dependencies]\nmodel.workspace = true\n");

#[test]
fn floors_let_a_crate_use_what_is_below() {
    assert_eq!(places("floors", &[MODEL, STORE]), []);
}

#[test]
fn floors_refuse_an_import_upward() {
    let up = ("crates/model/Cargo.toml", "[dependencies]\nhex = \"1\"\nstore = { path = \"../store\" }\n");
    assert_eq!(places("floors", &[up, STORE]), at("crates/model/Cargo.toml", 3));
    let table = ("crates/model/Cargo.toml", "[dependencies.store]\nworkspace = true\n");
    assert_eq!(places("floors", &[table, STORE]), at("crates/model/Cargo.toml", 1));
    let renamed = (
        "crates/model/Cargo.toml",
        "[build-dependencies]\ns = { package = \"store\", path = \"../store\" }\n",
    );
    assert_eq!(places("floors", &[renamed, STORE]), at("crates/model/Cargo.toml", 2));
}

#[test]
fn floors_refuse_a_neighbour() {
    let sideways = ("crates/pg/Cargo.toml", "[dependencies]\nstore.workspace = true\n");
    let found = findings("floors", &[MODEL, STORE, sideways]);
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("neighbour"), "{}", found[0]);
}

#[test]
fn floors_let_tests_use_testkit_and_nobody_ship_it() {
    let kit = ("crates/testkit/Cargo.toml", "[dependencies]\nmodel.workspace = true\n");
    let tests = ("crates/pg/Cargo.toml", "[dev-dependencies]\ntestkit.workspace = true\n");
    assert_eq!(places("floors", &[MODEL, kit, tests]), []);
    let ships = ("crates/pg/Cargo.toml", "[dependencies]\ntestkit.workspace = true\n");
    assert_eq!(places("floors", &[MODEL, kit, ships]), at("crates/pg/Cargo.toml", 2));
}

#[test]
fn floors_refuse_a_crate_without_a_floor() {
    assert_eq!(places("floors", &[("crates/attic/Cargo.toml", "")]), at("crates/attic/Cargo.toml", 1));
}

const LIB: &str = "crates/pg/src/lib.rs";
const A: &str = "crates/pg/src/a.rs";
const B: &str = "crates/pg/src/b.rs";

#[test]
fn circles_let_a_module_use_what_is_listed_above() {
    let files = [
        (LIB, "//! x\nmod a;\nmod b;\n"),
        (A, "//! x\nfn f() {}"),
        (B, "//! x\nuse crate::a::f;\nuse super::a;\n"),
    ];
    assert_eq!(places("circles", &files), []);
}

#[test]
fn circles_refuse_a_use_of_what_is_listed_below() {
    for line in [
        "use crate::b::f;",
        "use super::b;",
        "use crate::{b::f, c};",
        "fn g() { crate::b::f() }",
        "fn g(x: super::b::T) {}",
        "fn g() { println!(\"{}\", crate::b::f()) }",
    ] {
        let a = format!("//! x\n\n{line}\n");
        let files = [(LIB, "//! x\nmod a;\nmod b;\n"), (A, a.as_str()), (B, "//! x\n")];
        assert_eq!(places("circles", &files), at(A, 3), "{line}");
    }
}

#[test]
fn circles_follow_a_name_to_its_origin() {
    let root = "//! x\nmod a;\nmod b;\npub use b::Thing;\npub use a::Other;\n";
    let uses_below = [(LIB, root), (A, "//! x\nuse crate::Thing;\n"), (B, "//! x\nuse crate::Other;\n")];
    assert_eq!(places("circles", &uses_below), at(A, 2));
}

#[test]
fn circles_refuse_a_child_that_uses_its_parent() {
    let below = [(LIB, "//! x\nmod a;\npub struct T;\n"), (A, "//! x\nuse super::T;\n")];
    assert_eq!(places("circles", &below), at(A, 2));
    let above = [(LIB, "//! x\npub struct T;\nmod a;\n"), (A, "//! x\nuse super::T;\n")];
    assert_eq!(places("circles", &above), []);
    let turned = [(LIB, "//! x\nfn f() { a::g() }\nmod a;\n"), (A, "//! x\n")];
    assert_eq!(places("circles", &turned), at(LIB, 2));
}

#[test]
fn circles_look_into_nested_directories() {
    let parent = ("crates/pg/src/dump/mod.rs", "//! x\nmod a;\nmod b;\n");
    let a = ("crates/pg/src/dump/a.rs", "//! x\nuse super::b;\n");
    let b = ("crates/pg/src/dump/b.rs", "//! x\n");
    assert_eq!(places("circles", &[(LIB, "//! x\nmod dump;\n"), parent, a, b]), at(a.0, 2));
    let flat = ("crates/pg/src/dump.rs", parent.1);
    assert_eq!(places("circles", &[(LIB, "//! x\nmod dump;\n"), flat, a, b]), at(a.0, 2));
}

#[test]
fn circles_let_tests_use_everything_and_visibility_use_nothing() {
    let a = "//! x\npub(crate) fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::b;\n}\n";
    assert_eq!(places("circles", &[(LIB, "//! x\nmod a;\nmod b;\n"), (A, a), (B, "//! x\n")]), []);
}

#[test]
fn circles_find_a_file_that_nobody_compiles() {
    assert_eq!(places("circles", &[(LIB, "//! x\nmod a;\n"), (A, "//! x\n"), (B, "//! x\n")]), at(B, 1));
    let tests = "//! x\nmod a;\n#[cfg(test)]\nmod b;\n";
    assert_eq!(places("circles", &[(LIB, tests), (A, "//! x\n"), (B, "//! x\n")]), []);
}

const LIST: &str = "crates/tidy/exceptions.txt";

fn long_file() -> String {
    format!("//! x\n{}", "const _: u8 = 0;\n".repeat(400))
}

fn long_function() -> String {
    format!("//! x\nfn f() {{\n{}}}\n", "    g();\n".repeat(69))
}

#[test]
fn size_limits_files_and_functions() {
    assert_eq!(places("size", &[(LIB, &long_file())]), at(LIB, 1));
    assert_eq!(places("size", &[(LIB, &long_function())]), at(LIB, 2));
    assert_eq!(places("size", &[(LIB, &long_function().replacen("    g();\n", "", 1))]), []);
}

#[test]
fn size_does_not_count_tests() {
    let with_tests = format!("//! x\n#[cfg(test)]\nmod tests {{\n{}}}\n", "const _: u8 = 0;\n".repeat(600));
    assert_eq!(places("size", &[(LIB, &with_tests)]), []);
    assert_eq!(places("size", &[("crates/pg/tests/long.rs", &long_file())]), []);
}

#[test]
fn size_exceptions_may_only_shrink() {
    let list = |size: usize| format!("# head\n{LIB} | {size} | a table that is read as one\n");
    assert_eq!(places("size", &[(LIB, &long_file()), (LIST, &list(401))]), []);
    assert_eq!(places("size", &[(LIB, &long_file()), (LIST, &list(400))]), at(LIB, 1), "it grew");
    assert_eq!(
        places("size", &[(LIB, &long_file()), (LIST, &list(402))]),
        at(LIST, 2),
        "the number is stale"
    );
    assert_eq!(
        places("size", &[(LIB, "//! x\n"), (LIST, &list(401))]),
        at(LIST, 2),
        "it is no longer needed"
    );
    assert_eq!(places("size", &[(LIST, &list(401))]), at(LIST, 2), "the file is gone");
    assert_eq!(places("size", &[(LIST, "x | 401 |\n")]), at(LIST, 1), "no reason");
}

#[test]
fn names_that_say_nothing_are_refused() {
    assert_eq!(places("names", &[("crates/pg/src/util.rs", "//! x\n")]), at("crates/pg/src/util.rs", 1));
    assert_eq!(
        places("names", &[("crates/pg/src/dump_helpers.rs", "//! x\n")]),
        at("crates/pg/src/dump_helpers.rs", 1)
    );
    for item in [
        "struct Info;",
        "struct PackManager;",
        "enum Data {}",
        "trait Base {}",
        "type DumpImpl = u8;",
        "mod misc {}",
    ] {
        assert_eq!(places("names", &[(LIB, &format!("//! x\n{item}\n"))]), at(LIB, 2), "{item}");
    }
}

#[test]
fn names_that_only_contain_such_a_word_are_kept() {
    let kept =
        "//! x\nstruct BaseBackup;\nstruct Metadata;\nstruct Database;\nmod base_backup {}\nfn info() {}\n";
    assert_eq!(places("names", &[("crates/pg/src/database.rs", "//! x\n"), (LIB, kept)]), []);
}

#[test]
fn words_finds_what_is_unfinished() {
    for line in [
        "fn f() { todo!() }",
        "fn f() { dbg!(1); }",
        "fn f() { unimplemented!(); }",
        "#[ignore]\nfn f() {}",
        "#[ignore = \"slow\"]\nfn f() {}",
        "#[cfg_attr(unix, ignore)]\nfn f() {}",
    ] {
        assert_eq!(places("words", &[(LIB, &format!("//! x\n{line}\n"))]), at(LIB, 2), "{line}");
    }
    assert_eq!(
        places("words", &[(LIB, "//! todo!() is only named here\nconst A: &str = \"dbg!()\";\n")]),
        []
    );
}

#[test]
fn words_lets_only_the_face_print() {
    let print = "//! x\nfn f() { println!(); }\n";
    assert_eq!(places("words", &[(LIB, print)]), at(LIB, 2));
    assert_eq!(places("words", &[("crates/cli/src/main.rs", print), ("crates/pg/tests/t.rs", print)]), []);
    assert_eq!(places("words", &[(LIB, "//! x\n#[cfg(test)]\nmod tests { fn f() { eprintln!(); } }\n")]), []);
}

#[test]
fn words_asks_for_a_head() {
    assert_eq!(places("words", &[(LIB, "// x\n")]), at(LIB, 1));
}

#[test]
fn a_file_that_is_not_rust_is_found() {
    assert_eq!(places("parses", &[(LIB, "//! x\nfn f( {}\n")]), at(LIB, 2));
}

const PROOF: &str = "docs/reference/requirements.md";
const TESTS: (&str, &str) = (
    "crates/pg/src/dump/toc.rs",
    "//! x\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn reads_rows() {}\n    fn no_test() {}\n    proptest! {\n        #[test]\n        fn any_rows(x in 0..1) {}\n    }\n}\n",
);

/// A page in which every id says `not yet`, with one row changed.
fn page(id: &str, proof: &str) -> String {
    let lists = [("C", 28), ("N", 15), ("H", 10), ("T", 19), ("U", 18), ("threat-", 16), ("pitfall-", 30)];
    let ids =
        lists.iter().flat_map(|(prefix, count)| (1..=*count).map(move |number| format!("{prefix}{number}")));
    let rows =
        ids.map(|other| format!("| {other} | what | {} |", if other == id { proof } else { "not yet" }));
    rows.collect::<Vec<_>>().join("\n")
}

#[test]
fn proof_names_tests_that_exist() {
    let kept = [
        "not yet",
        "`reads_rows`",
        "`pg::dump::toc::tests::reads_rows`",
        "`any_rows`, `tests::reads_rows`",
        "`any_rows` · not yet: the second half",
    ];
    for proof in kept {
        assert_eq!(places("proof", &[(PROOF, &page("C1", proof)), TESTS]), [], "{proof}");
    }
    for proof in [
        "`gone`",
        "`no_test`",
        "`rows`",
        "`store::reads_rows`",
        "`any_rows`, `gone`",
        "done",
        "",
        "see `any_rows`",
    ] {
        assert_eq!(places("proof", &[(PROOF, &page("C1", proof)), TESTS]), at(PROOF, 1), "{proof}");
    }
}

#[test]
fn proof_knows_every_id_once() {
    let page = page("", "");
    let without = page.replacen("| H3 | what | not yet |\n", "", 1);
    let found = findings("proof", &[(PROOF, &without)]);
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("`H3` has no row"), "{}", found[0]);
    let twice = format!("{page}\n| C1 | what | not yet |");
    assert_eq!(places("proof", &[(PROOF, &twice)]), at(PROOF, 137));
    assert_eq!(places("proof", &[]), at(PROOF, 1), "no page at all");
}

#[test]
fn proof_of_a_pitfall_carries_its_number() {
    let test = (
        "crates/pg/tests/t.rs",
        "//! x\n#[test]\nfn pitfall_07_half_downloaded() {}\n#[test]\nfn other() {}\n",
    );
    assert_eq!(
        places("proof", &[(PROOF, &page("pitfall-7", "`pitfall_07_half_downloaded`, `other`")), test]),
        []
    );
    assert_eq!(findings("proof", &[(PROOF, &page("pitfall-7", "`other`")), test]).len(), 1);
}

const ERROR: &str = "crates/cli/src/error.rs";
const CODES: (&str, &str) =
    ("docs/reference/exit-codes.md", "| 0 | done |\n| 1 | failed |\n| 5 | no such thing |\n");

#[test]
fn exit_codes_are_documented_both_ways() {
    let good = "//! x\nfn exit_code(k: Kind) -> u8 { match k { Kind::Failed => 1, Kind::Missing => 5 } }\n";
    assert_eq!(places("exit-codes", &[(ERROR, good), CODES]), []);
    let secret = "//! x\nfn exit_code(k: Kind) -> u8 {\n    match k { Kind::Failed => 1, Kind::Missing => 5, Kind::Odd => 9 }\n}\n";
    assert_eq!(places("exit-codes", &[(ERROR, secret), CODES]), at(ERROR, 3));
    let as_enum = "//! x\nenum Kind {\n    Failed = 1,\n    Missing = 5,\n    Odd = 9,\n}\n";
    assert_eq!(places("exit-codes", &[(ERROR, as_enum), CODES]), at(ERROR, 5));
    let fewer = "//! x\nconst EXIT_FAILED: u8 = 1;\n";
    assert_eq!(places("exit-codes", &[(ERROR, fewer), CODES]), at(CODES.0, 3));
    assert_eq!(places("exit-codes", &[(ERROR, "//! x\n"), CODES]), at(ERROR, 1));
}

#[test]
fn exit_codes_are_chosen_in_one_file() {
    let stray = "//! x\nfn main() -> ExitCode {\n    ExitCode::from(3)\n}\n";
    assert_eq!(places("exit-codes", &[("crates/cli/src/main.rs", stray)]), at("crates/cli/src/main.rs", 3));
}

#[test]
fn links_lead_somewhere() {
    let files = [
        ("docs/a.md", "[b](b.md#part) [out](https://example.org)\n```\n[x](gone.md)\n```\n"),
        ("docs/b.md", "\n[up](../README.md)\n"),
    ];
    assert_eq!(places("links", &files), at("docs/b.md", 2));
}

#[test]
fn links_of_the_book_name_every_page() {
    let files = [("docs/SUMMARY.md", "- [A](a.md)\n"), ("docs/a.md", "a\n"), ("docs/b.md", "b\n")];
    assert_eq!(places("links", &files), at("docs/b.md", 1));
}

#[test]
fn a_finding_says_where_what_and_the_way_out() {
    let found = findings("words", &[(LIB, "//! x\nfn f() { todo!() }\n")]);
    let text = found[0].to_string();
    assert!(
        text.starts_with("crates/pg/src/lib.rs:2: [words] `todo!` is not committed; finish it"),
        "{text}"
    );
}

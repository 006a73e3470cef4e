//! On a terminal, what would overwrite something asks for the name; nothing else is an answer.

use testkit::postgres::Postgres;
use testkit::rich;
use testkit::terminal::Typed;

use crate::site;

#[test]
fn overwriting_asks_for_the_name_on_a_terminal() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = site().with_server(&server);
    let id = site.back_up("app");
    server.psql_in("app", "UPDATE account SET balance = 0 WHERE id = 7");
    let balance = || server.psql_in("app", "SELECT balance FROM account WHERE id = 7");
    let restore = ["backup", "restore", &id, "--clean"];
    let behind = "database \"app\" will be overwritten; type its name to go on: ";
    let answer = |keys| site.program().run_on_terminal(&restore, &Typed { behind, keys });
    for keys in ["y\n", "\n", "ap\n", "app2\n", " app\n", "\u{4}"] {
        let ran = answer(keys).exits(6).says("was not confirmed").says("--yes=app");
        assert!(!ran.stderr.contains("restore ok"), "{keys:?}: {}", ran.stderr);
        assert_eq!(balance(), "0", "{keys:?}");
    }
    // Ctrl-C at the question.
    let ran = answer("\u{3}");
    assert_ne!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(balance(), "0");
    // Nobody there to ask, or another name on the command line.
    site.run(&restore).exits(6).says("would be overwritten");
    site.run(&["backup", "restore", &id, "--clean", "--yes=other"]).exits(6).says("other");
    assert_eq!(balance(), "0");
    answer("app\n").ok().says("restore ok");
    assert_eq!(balance(), "1000");
}

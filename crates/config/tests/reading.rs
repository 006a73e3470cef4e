//! Configurations as people write them: what holds, where it was said, and what is wrong with them.

use std::path::Path;

use config::configuration::{Configuration, What};
use config::error::ConfigError;
use config::file::{File, schema};
use config::load::load;
use config::resolve::resolve;
use config::show::lines;
use serde_json::Value;

/// The example of the interface, with what is not built left in: it is read, and warned about.
const EXAMPLE: &str = r#"
[repository]
url      = "s3://acme-backups/pg"
password = "${MAINSTAY_PASSWORD}"

[defaults]
schedule  = "@daily"
max_age   = "26h"
retention = { keep_daily = 30, keep_monthly = 12 }
copies    = ["s3://other-account/pg"]
per_host  = 1
notify    = ["oncall"]

[notify.oncall]
webhook = { url = "https://alarms.example/" }

[tenants.acme]
repository = { url = "s3://acme/", password = "file:/run/secrets/acme-repo" }

[tenants.acme.sources.app]
database  = "postgresql://app@db.internal/app"
password  = "file:/run/secrets/acme-db"
schedule  = "0 */2 * * *"
retention = [{ younger_than = "12h", keep = 6 }, { younger_than = "48h", every = "12h", keep = 4 }, { every = "1d", keep = 5 }]
max_age   = "5h"
drill     = { schedule = "0 4 * * 0", checks = ["SELECT count(*) > 0 FROM users"] }

[tenants.acme.sources.main]
cluster = "postgresql://backup@db1"
wal     = { max_lag = "5m" }
rpo     = "5m"
rto     = "1h"

[tenants.acme.sources.all]
databases = "postgresql://backup@db2"
exclude   = ["scratch_*"]

[tenants.acme.sources.keys]
directory = "/etc/acme/ca"
schedule  = "on-change"

[tenants.beta.sources.etc]
directory = "ftps://backup@files.acme.example/srv"
time_zone = "Europe/Berlin"
"#;

fn read(text: &str) -> Result<Configuration, Vec<ConfigError>> {
    let file = File::parse(Path::new("mainstay.toml"), text.to_owned()).map_err(|error| vec![error])?;
    resolve(&[file])
}

fn holds(configuration: &Configuration, key: &str) -> (String, String) {
    let line = lines(configuration).into_iter().find(|line| line.key == key);
    let line = line.unwrap_or_else(|| panic!("nothing said of {key}"));
    (line.value, line.origin)
}

#[test]
fn the_interfaces_example_is_read_and_every_value_has_its_place() {
    let configuration = read(EXAMPLE).unwrap();
    let [acme, beta] = &configuration.tenants[..] else { panic!("two tenants") };
    assert_eq!(acme.sources.len(), 4);
    assert!(matches!(&acme.sources[0].what.value, What::Databases(url) if url == "postgresql://backup@db2"));
    // Its own repository, and a prefix below the common one.
    assert_eq!(acme.repository.url.value, "s3://acme/");
    assert_eq!(beta.repository.url.value, "s3://acme-backups/pg/beta");
    let of = |key: &str| holds(&configuration, key);
    let said = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(of("tenants.acme.sources.app.schedule"), said("\"0 */2 * * *\"", "mainstay.toml:23"));
    assert_eq!(of("tenants.acme.sources.all.schedule"), said("\"@daily\"", "mainstay.toml:7"));
    assert_eq!(of("tenants.beta.sources.etc.time_zone"), said("\"Europe/Berlin\"", "mainstay.toml:44"));
    assert_eq!(of("tenants.beta.sources.etc.jitter"), said("\"0s\"", "built in"));
    assert_eq!(
        of("tenants.acme.repository.password"),
        said("\"file:/run/secrets/acme-repo\"", "mainstay.toml:18")
    );
    assert_eq!(of("tenants.beta.sources.etc.retention").0, "{ keep_daily = 30, keep_monthly = 12 }");
    let tiers = of("tenants.acme.sources.app.retention").0;
    assert!(
        tiers.starts_with(
            "[{ younger_than = \"12h\", keep = 6 }, { younger_than = \"2d\", every = \"12h\", keep = 4 }"
        ),
        "{tiers}"
    );
    assert_eq!(of("tenants.acme.sources.app.copies.0.url").0, "\"s3://other-account/pg\"");
    let warned: Vec<_> = configuration.warnings.iter().map(ToString::to_string).collect();
    for waiting in ["main: rto is not", "app: drill is not"] {
        assert!(warned.iter().any(|words| words.contains(waiting)), "{waiting}: {warned:?}");
    }
    assert_eq!(warned.len(), 2, "{warned:?}");
    assert_eq!(of("tenants.acme.sources.main.wal.max_lag"), said("\"5m\"", "mainstay.toml:30"));
    assert_eq!(of("tenants.acme.sources.main.rpo"), said("\"5m\"", "mainstay.toml:31"));
}

#[test]
fn what_is_promised_of_a_cluster_is_read_and_what_cannot_be_kept_is_said() {
    let tenant = "[tenants.a]\nrepository = { url = \"/r\" }\n";
    let cluster =
        |keys: &str| read(&format!("{tenant}[tenants.a.sources.s]\ncluster = \"postgresql://h\"\n{keys}\n"));
    let promised = |configuration: &Configuration| {
        let source = &configuration.tenants[0].sources[0];
        let max_lag = source.wal.as_ref().map(|wal| wal.value.max_lag.map(|span| span.as_secs()));
        (max_lag, source.rpo.as_ref().map(|rpo| rpo.value.as_secs()), configuration.warnings.len())
    };
    let cases = [
        ("", (None, None, 0)),
        ("wal = {}", (Some(None), None, 0)),
        ("wal = { max_lag = \"5m\" }\nrpo = \"1h\"", (Some(Some(300)), Some(3600), 0)),
        // It contradicts itself, and the stricter one alarms.
        ("wal = { max_lag = \"2h\" }\nrpo = \"1h\"", (Some(Some(7200)), Some(3600), 1)),
    ];
    for (keys, wanted) in cases {
        assert_eq!(promised(&cluster(keys).unwrap()), wanted, "{keys}");
    }
    let wrong = [
        ("wal = { max_lag = \"0s\" }", "never kept", "archive_timeout"),
        ("wal = { max_lag = \"soon\" }", "no span of time", ""),
        ("wal = { max_lga = \"5m\" }", "unknown key `max_lga`", "max_lag"),
        ("wal = \"5m\"", "invalid type", ""),
        ("rpo = \"0m\"", "cannot be seen", "wal receive"),
    ];
    for (keys, words, hint) in wrong {
        let mistakes = cluster(keys).unwrap_err();
        assert!(mistakes[0].message.contains(words) && mistakes[0].line == Some(5), "{keys}: {mistakes:?}");
        assert!(mistakes[0].hint.as_deref().unwrap_or_default().contains(hint), "{keys}: {mistakes:?}");
    }
    // As a default it holds for the clusters; said of something else it is a mistake of somebody.
    let defaults = "[defaults]\nrpo = \"5m\"\nwal = { max_lag = \"5m\" }\n";
    let both = read(&format!(
        "{defaults}{tenant}[tenants.a.sources.c]\ncluster = \"postgresql://h\"\n[tenants.a.sources.d]\ndatabase = \"x\"\n"
    ));
    let both = both.unwrap();
    assert_eq!(promised(&both), (Some(Some(300)), Some(300), 0));
    assert!(both.tenants[0].sources[1].wal.is_none() && both.tenants[0].sources[1].rpo.is_none());
    let other = read(&format!("{tenant}[tenants.a.sources.d]\ndatabase = \"x\"\nrpo = \"5m\"\nwal = {{}}\n"));
    let words: String = other.unwrap().warnings.iter().map(ToString::to_string).collect();
    assert!(words.contains("wal is for clusters") && words.contains("rpo is for clusters"), "{words}");
}

/// Each mistake with its line, its key, and what to write instead.
#[test]
fn mistakes_are_named_with_line_key_and_the_nearest_known_key() {
    let source = "[tenants.a]\nrepository = { url = \"/r\" }\n[tenants.a.sources.s]\ndirectory = \"/d\"\n";
    let cases = [
        ("[defaults]\nshedule = \"@daily\"\n", 2, "unknown key `shedule`", "perhaps schedule was meant"),
        (
            "[tenants.a.sources.x]\ndatabase = \"x\"\nretention = { keep_dayly = 3 }\n",
            3,
            "`keep_dayly`",
            "keep_daily",
        ),
        ("frobnicate = 1\n", 1, "`frobnicate`", "known are repository, include"),
        (&format!("{source}schedule = \"@dayly\"\n"), 5, "@dayly", ""),
        (&format!("{source}schedule = \"0 0 31 2 *\"\n"), 5, "never comes", ""),
        (&format!("{source}max_age = \"5 parsecs\"\n"), 5, "no span of time", ""),
        (&format!("{source}time_zone = \"Europe/Berlim\"\n"), 5, "Berlim", "Europe/Berlin"),
        (&format!("{source}database = \"x\"\n"), 0, "two are said", "exactly one of"),
        (&format!("{source}retention = {{ keep_daily = 0 }}\n"), 5, "keeps nothing", ""),
        (
            &format!(
                "{source}retention = [{{ younger_than = \"2d\", keep = 1 }}, {{ younger_than = \"1d\", keep = 1 }}]\n"
            ),
            5,
            "youngest to the oldest",
            "",
        ),
        (&format!("{source}retention = [{{ every = \"5h\", keep = 1 }}]\n"), 5, "known are 1h", ""),
        (&format!("{source}drill = {{ schedule = \"never\" }}\n"), 5, "five fields", ""),
        ("[tenants.a.sources.x]\nexclude = []\n", 0, "nothing says what", "exactly one of"),
        ("[tenants.a.sources.x]\ndatabase = \"x\"\n", 0, "no repository", "[repository]"),
        ("[tenants.\"a/b\".sources.x]\ndatabase = \"x\"\n", 0, "slash", ""),
        ("[tenants.\"..\".sources.x]\ndatabase = \"x\"\n", 0, "'..'", ""),
        ("include = [\"not-there.toml\"]\nx = [\n", 2, "", ""),
    ];
    for (text, line, message, hint) in cases {
        let mistakes = read(text).unwrap_err();
        let fits = |mistake: &&ConfigError| {
            mistake.message.contains(message)
                && (line == 0 || mistake.line == Some(line))
                && mistake.line.is_some()
        };
        let found = mistakes.iter().find(fits).unwrap_or_else(|| panic!("{text}: {mistakes:?}"));
        assert!(found.hint.as_deref().unwrap_or_default().contains(hint), "{text}: {found:?}");
    }
}

/// A password belongs into no configuration, and one that stands there is not repeated to anybody.
#[test]
fn a_secret_in_the_file_is_refused_and_not_shown() {
    for text in [
        "[repository]\nurl = \"/r\"\npassword = \"hunter2\"\n",
        "[repository]\nurl = \"/r\"\ncredentials = { AWS_SECRET_ACCESS_KEY = \"hunter2\" }\n",
        "[tenants.a]\nrepository = { url = \"/r\", password = \"hunter2\" }\n",
        "[tenants.a]\nrepository = { url = \"/r\" }\n[tenants.a.sources.s]\ndatabase = \"x\"\npassword = \"hunter2\"\n",
    ] {
        let mistakes = read(text).unwrap_err();
        let words: String = mistakes.iter().map(ToString::to_string).collect();
        assert!(words.contains("no reference to a secret") && !words.contains("hunter2"), "{words}");
    }
}

/// Whatever form the address has that somebody wrote a password into, and wherever it stands.
#[test]
fn a_password_in_an_address_is_refused_with_its_line_and_never_repeated() {
    let tenant = "[tenants.a]\nrepository = { url = \"/r\" }\n[tenants.a.sources.s]\n";
    let sources = [
        "database = \"postgresql://u:hunter2@h/d\"",
        "database = \"postgresql://u@h/d?password=hunter2\"",
        "database = \"host=h password=hunter2 dbname=d\"",
        "databases = \"postgres://u:hunter2/x@h\"",
        "cluster = \"postgresql://h?user=u&password=hunter2\"",
        "directory = \"ftps://u:hunter2@h/srv\"",
        "database = \"x\"\ncopies = [\"sftp://u:hunter2@h//srv\"]",
        "database = \"x\"\ncopies = [{ url = \"/r\", hot = \"s3://key:hunter2@b\" }]",
        "database = \"x\"\nexport = { to = \"sftp://u:hunter2@h//srv\" }",
    ];
    let sources = sources.map(|source| format!("{tenant}{source}\n"));
    let others = [
        "[repository]\nurl = \"s3://key:hunter2@bucket\"\n".to_owned(),
        "[tenants.a]\nrepository = { url = \"/r\", hot = \"s3:https://key:hunter2@h/b\" }\n".to_owned(),
        "[notify.ops]\nemail = { to = [\"a@b\"], from = \"a@b\", server = \"smtps://u:hunter2@h\" }\n"
            .to_owned(),
    ];
    for text in sources.iter().chain(&others) {
        let mistakes = read(text).unwrap_err();
        let words: String = mistakes.iter().map(|one| format!("{one} {:?}", one.hint)).collect();
        assert!(words.contains("holds no password") && !words.contains("hunter2"), "{text}: {words}");
        assert!(mistakes.iter().all(|one| one.line.is_some()), "{text}: {mistakes:?}");
    }
}

/// Also what is no tenant's: every value with its line, and no address with what opens something.
#[test]
fn what_the_observer_does_and_whom_it_tells_is_shown_without_what_opens_it() {
    let configuration = read(
        "[repository]\nurl = \"/common\"\npassword = \"command:echo hunter2\"\n\
         [minimum]\nevery = \"1w\"\nretention = \"2d\"\n\
         [watch]\nevery = \"5min\"\nheartbeat = \"https://beats.example/hunter2\"\nnotify = [\"ops\"]\n\
         [watch.dumps.old]\npath = \"/old/*.dump\"\nmax_age = \"2d\"\n\
         [watch.pgbackrest.main]\nstanza = \"main\"\nmax_age = \"1d\"\n\
         [notify.ops]\nwebhook = { url = \"https://hooks.example/hunter2\" }\n\
         email = { to = [\"a@b\"], from = \"c@d\", server = \"smtps://u@h:465\", password = \"${P}\" }\n\
         [tenants.a.sources.s]\ndatabase = \"x\"\nbelow_minimum = \"a trial\"\nrto = \"1h\"\n\
         drill = { schedule = \"@weekly\" }\nhooks = { before = [\"PGPASSWORD=hunter2 psql\", \"curl -u bob:hunter2 https://h\", \"/usr/bin/thaw\"] }\n\
         [tenants.a.sources.t]\ndatabase = \"y\"\nbelow_minimum = \"a trial\"\n\
         [tenants.a.sets.both]\nmembers = [\"s\", \"t\"]\n",
    )
    .unwrap();
    for (key, value, line) in [
        ("repository.url", "\"/common\"", 2),
        ("repository.password", "\"command:…\"", 3),
        ("minimum.every", "\"1w\"", 5),
        ("minimum.retention", "\"2d\"", 6),
        ("watch.every", "\"5m\"", 8),
        ("watch.heartbeat", "\"https://beats.example/…\"", 9),
        ("watch.notify", "[\"ops\"]", 10),
        ("watch.dumps.old.path", "\"/old/*.dump\"", 11),
        ("watch.dumps.old.max_age", "\"2d\"", 11),
        ("watch.pgbackrest.main.stanza", "\"main\"", 14),
        ("notify.ops.webhook.url", "\"https://hooks.example/…\"", 17),
        ("notify.ops.email.server", "\"smtps://u@h:465\"", 17),
        ("notify.ops.email.password", "\"${P}\"", 17),
        ("tenants.a.sources.s.below_minimum", "\"a trial\"", 22),
        ("tenants.a.sources.s.rto", "\"1h\"", 23),
        ("tenants.a.sources.s.drill.schedule", "\"@weekly\"", 24),
        ("tenants.a.sources.s.hooks.before", "[\"…\", \"curl …\", \"/usr/bin/thaw\"]", 25),
        ("tenants.a.sets.both.members", "[\"s\", \"t\"]", 30),
    ] {
        assert_eq!(holds(&configuration, key), (value.to_owned(), format!("mainstay.toml:{line}")), "{key}");
    }
    assert_eq!(holds(&configuration, "watch.remind").1, "built in");
    assert_eq!(holds(&configuration, "watch.notify").0, "[\"ops\"]");
    assert!(!lines(&configuration).iter().any(|line| line.value.contains("hunter2")));
}

/// Of several files that say a minimum the strictest holds.
#[test]
fn of_two_minimums_the_stricter_one_holds() {
    let file = |name: &str, text: &str| File::parse(Path::new(name), text.to_owned()).unwrap();
    let files = [
        file("one.toml", "[minimum]\nevery = \"1w\"\nretention = \"30d\"\n"),
        file("two.toml", "[minimum]\nevery = \"1d\"\nretention = \"7d\"\n"),
    ];
    let configuration = resolve(&files).unwrap();
    assert_eq!(holds(&configuration, "minimum.every"), ("\"1d\"".to_owned(), "two.toml:2".to_owned()));
    assert_eq!(holds(&configuration, "minimum.retention"), ("\"30d\"".to_owned(), "one.toml:3".to_owned()));
}

#[test]
fn one_password_for_all_tenants_is_warned_about_c24() {
    let two = "[tenants.a.sources.s]\ndatabase = \"x\"\n[tenants.b.sources.s]\ndatabase = \"x\"\n";
    let shared = read(&format!("[repository]\nurl = \"/r\"\npassword = \"${{P}}\"\n{two}")).unwrap();
    assert!(shared.warnings[0].message.contains("tenants a and b have the same password"));
    let own = read(&format!("[repository]\nurl = \"/r\"\npassword = \"file:/s/{{tenant}}\"\n{two}")).unwrap();
    assert!(own.warnings.is_empty());
    assert_eq!(holds(&own, "tenants.b.repository.password").0, "\"file:/s/b\"");
}

#[test]
fn files_include_others_and_each_tenant_is_in_one_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    let top = folder.path().join("mainstay.toml");
    write(
        "mainstay.toml",
        "include = [\"conf.d/*.toml\"]\n[repository]\nurl = \"/r\"\n[defaults]\nschedule = \"@hourly\"\n",
    );
    write("conf.d/a.toml", "[tenants.a.sources.s]\ndatabase = \"x\"\n");
    write("conf.d/b.toml", "[tenants.b.sources.s]\ndatabase = \"x\"\nschedule = \"@weekly\"\n");
    write("conf.d/c.txt", "nonsense");
    let configuration = resolve(&load(&top).unwrap()).unwrap();
    assert_eq!(holds(&configuration, "tenants.a.sources.s.schedule").0, "\"@hourly\"");
    let (value, origin) = holds(&configuration, "tenants.b.sources.s.schedule");
    assert!(value == "\"@weekly\"" && origin.ends_with("conf.d/b.toml:3"), "{origin}");
    // The same tenant twice, a circle, a file that is not there: each is said.
    write("conf.d/d.toml", "[tenants.a.sources.t]\ndatabase = \"x\"\n");
    let twice = resolve(&load(&top).unwrap()).unwrap_err();
    assert!(
        twice[0].message.contains("tenant a is in two files") && twice[0].file.ends_with("d.toml"),
        "{twice:?}"
    );
    write("conf.d/d.toml", "include = [\"../mainstay.toml\"]\n");
    assert!(load(&top).unwrap_err().message.contains("circle"));
    write("conf.d/d.toml", "include = [\"gone.toml\"]\n");
    assert!(load(&top).unwrap_err().message.contains("gone.toml does not exist"));
    // A mistake in an included file has that file's name.
    write("conf.d/d.toml", "\n[default]\n");
    let wrong = load(&top).unwrap_err();
    assert!(wrong.file.ends_with("conf.d/d.toml") && wrong.line == Some(2), "{wrong:?}");
    assert_eq!(wrong.hint.as_deref(), Some("perhaps defaults was meant"));
}

/// What an editor finds that reads the schema: it takes what we take, and marks what we refuse.
#[test]
fn the_schema_takes_the_example_and_marks_what_is_misspelt() {
    let schema = serde_json::to_value(schema()).unwrap();
    let judged = |text: &str| {
        let document: toml::Table = text.parse().unwrap();
        marks(&schema, &schema, &serde_json::to_value(document).unwrap(), "")
    };
    assert_eq!(judged(EXAMPLE), Vec::<String>::new());
    let more = [
        "[limits]\ntenants = 4\n[minimum]\nevery = \"1d\"\n[watch]\nshrunk = 30\n[watch.dumps.x]\npath = \"/x\"\nmax_age = \"1d\"\n",
        "[tenants.a.defaults]\nhooks = { before = [\"true\", { command = \"true\", timeout = \"1min\" }] }\n",
        "[tenants.a]\nlimits = { stored = \"1G\" }\n[tenants.a.sets.s]\nmembers = []\n",
        "[defaults]\ncopies = [{ url = \"/c\", password = \"${P}\", credentials = { A = \"${B}\" } }]\n",
        "[defaults]\nexport = { to = \"/x\", retention = \"lifecycle\" }\n",
    ];
    more.iter().for_each(|text| assert_eq!(judged(text), Vec::<String>::new(), "{text}"));
    let wrong = [
        ("schedule  = \"@daily\"", "shedule = \"@daily\"", "/defaults/shedule"),
        ("keep_monthly", "keep_montly", "/defaults/retention"),
        ("max_age   = \"26h\"", "max_age = \"26 parsecs\"", "/defaults/max_age"),
        ("per_host  = 1", "per_host = \"one\"", "/defaults/per_host"),
        ("[notify.oncall]", "[notfy.oncall]", "/notfy"),
        ("webhook = {", "webhok = {", "/notify/oncall/webhok"),
        (
            "password = \"file:/run/secrets/acme-repo\"",
            "pasword = \"file:/x\"",
            "/tenants/acme/repository/pasword",
        ),
        ("[tenants.acme.sources.app]", "[tenants.acme.source.app]", "/tenants/acme/source"),
        ("younger_than = \"48h\"", "younger = \"48h\"", "/tenants/acme/sources/app/retention"),
        ("checks = [", "check = [", "/tenants/acme/sources/app/drill/check"),
        ("max_lag", "max_lga", "/tenants/acme/sources/main/wal/max_lga"),
        ("exclude   = [\"scratch_*\"]", "exclude = \"scratch_*\"", "/tenants/acme/sources/all/exclude"),
    ];
    for (right, misspelt, place) in wrong {
        assert!(EXAMPLE.contains(right), "{right}");
        let text = EXAMPLE.replacen(right, misspelt, 1);
        let marked = judged(&text);
        assert!(marked.iter().any(|mark| mark.starts_with(place)), "{misspelt}: {marked:?}");
        File::parse(Path::new("mainstay.toml"), text).unwrap_err();
    }
}

/// Where `value` is not what a JSON schema asks for, as far as ours say it.
fn marks(root: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let found = root.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name} is nowhere"));
        return marks(root, found, value, place);
    }
    if let Some(kinds) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
        let mut tried: Vec<_> = kinds.iter().map(|kind| marks(root, kind, value, place)).collect();
        // The kind that fits, or that which fits furthest down.
        let depth =
            |marks: &[String]| marks.iter().filter_map(|mark| mark.split(':').next()).map(str::len).max();
        tried.sort_by_key(|marks| std::cmp::Reverse(depth(marks).unwrap_or(usize::MAX)));
        return tried.swap_remove(0);
    }
    let mut found = vec![];
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::Null => "null",
    };
    let is_asked_for = |asked: &Value| asked == kind;
    let fits = match &schema["type"] {
        Value::Array(several) => several.iter().any(is_asked_for),
        Value::Null => true,
        one => is_asked_for(one),
    };
    let is_among = |list: &Value| list.as_array().is_none_or(|all| all.contains(value));
    if !fits || !is_among(&schema["enum"]) || schema.get("const").is_some_and(|only| only != value) {
        found.push(format!("{place}: {value}"));
    }
    // The one pattern of ours is that of spans.
    if let (Some(_), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && model::span::parse_span(text).is_none()
    {
        found.push(format!("{place}: {text}"));
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let place = format!("{place}/{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => found.push(place),
            (Value::Null, others) => found.extend(marks(root, others, inner, &place)),
            (known, _) => found.extend(marks(root, known, inner, &place)),
        }
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    found.extend(
        required
            .filter(|name| value.is_object() && value[name].is_null())
            .map(|name| format!("{place}: no {name}")),
    );
    let items = value.as_array().into_iter().flatten().enumerate();
    found.extend(items.flat_map(|(n, item)| marks(root, &schema["items"], item, &format!("{place}/{n}"))));
    found
}

/// Daily and thirty days, as a company asks of all who keep its data.
#[test]
fn t9_a_source_below_the_minimum_is_refused_unless_it_says_why() {
    let minimum =
        "[minimum]\nevery = \"1d\"\nretention = \"30d\"\n[tenants.a]\nrepository = { url = \"/r\" }\n";
    let with = |source: &str| read(&format!("{minimum}[tenants.a.sources.s]\ndatabase = \"x\"\n{source}\n"));
    let good = [
        "schedule = \"@daily\"",
        "schedule = \"@daily\"\ntime_zone = \"Europe/Berlin\"\nretention = { keep_daily = 30 }",
        "schedule = \"@hourly\"\nretention = { keep_within = \"30d\" }",
        "schedule = \"@hourly\"\nretention = [{ younger_than = \"1d\", keep = 24 }, { every = \"1w\", keep = 5 }]",
        "schedule = \"@weekly\"\nretention = { keep_last = 1 }\nbelow_minimum = \"read only since 2019\"",
    ];
    let cluster = "[tenants.a.sources.s]\ncluster = \"x\"\nschedule = \"@daily\"\nretention = ";
    read(&format!("{minimum}{cluster}{{ keep_last = 1, keep_wal_within = \"30d\" }}")).unwrap();
    read(&format!("{minimum}{cluster}{{ keep_last = 1, keep_wal_within = \"29d\" }}")).unwrap_err();
    for source in good {
        with(source).unwrap_or_else(|mistakes| panic!("{source}: {mistakes:?}"));
    }
    let bad = [
        ("schedule = \"@weekly\"", "up to 1w lie between two runs"),
        ("schedule = \"0 2 * * 1-5\"", "up to 3d lie"),
        ("", "when somebody says so"),
        ("schedule = \"@daily\"\nretention = { keep_daily = 29 }", "kept for 29d"),
        ("schedule = \"@hourly\"\nretention = { keep_last = 100 }", "kept for 100h"),
        // A database has no WAL.
        (
            "schedule = \"@hourly\"\nretention = { keep_last = 100, keep_wal_within = \"30d\" }",
            "kept for 100h",
        ),
    ];
    for (source, words) in bad {
        let mistakes = with(source).unwrap_err();
        assert!(mistakes[0].message.contains(words), "{source}: {mistakes:?}");
        assert!(mistakes[0].hint.as_deref().unwrap().contains("below_minimum"));
    }
}

#[test]
fn whoever_is_told_must_be_known_and_reachable() {
    let source = "[tenants.a]\nrepository = { url = \"/r\" }\n[tenants.a.sources.s]\ndatabase = \"x\"\nnotify = [\"ops\"]\n";
    let cases = [
        ("", "nobody is called ops"),
        ("[notify.ops]\n", "nothing says how"),
        ("[notify.ops]\nwebhook = { url = \"hunter2\" }\n", "no address"),
        ("[notify.ops]\nemail = { to = [], from = \"a@b\", server = \"smtp://h\" }\n", "needs to"),
        ("[notify.ops]\nemail = { to = [\"a@b\"], from = \"a@b\", server = \"mail\" }\n", "smtps://"),
        ("[notify.ops]\nwebhook = { url = \"https://h/\" }\n[watch]\nshrunk = 120\n", "0 to 100"),
        (
            "[notify.ops]\nwebhook = { url = \"https://h/\" }\n[watch]\nnotify = [\"dev\"]\n",
            "nobody is called dev",
        ),
    ];
    for (more, words) in cases {
        let mistakes = read(&format!("{source}{more}")).unwrap_err();
        let said: String = mistakes.iter().map(ToString::to_string).collect();
        assert!(said.contains(words) && !said.contains("hunter2"), "{more}: {said}");
    }
    let good = format!(
        "{source}[notify.ops]\nwebhook = {{ url = \"${{HOOK}}\" }}\n[watch]\nheartbeat = \"https://h/\"\n"
    );
    read(&good).unwrap();
}

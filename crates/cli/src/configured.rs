//! The configuration of this run, where there is one.

use std::path::{Path, PathBuf};

use config::configuration::{Configuration, Tenant};
use config::error::ConfigError;
use config::load::{Seen, USUAL_PLACES, load, load_seen};
use config::origin::Given;
use config::resolve::resolve;
use engine::near::nearest;
use model::reference::SecretReference;
use model::size::ByteSize;

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::rate::{Rate, rate, stored};
use crate::target::Target;
use crate::{dotenv, original};

/// A file of variables, beside the configuration or alone.
const VARIABLES: &str = ".env";
/// Names that a hint shows at most.
const NAMES_MAX: usize = 12;

fn is_variables(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == VARIABLES)
}

/// The file that is meant: `--config`, `MAINSTAY_CONFIG`, or the first of the usual places that is there.
pub(crate) fn path(global: &Global) -> Option<PathBuf> {
    let usual = || USUAL_PLACES.iter().map(PathBuf::from).find(|path| path.exists());
    global.config.clone().or_else(usual)
}

/// The environment with the variables of the `.env` beside the configuration, and secrets that it names taken out of reach
/// of children. Comes before any thread is started.
pub(crate) fn complete(environment: Environment, global: &mut Global) -> Result<Environment> {
    take_repository(global, &environment);
    let Some(path) = path(global) else { return Ok(environment) };
    // What is wrong with it is said by the command that needs it.
    if let Ok(Some(configuration)) = load_if_any(global) {
        Environment::hide(&secret_variables(&configuration));
    }
    let environment = environment.completed(variables(&variables_beside(&path))?);
    // Flags and the environment itself were read before.
    let said = |name: &str| environment.get(name).map(str::to_owned);
    take_repository(global, &environment);
    global.password_file =
        global.password_file.take().or_else(|| said("MAINSTAY_PASSWORD_FILE").map(PathBuf::from));
    Ok(environment)
}

/// The file of variables that belongs to the file `path`.
fn variables_beside(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match is_variables(path) {
        true => path.to_owned(),
        false => folder.unwrap_or(Path::new(".")).join(VARIABLES),
    }
}

/// What it says, in the words of others and in ours.
fn variables(file: &Path) -> Result<Vec<(String, String)>> {
    let variables = dotenv::read(file)?;
    let translated = original::translated(&variables);
    Ok([variables, translated].concat())
}

/// The configuration and the variables beside it as they are now, and the files that say so: for who stays. Of the variables,
/// those that name a repository or a file of flags hold from the start.
pub(crate) fn read_again(
    global: &Global,
    environment: &Environment,
    face: &Face,
) -> (Seen, Result<(Configuration, Environment)>) {
    let mut seen = Seen::default();
    let read = match path(global).filter(|path| !is_variables(path)) {
        None => required(global).map(|read| (read, environment.again(face))),
        Some(path) => {
            let beside = variables_beside(&path);
            seen.add(&beside);
            let files = load_seen(&path, &mut seen).map_err(|mistake| shown(&[mistake]));
            files.and_then(|files| {
                let read = resolve(&files).map_err(|mistakes| shown(&mistakes))?;
                Ok((read, environment.renewed(variables(&beside)?, face)))
            })
        }
    };
    (seen, read)
}

/// The repository that variables name; a flag for a tenant is stronger, as every flag is.
fn take_repository(global: &mut Global, environment: &Environment) {
    let said = |name: &str| environment.get(name).map(str::to_owned);
    if global.of.is_none() {
        global.repository = global.repository.take().or_else(|| said("MAINSTAY_REPOSITORY"));
        global.repository_hot = global.repository_hot.take().or_else(|| said("MAINSTAY_REPOSITORY_HOT"));
    }
}

/// What is configured, if anything is. Its mistakes are shown together.
pub(crate) fn load_if_any(global: &Global) -> Result<Option<Configuration>> {
    let Some(path) = path(global).filter(|path| !is_variables(path)) else { return Ok(None) };
    let files = load(&path).map_err(|mistake| shown(&[mistake]))?;
    resolve(&files).map(Some).map_err(|mistakes| shown(&mistakes))
}

/// The same for commands that cannot do without.
pub(crate) fn required(global: &Global) -> Result<Configuration> {
    load_if_any(global)?.ok_or_else(|| {
        let places = USUAL_PLACES.map(|place| format!("./{place}").replace(".//", "/")).join(" and ");
        CliError::usage("there is no configuration")
            .hint(format!("name one with --config; else {places} are looked for"))
    })
}

/// Mistakes, together.
pub(crate) fn shown(mistakes: &[ConfigError]) -> CliError {
    let line = |mistake: &ConfigError| match &mistake.hint {
        Some(hint) if mistakes.len() > 1 => format!("{mistake} ({hint})"),
        _ => mistake.to_string(),
    };
    let error = CliError::usage(mistakes.iter().map(line).collect::<Vec<_>>().join("\n       "));
    match mistakes {
        [ConfigError { hint: Some(hint), .. }] => error.hint(hint.clone()),
        _ => error,
    }
}

/// Variables that the configuration says are secrets.
fn secret_variables(configuration: &Configuration) -> Vec<String> {
    let repositories = configuration.tenants.iter().flat_map(|tenant| {
        let copies = tenant.sources.iter().flat_map(|source| &source.copies.value);
        std::iter::once(&tenant.repository).chain(copies)
    });
    let of_repositories = repositories.flat_map(|one| one.password.iter().chain(one.credentials.values()));
    let sources = configuration.tenants.iter().flat_map(|tenant| &tenant.sources);
    let variable = |given: &'_ Given<SecretReference>| match &given.value {
        SecretReference::Environment(name) => Some(name.clone()),
        _ => None,
    };
    of_repositories
        .chain(sources.filter_map(|source| source.password.as_ref()))
        .filter_map(variable)
        .collect()
}

/// The flags and the environment of the tenant that `--of` names, or that is the only one, where the command works on one
/// repository and flags name none.
pub(crate) fn settle(
    global: &mut Global,
    environment: Environment,
    works_on_one: bool,
    face: &Face,
) -> Result<Environment> {
    if global.of.is_none() && !works_on_one {
        return Ok(environment);
    }
    Ok(settled(global, &environment, face)?.unwrap_or(environment))
}

/// The same for a command that works on one repository; `None`: flags and environment say it already.
pub(crate) fn settled(
    global: &mut Global,
    environment: &Environment,
    face: &Face,
) -> Result<Option<Environment>> {
    if let Some(name) = global.of.clone() {
        let configuration = required(global)?;
        let target = Target::configured(&tenant(&configuration, &name)?.repository);
        return target.settle(global, environment, face).map(Some);
    }
    if global.repository.is_some() {
        return Ok(None);
    }
    match load_if_any(global)?.as_ref().map(|configuration| &*configuration.tenants) {
        None | Some([]) => Ok(None),
        Some([only]) => Target::configured(&only.repository).settle(global, environment, face).map(Some),
        Some(several) => {
            let names: Vec<_> = several.iter().map(|tenant| tenant.name.as_str()).collect();
            Err(CliError::usage("several tenants are configured, each with a repository of its own").hint(
                match names.len() {
                    0..=NAMES_MAX => format!("name one with --of: {}", names.join(", ")),
                    all => format!("name one of the {all} with --of TENANT"),
                },
            ))
        }
    }
}

/// The tenant of this name.
pub(crate) fn tenant<'a>(configuration: &'a Configuration, name: &str) -> Result<&'a Tenant> {
    let found = configuration.tenants.iter().find(|tenant| tenant.name.as_str() == name);
    found.ok_or_else(|| {
        let known: Vec<_> = configuration.tenants.iter().map(|tenant| tenant.name.as_str()).collect();
        CliError::new(Kind::NotFound, format!("no tenant {name} is configured"))
            .hint(are_configured(name, &known))
    })
}

/// Which names are configured: all of a few, of many those that are most like `wrong`.
pub(crate) fn are_configured(wrong: &str, known: &[&str]) -> String {
    match known.len() {
        0 => "nothing is configured".to_owned(),
        1..=NAMES_MAX => format!("configured are {}", known.join(", ")),
        all => format!("of {all} that are configured, {} are most like it", nearest(wrong, known).join(", ")),
    }
}

/// What a tenant may use, read.
#[derive(Default)]
pub(crate) struct Limits {
    /// Bytes a second to send.
    pub(crate) upload: Option<Rate>,
    /// Bytes a second to fetch.
    pub(crate) download: Option<Rate>,
    /// Stored bytes.
    pub(crate) stored: Option<ByteSize>,
}

/// The limits of a tenant.
pub(crate) fn limits(tenant: &Tenant) -> Result<Limits> {
    fn read<T>(
        given: Option<&Given<String>>,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>> {
        let wrong = |given: &Given<String>, words| CliError::usage(format!("{}: {words}", given.origin));
        given.map(|given| read(&given.value).map_err(|words| wrong(given, words))).transpose()
    }
    Ok(Limits {
        upload: read(tenant.upload.as_ref(), rate)?,
        download: read(tenant.download.as_ref(), rate)?,
        stored: read(tenant.stored_max.as_ref(), stored)?,
    })
}

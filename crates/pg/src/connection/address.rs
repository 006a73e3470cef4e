//! The parts of a connection: libpq's parameters by name, and the password apart from them.
//!
//! Invariant: what can be printed or put on a command line (`conninfo`) never holds the password.

use std::fmt;

use model::secret::Secret;

use super::conninfo;
use super::error::ConnectionError;
use super::uri;

/// What is used where neither arguments nor environment say anything (C7).
const DEFAULTS: [(&str, &str); 3] = [("host", "127.0.0.1"), ("port", "5432"), ("user", "postgres")];

/// Seconds until an attempt to connect is given up, unless said otherwise.
const CONNECT_TIMEOUT_S: &str = "30";

/// Parameters whose values are secrets and that libpq reads from connection strings only.
const SECRET_PARAMETERS: [&str; 4] =
    ["sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"];

/// A server, a user and a database. Anything left out is left to libpq's own rules.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// libpq's parameters by name, each at most once, without the password.
    parameters: Vec<(String, String)>,
    password: Option<Secret>,
}

impl Connection {
    /// Take apart `postgresql://…`, `postgres://…` or `key=value …`.
    pub fn parse(text: &str) -> Result<Self, ConnectionError> {
        let pairs = match uri::strip_scheme(text) {
            Some(rest) => uri::parse(rest)?,
            None => conninfo::parse(text)?,
        };
        pairs.into_iter().try_fold(Self::default(), |connection, (name, value)| connection.with(&name, value))
    }

    /// The same with one of libpq's parameters set; an empty value unsets it.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Result<Self, ConnectionError> {
        let value = value.into();
        match name {
            _ if value.contains('\0') || name.contains('\0') => {
                return Err(ConnectionError::Nul("a parameter"));
            }
            "password" => return Ok(self.with_password((!value.is_empty()).then(|| Secret::new(value)))),
            "port" => check_ports(&value)?,
            _ if !is_name(name) => return Err(ConnectionError::Malformed("a parameter's name")),
            _ if SECRET_PARAMETERS.contains(&name) => {
                return Err(ConnectionError::SecretParameter(name.to_owned()));
            }
            _ => {}
        }
        self.parameters.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.parameters.push((name.to_owned(), value));
        }
        Ok(self)
    }

    /// The same with another password, or with none.
    pub fn with_password(mut self, password: Option<Secret>) -> Self {
        self.password = password;
        self
    }

    /// The same server and user, another database.
    pub fn with_database(&self, database: &str) -> Result<Self, ConnectionError> {
        self.clone().with("dbname", database)
    }

    /// Fill in what is missing, from the environment and then from mainstay's defaults. `PGPASSWORD` becomes our
    /// password, since children shall not have it in theirs. With a service file nothing is assumed.
    pub fn complete(mut self, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConnectionError> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        if self.password.is_none() && self.get("passfile").is_none() {
            self.password = set("PGPASSWORD").map(Secret::new);
        }
        if self.get("connect_timeout").is_none() && set("PGCONNECT_TIMEOUT").is_none() {
            self = self.with("connect_timeout", CONNECT_TIMEOUT_S)?;
        }
        if self.get("service").is_some() || set("PGSERVICE").is_some() {
            return Ok(self);
        }
        let has_address = self.get("hostaddr").is_some() || set("PGHOSTADDR").is_some();
        for (name, default) in DEFAULTS {
            let variable = format!("PG{}", name.to_uppercase());
            if self.get(name).is_none() && !(name == "host" && has_address) {
                let value = set(&variable).unwrap_or_else(|| default.to_owned());
                self = self.with(name, value)?;
            }
        }
        if let (None, Some(database)) = (self.get("dbname"), set("PGDATABASE")) {
            self = self.with("dbname", database)?;
        }
        Ok(self)
    }

    /// The value of one of libpq's parameters, such as `host` or `dbname`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The names of the parameters that are set.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(name, _)| name.as_str())
    }

    /// The database, where one is named.
    pub fn database(&self) -> Option<&str> {
        self.get("dbname")
    }

    /// Everything but the password, in the form that `--dbname=` takes: quoted, so that no name can be mistaken for
    /// an option, a URI or a parameter.
    pub fn conninfo(&self) -> String {
        conninfo::write(self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    pub(crate) fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |name| self.get(name).unwrap_or_default();
        write!(out, "{}@{}:{}/{}", part("user"), part("host"), part("port"), part("dbname"))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Connection({})", self.conninfo())
    }
}

/// libpq's names are words; anything else would be read as something else where it is written out.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// libpq takes one port for all hosts or a list, in which an empty place means the default.
fn check_ports(ports: &str) -> Result<(), ConnectionError> {
    let is_port = |port: &str| port.is_empty() || port.parse::<u16>().is_ok_and(|number| number > 0);
    match ports.split(',').all(is_port) {
        true => Ok(()),
        false => Err(ConnectionError::BadPort(ports.chars().take(40).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Connection {
        Connection::parse(text).unwrap()
    }

    #[test]
    fn a_uri_is_taken_apart() {
        let connection =
            parsed("postgresql://me:p%40%3Ass@db.example:6543/my%20db?sslmode=require&application_name=x");
        assert_eq!(connection.get("host"), Some("db.example"));
        assert_eq!(connection.get("port"), Some("6543"));
        assert_eq!(connection.get("user"), Some("me"));
        assert_eq!(connection.database(), Some("my db"));
        assert_eq!(connection.get("sslmode"), Some("require"));
        assert_eq!(connection.password().unwrap().expose(), "p@:ss");
        assert_eq!(
            connection.conninfo(),
            "host='db.example' port='6543' user='me' dbname='my db' sslmode='require' application_name='x'"
                .replace(
                    "host='db.example' port='6543' user='me'",
                    "user='me' host='db.example' port='6543'"
                )
        );
    }

    #[test]
    fn odd_uris_mean_what_libpq_says() {
        let cases = [
            ("postgres://", ""),
            (
                "postgresql:///app?host=/run/postgresql&port=5433",
                "dbname='app' host='/run/postgresql' port='5433'",
            ),
            ("postgresql://%2Fvar%2Frun/app", "host='/var/run' dbname='app'"),
            ("postgresql://[::1]:5433/app", "host='::1' port='5433' dbname='app'"),
            ("postgresql://a:1,b:2/app?ssl=true", "host='a,b' port='1,2' dbname='app' sslmode='require'"),
            ("postgresql://a,b/app", "host='a,b' dbname='app'"),
            ("postgresql://u@/d", "user='u' dbname='d'"),
        ];
        for (uri, conninfo) in cases {
            assert_eq!(parsed(uri).conninfo(), conninfo, "{uri}");
        }
    }

    #[test]
    fn pairs_are_read_with_libpqs_quoting() {
        let connection = parsed(r"host = h  dbname='it\'s' user=a\ b");
        assert_eq!(connection.conninfo(), r"host='h' dbname='it\'s' user='a b'");
        assert!(Connection::parse("dbname='it''s'").is_err());
    }

    #[test]
    fn every_database_name_survives_quoting() {
        for name in
            ["plain", "it's", "a b", "a=b", "-x", "postgresql://x", "back\\slash", "new\nline", "ünï\"q\""]
        {
            let connection = Connection::default().with_database(name).unwrap();
            assert!(connection.conninfo().starts_with("dbname='"));
            assert_eq!(parsed(&connection.conninfo()).database(), Some(name));
        }
    }

    #[test]
    fn the_password_shows_nowhere() {
        let connection = parsed("postgresql://u:canary@h/d?password=canary2").complete(|_| None).unwrap();
        for text in [connection.conninfo(), format!("{connection:?}"), connection.to_string()] {
            assert!(!text.contains("canary"), "{text}");
        }
        assert_eq!(connection.password().unwrap().expose(), "canary2");
    }

    #[test]
    fn defaults_yield_to_the_environment_and_to_arguments() {
        let environment = |name: &str| match name {
            "PGHOST" => Some("env".to_owned()),
            "PGPASSWORD" => Some("secret".to_owned()),
            _ => None,
        };
        let connection = parsed("user=me").complete(environment).unwrap();
        assert_eq!(connection.to_string(), "me@env:5432/");
        assert_eq!(connection.password().unwrap().expose(), "secret");
        assert_eq!(connection.get("connect_timeout"), Some("30"));
        let defaults = Connection::default().complete(|_| None).unwrap();
        assert_eq!(defaults.to_string(), "postgres@127.0.0.1:5432/");
        let service = parsed("service=prod").complete(|_| None).unwrap();
        assert_eq!(service.get("host"), None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_showing_it() {
        for text in
            ["postgresql://u:canary@h:99999/d", "host", "canary canary", "dbname='canary", "host=a\0b"]
        {
            let error = Connection::parse(text).unwrap_err().to_string();
            assert!(!error.contains("canary"), "{error}");
        }
        assert_eq!(
            Connection::parse("sslpassword=x"),
            Err(ConnectionError::SecretParameter("sslpassword".into()))
        );
        assert!(Connection::parse("postgresql://h/%zz").is_err());
        assert!(Connection::parse("postgresql://h/d?a%3D%27x%27%20sslpassword=canary").is_err());
    }
}

//! What libpq's parameters say about reaching a server, for this client.
//!
//! A parameter wins over libpq's variable of the environment. Invariant: what would be unsafe to leave out is refused by
//! name, and everything that is not known counts as that.

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::secret::Secret;

use super::error::WireError;
use crate::connection::Connection;

/// Parameters that this client follows, and libpq's variable for each.
const FOLLOWED: [(&str, &str); 16] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("dbname", "PGDATABASE"),
    ("passfile", "PGPASSFILE"),
    ("application_name", "PGAPPNAME"),
    ("fallback_application_name", ""),
    ("options", "PGOPTIONS"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
];

/// Parameters that change nothing here, or nothing that matters.
const IDLE: [&str; 12] = [
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "client_encoding",
    "sslcompression",
    "sslsni",
    "krbsrvname",
    "gsslib",
    "replication",
    "gssdelegation",
];

/// Parameters that may be given with a value that is what happens anyway, and libpq's variable for each.
const AS_IT_IS: [(&str, &str, &[&str]); 10] = [
    ("gssencmode", "PGGSSENCMODE", &["disable", "prefer"]),
    ("sslnegotiation", "PGSSLNEGOTIATION", &["postgres"]),
    ("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", &["TLSv1", "TLSv1.1", "TLSv1.2"]),
    ("sslcertmode", "PGSSLCERTMODE", &["allow"]),
    ("load_balance_hosts", "PGLOADBALANCEHOSTS", &["disable"]),
    ("service", "PGSERVICE", &[]),
    ("requirepeer", "PGREQUIREPEER", &[]),
    ("require_auth", "PGREQUIREAUTH", &[]),
    ("sslcrl", "PGSSLCRL", &[]),
    ("sslcrldir", "PGSSLCRLDIR", &[]),
];

/// What an empty `sslrootcert` means, below the home directory.
const ROOT_FILE: &str = ".postgresql/root.crt";
/// libpq waits for no shorter time.
const CONNECT_TIMEOUT_MIN_S: u64 = 2;
/// Where nothing is said: `connect_timeout=0` means to wait for ever, which nobody wants here.
const CONNECT_TIMEOUT_MAX_S: u64 = 30;

/// When TLS is spoken, and what is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Whether SCRAM is bound to the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

/// What kind of server is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Any,
    Primary,
    Standby,
}

/// Whom to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Roots {
    /// Nobody is named.
    Nobody,
    /// The authorities of the system.
    System,
    /// Those in a file.
    File(PathBuf),
}

/// One place to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// A name, an address, or the directory of a socket.
    pub(crate) host: String,
    /// The address to connect to, where it is not to be found by the name.
    pub(crate) address: Option<String>,
    /// Port.
    pub(crate) port: u16,
}

/// How to reach a server, and as whom.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) places: Vec<Place>,
    pub(crate) user: String,
    pub(crate) database: Option<String>,
    pub(crate) application_name: String,
    pub(crate) options: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) passfile: Option<PathBuf>,
    pub(crate) sslmode: SslMode,
    pub(crate) roots: Roots,
    /// Our own certificate and its key.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) channel_binding: ChannelBinding,
    pub(crate) role: Role,
    pub(crate) connect_timeout: Duration,
}

impl Settings {
    /// Read a connection; `environment` knows libpq's variables and `HOME`.
    pub(crate) fn read(
        connection: &Connection,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, WireError> {
        refuse_others(connection, environment)?;
        let get = |name: &str| {
            let variable =
                FOLLOWED.iter().find(|(known, _)| *known == name).map_or("", |(_, variable)| variable);
            let given = connection.get(name).map(str::to_owned);
            given.or_else(|| environment(variable)).filter(|value| !value.is_empty())
        };
        let home = environment("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let roots = roots(get("sslrootcert"), home.as_deref());
        let passfile = get("passfile").map(PathBuf::from);
        Ok(Self {
            places: places(get("host"), get("hostaddr"), get("port"))?,
            user: get("user").ok_or_else(|| wrong("user", "is missing"))?,
            database: get("dbname"),
            application_name: get("application_name")
                .or_else(|| get("fallback_application_name"))
                .unwrap_or_else(|| "mainstay".to_owned()),
            options: get("options"),
            password: connection.password().cloned(),
            passfile: passfile.or_else(|| home.map(|home| home.join(".pgpass"))),
            sslmode: sslmode(get("sslmode").as_deref(), &roots)?,
            roots,
            certificate: certificate(get("sslcert"), get("sslkey"))?,
            channel_binding: channel_binding(get("channel_binding").as_deref())?,
            role: role(get("target_session_attrs").as_deref())?,
            connect_timeout: connect_timeout(get("connect_timeout").as_deref())?,
        })
    }
}

fn wrong(name: &'static str, reason: impl Into<String>) -> WireError {
    WireError::Parameter { name, reason: reason.into() }
}

fn refuse_others(
    connection: &Connection,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(), WireError> {
    for (name, variable, values) in AS_IT_IS {
        let value = connection.get(name).map(str::to_owned).or_else(|| environment(variable));
        if value.is_some_and(|value| !value.is_empty() && !values.contains(&value.as_str())) {
            return Err(WireError::Unsupported(name.to_owned()));
        }
    }
    let is_known = |name: &str| {
        FOLLOWED.iter().any(|(known, _)| *known == name)
            || IDLE.contains(&name)
            || AS_IT_IS.iter().any(|(known, ..)| *known == name)
    };
    match connection.names().find(|name| !is_known(name)) {
        Some(other) => Err(WireError::Unsupported(other.to_owned())),
        None => Ok(()),
    }
}

/// libpq's lists: as many hosts as addresses, and one port for all or one for each.
fn places(
    hosts: Option<String>,
    addresses: Option<String>,
    ports: Option<String>,
) -> Result<Vec<Place>, WireError> {
    let list = |text: &Option<String>| -> Vec<String> {
        text.as_deref().map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default()
    };
    let (hosts, addresses, ports) = (list(&hosts), list(&addresses), list(&ports));
    let count = hosts.len().max(addresses.len()).max(1);
    for (name, found) in [("host", hosts.len()), ("hostaddr", addresses.len())] {
        if found != 0 && found != count {
            return Err(wrong(name, format!("names {found} places of {count}")));
        }
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(wrong("port", format!("names {} places of {count}", ports.len())));
    }
    let place = |at: usize| {
        let address = addresses.get(at).filter(|address| !address.is_empty()).cloned();
        let host = hosts.get(at).filter(|host| !host.is_empty()).cloned();
        let port = ports.get(at).or(ports.first()).map_or("", String::as_str);
        Ok(Place {
            host: host.or_else(|| address.clone()).unwrap_or_else(|| "/var/run/postgresql".to_owned()),
            address,
            port: if port.is_empty() {
                5432
            } else {
                port.parse().map_err(|_| wrong("port", "is no number"))?
            },
        })
    };
    (0..count).map(place).collect()
}

fn roots(file: Option<String>, home: Option<&Path>) -> Roots {
    match file {
        Some(file) if file == "system" => Roots::System,
        Some(file) => Roots::File(file.into()),
        None => match home.map(|home| home.join(ROOT_FILE)).filter(|file| file.exists()) {
            Some(file) => Roots::File(file),
            None => Roots::Nobody,
        },
    }
}

fn sslmode(mode: Option<&str>, roots: &Roots) -> Result<SslMode, WireError> {
    let mode = match mode {
        None if *roots == Roots::System => SslMode::VerifyFull,
        None | Some("prefer") => SslMode::Prefer,
        Some("disable") => SslMode::Disable,
        Some("allow") => SslMode::Allow,
        Some("require") => SslMode::Require,
        Some("verify-ca") => SslMode::VerifyCa,
        Some("verify-full") => SslMode::VerifyFull,
        Some(other) => return Err(wrong("sslmode", format!("{other:?} is none"))),
    };
    match roots {
        // Anybody gets a certificate from them, so the name is all that says who it is.
        Roots::System if mode < SslMode::VerifyFull => {
            Err(wrong("sslmode", "has to be verify-full with sslrootcert=system"))
        }
        Roots::Nobody if mode >= SslMode::VerifyCa => {
            Err(wrong("sslrootcert", "is missing, and there is no ~/.postgresql/root.crt"))
        }
        _ => Ok(mode),
    }
}

fn certificate(
    certificate: Option<String>,
    key: Option<String>,
) -> Result<Option<(PathBuf, PathBuf)>, WireError> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some((certificate.into(), key.into()))),
        (None, None) => Ok(None),
        _ => Err(wrong("sslcert", "goes together with sslkey")),
    }
}

fn channel_binding(value: Option<&str>) -> Result<ChannelBinding, WireError> {
    match value {
        None | Some("prefer") => Ok(ChannelBinding::Prefer),
        Some("disable") => Ok(ChannelBinding::Disable),
        Some("require") => Ok(ChannelBinding::Require),
        Some(other) => Err(wrong("channel_binding", format!("{other:?} is none"))),
    }
}

fn role(value: Option<&str>) -> Result<Role, WireError> {
    match value {
        None | Some("any") => Ok(Role::Any),
        Some("primary" | "read-write") => Ok(Role::Primary),
        Some("standby" | "read-only") => Ok(Role::Standby),
        Some(other) => Err(wrong("target_session_attrs", format!("{other:?} is not understood"))),
    }
}

fn connect_timeout(value: Option<&str>) -> Result<Duration, WireError> {
    let Some(value) = value else { return Ok(Duration::from_secs(CONNECT_TIMEOUT_MAX_S)) };
    let seconds: i64 = value.trim().parse().map_err(|_| wrong("connect_timeout", "is no number"))?;
    Ok(Duration::from_secs(match u64::try_from(seconds) {
        Ok(0) | Err(_) => CONNECT_TIMEOUT_MAX_S,
        Ok(seconds) => seconds.max(CONNECT_TIMEOUT_MIN_S),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, WireError> {
        Settings::read(&Connection::parse(text).unwrap(), &|_| None)
    }

    #[test]
    fn lists_of_hosts_are_read_as_libpq_does() {
        let places = read("user=u host=a,/run,c port=1,,3").unwrap().places;
        let shown: Vec<_> = places.iter().map(|place| (place.host.as_str(), place.port)).collect();
        assert_eq!(shown, [("a", 1), ("/run", 5432), ("c", 3)]);
        let one = read("user=u host=db hostaddr=10.0.0.1 port=6").unwrap().places;
        assert_eq!(one, [Place { host: "db".into(), address: Some("10.0.0.1".into()), port: 6 }]);
        for text in ["user=u host=a,b port=1,2,3", "user=u host=a,b hostaddr=1.1.1.1"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_parameter_wins_over_the_environment() {
        let environment = |name: &str| match name {
            "PGSSLMODE" => Some("require".to_owned()),
            "PGUSER" => Some("env".to_owned()),
            _ => None,
        };
        let connection = Connection::parse("host=h user=me").unwrap();
        let settings = Settings::read(&connection, &environment).unwrap();
        assert_eq!((settings.sslmode, settings.user.as_str()), (SslMode::Require, "me"));
    }

    #[test]
    fn what_would_be_unsafe_to_leave_out_is_refused() {
        for text in [
            "user=u service=s",
            "user=u sslcrl=/x",
            "user=u require_auth=scram-sha-256",
            "user=u gssencmode=require",
            "user=u ssl_min_protocol_version=TLSv1.3",
            "user=u some_new_thing=1",
        ] {
            assert!(matches!(read(text), Err(WireError::Unsupported(_))), "{text}");
        }
        let environment = |name: &str| (name == "PGREQUIREAUTH").then(|| "scram-sha-256".to_owned());
        assert!(Settings::read(&Connection::parse("user=u").unwrap(), &environment).is_err());
        assert!(read("user=u gssencmode=prefer keepalives=1").is_ok());
    }

    #[test]
    fn who_is_to_be_checked_needs_somebody_who_is_believed() {
        for text in
            ["user=u sslmode=verify-ca", "user=u sslmode=require sslrootcert=system", "user=u sslmode=x"]
        {
            assert!(matches!(read(text), Err(WireError::Parameter { .. })), "{text}");
        }
        assert_eq!(read("user=u sslrootcert=system").unwrap().sslmode, SslMode::VerifyFull);
        assert_eq!(read("user=u").unwrap().sslmode, SslMode::Prefer);
    }
}

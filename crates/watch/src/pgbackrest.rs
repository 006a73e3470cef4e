//! Backups that pgBackRest makes, as `pgbackrest info --output=json` tells (its user guide, "Information").

use std::process::{Command, Stdio};

use jiff::Timestamp;
use serde::Deserialize;

use crate::judge::Backup;

/// A stanza, as far as we ask. Other keys are passed over.
#[derive(Deserialize)]
struct Stanza {
    name: String,
    #[serde(default)]
    backup: Vec<Made>,
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    code: i64,
    message: String,
}

#[derive(Deserialize)]
struct Made {
    #[serde(default)]
    error: Option<bool>,
    info: Sizes,
    timestamp: Span,
}

#[derive(Deserialize)]
struct Sizes {
    size: u64,
}

#[derive(Deserialize)]
struct Span {
    stop: i64,
}

/// The status of a stanza that has no backup yet.
const NO_BACKUPS: i64 = 2;

/// Ask pgBackRest about a stanza.
///
/// # Errors
/// In words: what it says itself, or where its answer makes no sense.
pub fn look(stanza: &str) -> Result<Vec<Backup>, String> {
    let mut command = Command::new("pgbackrest");
    command.args(["info", "--output=json", &format!("--stanza={stanza}")]).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("pgbackrest: {error}"))?;
    if !output.status.success() {
        return Err(format!("pgbackrest: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    read(stanza, &output.stdout)
}

/// What its answer says.
fn read(stanza: &str, answer: &[u8]) -> Result<Vec<Backup>, String> {
    let all: Vec<Stanza> =
        serde_json::from_slice(answer).map_err(|error| format!("pgbackrest's answer: {error}"))?;
    let found = all.into_iter().find(|one| one.name == stanza);
    let found = found.ok_or_else(|| format!("pgbackrest knows no stanza {stanza}"))?;
    if found.status.code != 0 && found.status.code != NO_BACKUPS {
        return Err(format!("pgbackrest: stanza {stanza}: {}", found.status.message));
    }
    let backup = |made: Made| {
        let time = Timestamp::from_second(made.timestamp.stop).map_err(|error| error.to_string())?;
        Ok(Backup { time, size: made.info.size, is_good: made.error != Some(true) })
    };
    found.backup.into_iter().map(backup).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As pgBackRest 2.5x prints it, shortened.
    const ANSWER: &str = r#"[{"archive":[],"backup":[
        {"archive":{"start":"000000010000000000000002","stop":"000000010000000000000002"},"backrest":{"format":5,"version":"2.50"},
         "database":{"id":1,"repo-key":1},"error":false,"info":{"delta":31001349,"repository":{"delta":3892402,"size":3892402},"size":31001349},
         "label":"20261120-010000F","prior":null,"reference":null,"timestamp":{"start":1795136400,"stop":1795136460},"type":"full"},
        {"error":true,"info":{"size":31001400},"label":"20261121-010000F","timestamp":{"start":1795222800,"stop":1795222860},"type":"full"}],
        "cipher":"none","db":[],"name":"main","repo":[],"status":{"code":0,"lock":{"backup":{"held":false}},"message":"ok"}}]"#;

    #[test]
    fn its_backups_are_read_and_one_with_page_errors_is_not_good() {
        let backups = read("main", ANSWER.as_bytes()).unwrap();
        assert_eq!(backups.len(), 2);
        assert_eq!((backups[0].size, backups[0].is_good, backups[1].is_good), (31_001_349, true, false));
        assert!(read("other", ANSWER.as_bytes()).unwrap_err().contains("no stanza other"));
        let missing = r#"[{"name":"main","status":{"code":3,"message":"missing stanza data"}}]"#;
        assert!(read("main", missing.as_bytes()).unwrap_err().contains("missing stanza data"));
        let none = r#"[{"name":"main","backup":[],"status":{"code":2,"message":"no valid backups"}}]"#;
        assert_eq!(read("main", none.as_bytes()), Ok(vec![]));
        assert!(read("main", b"nonsense").is_err());
    }
}

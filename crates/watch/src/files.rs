//! Dumps that others make, as files in a directory.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use jiff::Timestamp;

use crate::judge::Backup;

/// How a dump of pg_dump's custom format begins.
const CUSTOM: &[u8] = b"PGDMP";
/// A file of that name must begin so.
const CUSTOM_NAMES: [&str; 2] = [".dump", ".pgdump"];

/// The files whose paths fit `pattern`. An empty one is not good, nor one that is called a dump and is none.
///
/// # Errors
/// In words, where the pattern makes no sense or a directory cannot be read.
pub fn look(pattern: &str) -> Result<Vec<Backup>, String> {
    let found = glob::glob(pattern).map_err(|error| format!("{pattern}: {error}"))?;
    let mut backups = vec![];
    for path in found {
        let path = path.map_err(|error| error.to_string())?;
        match one(&path) {
            Ok(backup) => backups.extend(backup),
            // Whoever makes them also takes them away.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    Ok(backups)
}

/// The backup in a file; none where it is no file.
fn one(path: &Path) -> std::io::Result<Option<Backup>> {
    let about = path.metadata()?;
    if !about.is_file() {
        return Ok(None);
    }
    let mut beginning = vec![];
    File::open(path)?.take(CUSTOM.len() as u64).read_to_end(&mut beginning)?;
    let is_called_dump = CUSTOM_NAMES.iter().any(|name| path.to_string_lossy().ends_with(name));
    let is_good = !beginning.is_empty() && (!is_called_dump || beginning == CUSTOM);
    let time = Timestamp::try_from(about.modified()?)
        .map_err(|_| std::io::Error::new(ErrorKind::InvalidData, "its time makes no sense"))?;
    Ok(Some(Backup { time, size: about.len(), is_good }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_seen_and_what_is_none_is_not_good() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a.dump", "PGDMP..."),
            ("b.dump", "pg_dump: error"),
            ("c.dump", ""),
            ("d.txt", "x"),
            ("e.sql.gz", "x"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        // As one that was taken away after its name was read.
        std::os::unix::fs::symlink(folder.path().join("gone"), folder.path().join("f.dump")).unwrap();
        let count = |pattern: &str| {
            let seen = look(&folder.path().join(pattern).to_string_lossy()).unwrap();
            (seen.len(), seen.iter().filter(|backup| backup.is_good).count())
        };
        assert_eq!((count("*.dump"), count("*.sql.gz"), count("*.tar")), ((3, 1), (1, 1), (0, 0)));
        assert!(look("[").is_err());
    }
}

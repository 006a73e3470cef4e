//! `mainstay manifests`: what systemd or cron needs to run what is due.

use std::path::Path;

use config::schedule::Schedule;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::arguments::{Global, ManifestKind, Manifests};
use crate::error::{CliError, Kind, Result};
use crate::face::Face;

/// Where they look for the configuration, unless it is named.
const CONFIGURATION: &str = "/etc/mainstay/mainstay.toml";
/// At night, and spread over a quarter of an hour.
const CALENDAR: &str = "*-*-* 02:30:00";
const CRON: &str = "30 2 * * *";

pub(crate) fn run(global: &Global, order: &Manifests, face: &Face) -> Result<()> {
    let configuration = match &global.config {
        None => CONFIGURATION.to_owned(),
        Some(path) => {
            std::path::absolute(path).map_err(CliError::io("naming --config"))?.display().to_string()
        }
    };
    let said = [configuration.as_str(), &order.user, &order.binary.to_string_lossy()].map(str::to_owned);
    if said.iter().any(|text| text.contains(|c: char| c.is_whitespace() || "%\"'\\$".contains(c))) {
        return Err(CliError::usage(
            "paths and users with blanks, quotes, % or $ go into no unit and no crontab",
        ));
    }
    let files = match order.kind {
        ManifestKind::Systemd => systemd(order, &configuration),
        ManifestKind::Cron => cron(order, &configuration)?,
    };
    if let Some(folder) = &order.output {
        for (name, text) in &files {
            write(&folder.join(name), text, order.force)?;
        }
    }
    let document: Vec<_> =
        files.iter().map(|(name, text)| json!({ "name": name, "content": text })).collect();
    face.result(&json!({ "files": document }), || match &order.output {
        Some(folder) => {
            let paths = files.iter().map(|(name, _)| folder.join(name).display().to_string());
            paths.collect::<Vec<_>>().join("\n")
        }
        None => files.iter().map(|(name, text)| format!("# {name}\n{text}")).collect::<Vec<_>>().join("\n"),
    });
    Ok(())
}

/// What somebody has changed is not replaced unless he says so.
fn write(path: &Path, text: &str, is_forced: bool) -> Result<()> {
    let what = format!("writing {}", path.display());
    match std::fs::read_to_string(path) {
        Ok(known) if known == text => return Ok(()),
        Ok(_) if !is_forced => {
            return Err(CliError::new(Kind::Refused, format!("{} is there and differs", path.display()))
                .hint("look at it, and say --force to replace it"));
        }
        _ => {}
    }
    std::fs::write(path, text).map_err(CliError::io(&what))
}

type File = (&'static str, String);

fn systemd(order: &Manifests, configuration: &str) -> Vec<File> {
    let Manifests { user, binary, delay, .. } = order;
    let binary = binary.display();
    // Its home is not to be written.
    let state = if user == "root" { "Environment=MAINSTAY_STATE_DIR=/var/lib/mainstay\n" } else { "" };
    let calendar = order.calendar.as_deref().unwrap_or(CALENDAR);
    // It may read what the backup needs and write nothing but its own directories and repositories on this machine.
    let service = |kind: &str, arguments: &str| {
        format!(
            "[Service]\n\
             Type={kind}\n\
             ExecStart={binary} --config {configuration} {arguments}\n\
             User={user}\n{state}\
             AmbientCapabilities=CAP_DAC_READ_SEARCH\n\
             CapabilityBoundingSet=CAP_DAC_READ_SEARCH\n\
             NoNewPrivileges=yes\n\
             ProtectSystem=full\n\
             ProtectHome=read-only\n\
             PrivateTmp=yes\n\
             StateDirectory=mainstay\n\
             StateDirectoryMode=0700\n"
        )
    };
    let unit = |description: &str| {
        format!(
            "[Unit]\nDescription={description}\nAfter=network-online.target\nWants=network-online.target\n\n"
        )
    };
    let stays = "Restart=on-failure\nRestartSec=30\n\n[Install]\nWantedBy=multi-user.target\n";
    let timer = format!(
        "[Unit]\nDescription=Back up what is due\n\n[Timer]\nOnCalendar={calendar}\nRandomizedDelaySec={delay}\nPersistent=true\n\n\
         [Install]\nWantedBy=timers.target\n"
    );
    vec![
        ("mainstay.service", unit("Back up what is due") + &service("oneshot", "run --due")),
        ("mainstay.timer", timer),
        (
            "mainstay-serve.service",
            unit("Back up what is due, instead of mainstay.timer") + &service("exec", "serve") + stays,
        ),
        (
            "mainstay-watch.service",
            unit("Alarm on backups that are missing") + &service("exec", "watch") + stays,
        ),
    ]
}

fn cron(order: &Manifests, configuration: &str) -> Result<Vec<File>> {
    let Manifests { user, binary, .. } = order;
    let calendar = order.calendar.as_deref().unwrap_or(CRON);
    Schedule::parse(calendar, &TimeZone::UTC).map_err(|error| CliError::usage(error.to_string()))?;
    let text = format!(
        "# What is due is backed up; success is one line for each backup, and everything else an exit code that is not 0.\n\
         PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         {calendar} {user} {} --config {configuration} run --due >> /var/log/mainstay/mainstay.log 2>&1\n",
        binary.display()
    );
    Ok(vec![("mainstay", text)])
}

//! A secret that a command prints: the first line of its output.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::error::{SecretError, Variable};

/// A command that waits for somebody would stop every backup.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Bytes of its complaint that are shown.
const COMPLAINT_MAX: u64 = 500;

/// Variables that open keepers of secrets. A face that starts other programs keeps them from those.
pub const CREDENTIALS: [&str; 4] =
    ["SOPS_AGE_KEY", "INFISICAL_CLIENT_SECRET", "VAULT_TOKEN", "VAULT_SECRET_ID"];
/// What a program that fetches secrets may need besides, to ask a cloud.
const CLOUD: [&str; 4] =
    ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET", "GOOGLE_OAUTH_ACCESS_TOKEN"];

/// What `command` prints, run by the shell.
pub(crate) fn read(command: &str, variable: &Variable<'_>) -> Result<Zeroizing<String>, SecretError> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command);
    run(shell, variable)
}

/// What `order` prints. It alone of all programs that we start is given what opens keepers: that is its work.
pub(crate) fn run(mut order: Command, variable: &Variable<'_>) -> Result<Zeroizing<String>, SecretError> {
    let failed = |cause: std::io::Error| SecretError::Command(cause.to_string());
    for name in CREDENTIALS.iter().chain(&CLOUD) {
        if let Some(value) = variable(name) {
            order.env(name, value.expose());
        }
    }
    order.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = order.spawn().map_err(failed)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let output = std::thread::spawn(move || {
        let mut text = Zeroizing::new(String::new());
        stdout.map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut text)).map(|_| text)
    });
    let complaint = std::thread::spawn(move || {
        let mut words = vec![];
        if let Some(pipe) = stderr {
            // What it says behind that is read too, so that it never waits for us.
            let mut pipe = pipe;
            drop(pipe.by_ref().take(COMPLAINT_MAX).read_to_end(&mut words));
            drop(std::io::copy(&mut pipe, &mut std::io::sink()));
        }
        String::from_utf8_lossy(&words).trim().replace('\n', "; ")
    });
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if began.elapsed() > PATIENCE {
            drop(child.kill());
            drop(child.wait());
            return Err(SecretError::Command(format!("no answer after {} s", PATIENCE.as_secs())));
        }
        std::thread::sleep(LOOK_EVERY);
    };
    let words = complaint.join().unwrap_or_default();
    if !status.success() {
        return Err(SecretError::Command(format!(
            "{status}{}{words}",
            if words.is_empty() { "" } else { ": " }
        )));
    }
    let stopped = || SecretError::Command("its output could not be read".to_owned());
    output.join().map_err(|_| stopped())?.map_err(failed)
}

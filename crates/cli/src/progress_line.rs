//! One line on the terminal that tells how far a long verb is; and at its end, what it has to warn of.

use std::io::Write;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::progress::Progress;
use model::size::ByteSize;

use crate::face::Face;

const DRAW_EVERY: Duration = Duration::from_millis(200);

/// Draws until it is dropped.
pub(crate) struct ProgressLine {
    face: Face,
    progress: Progress,
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ProgressLine {
    /// Draw what `progress` tells, if the face has a terminal.
    pub(crate) fn start(face: &Face, progress: &Progress) -> Self {
        let own = |stop, thread| Self { face: face.clone(), progress: progress.clone(), stop, thread };
        if !face.has_progress() {
            return own(None, None);
        }
        let progress = progress.clone();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let start = Instant::now();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(DRAW_EVERY) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                draw(&line(&progress, start.elapsed()));
            }
            draw("");
        });
        own(Some(stop), Some(thread))
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        self.progress.take_warnings().iter().for_each(|words| self.face.warn(words));
    }
}

/// A terminal that has gone stops nothing.
fn draw(line: &str) {
    drop(write!(std::io::stderr(), "\r\x1b[K{line}"));
}

fn line(progress: &Progress, elapsed: Duration) -> String {
    let seen = progress.look();
    let done = ByteSize(seen.bytes);
    let share = match seen.bytes_total {
        0 => done.to_string(),
        total => format!("{done} of {} ({}%)", ByteSize(total), seen.bytes.saturating_mul(100) / total),
    };
    let rate = ByteSize((seen.bytes as f64 / elapsed.as_secs_f64().max(0.001)) as u64);
    let items = if seen.items > 0 { format!(", {} items", seen.items) } else { String::new() };
    format!("{}: {share}{items}, {rate}/s, {}s", seen.phase, elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_share_and_rate() {
        let progress = Progress::new();
        progress.begin("dumping", 4 << 20);
        progress.advance(1 << 20);
        let line = line(&progress, Duration::from_secs(2));
        assert_eq!(line, "dumping: 1.0MiB of 4.0MiB (25%), 512.0KiB/s, 2s");
    }
}

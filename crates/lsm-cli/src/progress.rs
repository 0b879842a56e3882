//! The progress bar of a load, on a terminal only: elsewhere it is silent.

use crate::units::thousands;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Read};

/// How far a load is: bytes read of all bytes, entries, rate and remaining time.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Starts; `total_bytes` is not known for a pipe.
    pub(crate) fn start(total_bytes: Option<u64>) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(total_bytes, target);
        let template = match total_bytes {
            Some(_) => "{bar:28} {percent:>3}%  {msg}  {bytes_per_sec}  ETA {eta}",
            None => "{spinner} {bytes}  {msg}  {bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// A reader that counts what is read through it.
    pub(crate) fn watch<R: Read>(&self, reader: R) -> impl Read + use<R> {
        self.bar.wrap_read(reader)
    }

    /// Shows how many entries are loaded.
    pub(crate) fn entries(&self, count: u64) {
        if !self.bar.is_hidden() {
            self.bar.set_message(format!("{} entries", thousands(count)));
        }
    }
}

/// Takes the bar off the screen, on errors as well.
impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

//! [`Calls`]: the calls in the threads of applications that closing has to wait for,
//! because they write files. Used by [`Engine`](crate::engine::Engine); never does I/O.

use lsm_sync::{Condvar, Mutex};

/// How many calls are under way. `Send + Sync`.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Guards itself, and makes "look whether the store is open, and enter" one step.
    count: Mutex<usize>,
    /// Signalled when one ends.
    ended: Condvar,
}

/// One such call, until dropped.
#[derive(Debug)]
pub(crate) struct Call<'a>(&'a Calls);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        *self.0.count.lock() -= 1;
        if !lsm_sync::mutant("tree.call_ends_in_silence") {
            self.0.ended.notify_all();
        }
    }
}

impl Calls {
    /// Enters, unless `check` says that the store is closed.
    pub(crate) fn begin<E>(&self, check: impl Fn() -> Result<(), E>) -> Result<Call<'_>, E> {
        if lsm_sync::mutant("tree.call_checked_before_the_lock") {
            check()?;
            *self.count.lock() += 1;
            return Ok(Call(self));
        }
        let mut count = self.count.lock();
        check()?;
        *count += 1;
        Ok(Call(self))
    }

    /// Blocks until no call is under way. Called once the store is closed: whoever has
    /// looked before that has entered when this gets the lock, or holds it still.
    pub(crate) fn wait(&self) {
        let mut count = self.count.lock();
        while *count > 0 {
            self.ended.wait(&mut count);
            if lsm_sync::mutant("tree.close_waits_for_one_call") {
                break;
            }
        }
    }
}

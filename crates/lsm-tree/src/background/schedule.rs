//! [`Scheduler`]: the queue of background jobs, the threads that run them, and every
//! wait for them. In deterministic execution there are no threads: whoever waits
//! runs the jobs itself, in an order chosen by a seed.

use crate::env::Clock;
use crate::options::Execution;
use lsm_sync::atomic::{AtomicBool, Ordering};
use lsm_sync::thread::JoinHandle;
use lsm_sync::{Condvar, Mutex, mutant};
use lsm_types::batch::KeyspaceId;
use lsm_vfs::SplitMix64;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What the scheduler asks of a job.
pub(crate) trait Job: Clone + PartialEq + Send + std::fmt::Debug + 'static {
    /// Whether the job may take long; at least one thread is kept free of such jobs.
    fn is_long(&self) -> bool;

    /// Whether there are quick jobs.
    const HAS_QUICK: bool = false;

    /// Whether it takes a moment, and the foreground is slower until it is done: such jobs
    /// have a thread of their own.
    fn is_quick(&self) -> bool {
        false
    }
}

/// What a thread runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Quick jobs alone.
    Quick,
    /// All others.
    Heavy,
}

/// The jobs of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Write the sealed memtables of a keyspace into tables.
    Flush(KeyspaceId),
    /// Make one step towards the shape that the keyspace's strategy wants.
    Compact(KeyspaceId),
    /// See whether the keyspace rests, and if so, queue a `Tidy`.
    LookForRest(KeyspaceId),
    /// Do what the strategy deems worth doing at rest.
    Tidy(KeyspaceId),
    /// Make the file of the next log segment.
    PrepareLog,
    /// Remove log segments whose records are all in tables.
    ReleaseLog,
    /// Drop what closed snapshots and iterators no longer need.
    Sweep,
}

impl Job for Work {
    const HAS_QUICK: bool = true;

    fn is_long(&self) -> bool {
        matches!(self, Self::Compact(_) | Self::Tidy(_))
    }

    fn is_quick(&self) -> bool {
        matches!(self, Self::PrepareLog)
    }
}

/// The queue and its threads. `Send + Sync`.
#[derive(Debug)]
pub(crate) struct Scheduler<J> {
    /// Guards the queue. Nothing is called under it: a condition may drop the last
    /// holder of a table, and that queues a sweep.
    queue: Mutex<Queue<J>>,
    /// Signalled when there may be something to run; its waiters are the heavy threads.
    work: Condvar,
    /// The same for the quick thread.
    quick_work: Condvar,
    /// Signalled when a job ended; its waiters are in `wait_until`.
    ended: Condvar,
    execution: Execution,
    /// In deterministic execution: tells what is due, and passes the time when nothing but
    /// delayed jobs is left. Set once, before anything is queued; without one, delayed jobs
    /// are queued at once and timers never.
    time: OnceLock<Arc<dyn Clock>>,
    /// Read by running jobs, so that they end early.
    is_closing: AtomicBool,
    /// The threads, until `close` takes them. Held by `start` and `close` alone.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Queue<J> {
    quick: VecDeque<J>,
    short: VecDeque<J>,
    long: VecDeque<J>,
    /// Jobs to queue later, with the monotonic time in nanoseconds.
    delayed: Vec<(u64, J)>,
    /// As `delayed`, for looks that may find nothing to do: nobody waits for them.
    timers: Vec<(u64, J)>,
    running: usize,
    running_long: usize,
    /// Counts what may have changed the answer of a condition, so that a waiter that
    /// asks without the lock misses nothing.
    events: u64,
    is_closing: bool,
    random: SplitMix64,
}

impl<J: Job> Queue<J> {
    fn push(&mut self, job: J) {
        let queue = match () {
            () if job.is_quick() => &mut self.quick,
            () if job.is_long() => &mut self.long,
            () => &mut self.short,
        };
        if !queue.contains(&job) {
            queue.push_back(job);
        }
    }

    fn is_empty(&self) -> bool {
        let waiting = self.quick.len() + self.short.len() + self.long.len() + self.delayed.len();
        waiting + self.running == 0
    }

    /// Moves delayed jobs whose time has come; the nanoseconds to the next one.
    fn wake_delayed(&mut self, now_ns: u64) -> Option<u64> {
        let is_due = |(at, _): &mut (u64, J)| *at <= now_ns;
        let due: Vec<J> = self
            .delayed
            .extract_if(.., is_due)
            .chain(self.timers.extract_if(.., is_due))
            .map(|(_, job)| job)
            .collect();
        for job in due {
            self.push(job);
        }
        self.delayed.iter().chain(&self.timers).map(|(at, _)| at.saturating_sub(now_ns)).min()
    }

    /// Takes the next job for a thread of `lane` that may run while `long_limit` long ones may.
    fn take(&mut self, lane: Lane, long_limit: usize) -> Option<J> {
        let job = match lane {
            Lane::Quick => self.quick.pop_front()?,
            Lane::Heavy => match self.short.pop_front() {
                Some(job) => job,
                None if self.running_long < long_limit => self.long.pop_front()?,
                None => return None,
            },
        };
        self.running += 1;
        self.running_long += usize::from(job.is_long());
        Some(job)
    }

    /// Takes any job, as the seed will have it.
    fn take_any(&mut self) -> Option<J> {
        let count = self.quick.len() + self.short.len() + self.long.len();
        let mut index = self.random.below(count.max(1) as u64) as usize;
        let mut job = None;
        for queue in [&mut self.quick, &mut self.short, &mut self.long] {
            match index.checked_sub(queue.len()) {
                Some(beyond) => index = beyond,
                None => {
                    job = queue.remove(index);
                    break;
                }
            }
        }
        let job = job?;
        self.running += 1;
        self.running_long += usize::from(job.is_long());
        Some(job)
    }
}

impl<J: Job> Scheduler<J> {
    pub(crate) fn new(execution: Execution) -> Self {
        let seed = match execution {
            Execution::Threads(_) => 0,
            Execution::Deterministic { seed } => seed,
        };
        let queue = Queue {
            quick: VecDeque::new(),
            short: VecDeque::new(),
            long: VecDeque::new(),
            delayed: Vec::new(),
            timers: Vec::new(),
            running: 0,
            running_long: 0,
            events: 0,
            is_closing: false,
            random: SplitMix64::new(seed),
        };
        Self {
            queue: Mutex::new(queue),
            work: Condvar::new(),
            quick_work: Condvar::new(),
            ended: Condvar::new(),
            execution,
            time: OnceLock::new(),
            is_closing: AtomicBool::new(false),
            threads: Mutex::new(Vec::new()),
        }
    }

    /// Has deterministic execution go by `clock`.
    pub(crate) fn keep_time(&self, clock: Arc<dyn Clock>) {
        let _first_wins = self.time.set(clock);
    }

    /// Whether no time passes for delayed jobs.
    fn is_timeless(&self) -> bool {
        matches!(self.execution, Execution::Deterministic { .. }) && self.time.get().is_none()
    }

    /// Takes any job that is due, in deterministic execution. The nanoseconds to the next
    /// delayed one, when there is none.
    fn take_due(&self, queue: &mut Queue<J>) -> Result<J, Option<u64>> {
        let now_ns = self.time.get().map_or(0, |clock| clock.monotonic_ns());
        queue.wake_delayed(now_ns);
        let next_ns = queue.delayed.iter().map(|(at, _)| at.saturating_sub(now_ns)).min();
        queue.take_any().ok_or(next_ns)
    }

    /// Starts the threads; each calls `body`, which is to call
    /// [`run_until_closed`](Self::run_until_closed).
    pub(crate) fn start<F>(&self, mut body: impl FnMut(Lane) -> F) -> std::io::Result<()>
    where
        F: FnOnce() + Send + 'static,
    {
        let Execution::Threads(count) = self.execution else { return Ok(()) };
        let mut threads = self.threads.lock();
        for index in 0..count.max(2) {
            let name = format!("lsm-background-{index}");
            threads.push(lsm_sync::thread::spawn_named(name, body(Lane::Heavy))?);
        }
        if J::HAS_QUICK {
            threads.push(lsm_sync::thread::spawn_named("lsm-quick".to_owned(), body(Lane::Quick))?);
        }
        Ok(())
    }

    /// A thread's life: runs jobs until [`close`](Self::close).
    pub(crate) fn run_until_closed(&self, lane: Lane, now_ns: impl Fn() -> u64, run: impl Fn(J)) {
        let Execution::Threads(count) = self.execution else { return };
        let long_limit = count.max(2) - usize::from(!mutant("tree.long_jobs_take_every_thread"));
        let mut queue = self.queue.lock();
        while !queue.is_closing {
            // No quick job is ever delayed, so only heavy threads look at the time.
            let next_delayed_ns = match lane {
                Lane::Heavy => queue.wake_delayed(now_ns()),
                Lane::Quick => None,
            };
            if let Some(job) = queue.take(lane, long_limit) {
                drop(queue);
                run(job.clone());
                queue = self.queue.lock();
                self.finish(&mut queue, &job);
            } else if lane == Lane::Quick {
                self.quick_work.wait(&mut queue);
            } else if let Some(wait_ns) = next_delayed_ns {
                self.work.wait_for(&mut queue, Duration::from_nanos(wait_ns.max(1_000_000)));
            } else {
                self.work.wait(&mut queue);
            }
        }
    }

    fn finish(&self, queue: &mut Queue<J>, job: &J) {
        queue.running -= 1;
        queue.running_long -= usize::from(job.is_long());
        queue.events += u64::from(!mutant("tree.ended_job_is_no_event"));
        if !mutant("tree.ended_job_wakes_nobody") {
            self.ended.notify_all();
        }
        if !queue.short.is_empty() || !queue.long.is_empty() {
            self.work.notify_one();
        }
    }

    /// Queues `job`, unless an equal one waits already.
    pub(crate) fn submit(&self, job: J) {
        let mut queue = self.queue.lock();
        if !queue.is_closing {
            let is_quick = job.is_quick() && !mutant("tree.quick_job_wakes_a_heavy_thread");
            let work = if is_quick { &self.quick_work } else { &self.work };
            queue.push(job);
            if !mutant("tree.submit_wakes_nobody") {
                work.notify_one();
            }
        }
    }

    /// Queues `job` at the monotonic time `at_ns`.
    pub(crate) fn submit_at(&self, at_ns: u64, job: J) {
        if self.is_timeless() {
            return self.submit(job);
        }
        let mut queue = self.queue.lock();
        if !queue.is_closing && !queue.delayed.iter().any(|(_, waiting)| *waiting == job) {
            queue.delayed.push((at_ns, job));
            if !mutant("tree.delayed_job_wakes_nobody") {
                self.work.notify_one();
            }
        }
    }

    /// Queues `job` at the monotonic time `at_ns`, without anybody waiting for that; one
    /// equal job at most.
    pub(crate) fn set_timer(&self, at_ns: u64, job: J) {
        if self.is_timeless() {
            return;
        }
        let mut queue = self.queue.lock();
        queue.timers.retain(|(_, waiting)| *waiting != job);
        if !queue.is_closing {
            queue.timers.push((at_ns, job));
            self.work.notify_one();
        }
    }

    /// Blocks until `condition`, which is asked again after each job, holds. False
    /// when the scheduler closed first, or when nothing is left that could make it
    /// true (deterministic execution).
    pub(crate) fn wait_until(&self, condition: impl Fn() -> bool, run: impl Fn(J)) -> bool {
        loop {
            let early = mutant("tree.condition_before_the_count").then(&condition);
            let (seen, is_closing) = {
                let queue = self.queue.lock();
                (queue.events, queue.is_closing)
            };
            if early.unwrap_or_else(&condition) {
                return true;
            }
            if is_closing {
                return false;
            }
            let mut queue = self.queue.lock();
            match self.execution {
                Execution::Threads(_) => {
                    if mutant("tree.waiter_sleeps_whatever_happened") {
                        self.ended.wait(&mut queue);
                    }
                    while queue.events == seen && !queue.is_closing {
                        self.ended.wait(&mut queue);
                    }
                }
                Execution::Deterministic { .. } if queue.events != seen => {}
                Execution::Deterministic { .. } => {
                    let taken = self.take_due(&mut queue);
                    drop(queue);
                    let job = match (taken, self.time.get()) {
                        (Ok(job), _) => job,
                        (Err(Some(pause_ns)), Some(clock)) => {
                            clock.sleep(Duration::from_nanos(pause_ns));
                            continue;
                        }
                        _ => return false,
                    };
                    run(job.clone());
                    self.finish(&mut self.queue.lock(), &job);
                }
            }
        }
    }

    /// Blocks until nothing is queued or running, or `gives_up` says so. False when
    /// closed first.
    pub(crate) fn wait_idle_unless(&self, gives_up: impl Fn() -> bool, run: impl Fn(J)) -> bool {
        self.wait_until(|| gives_up() || self.queue.lock().is_empty(), run)
    }

    /// In deterministic execution, sometimes runs one job, as the seed will have it:
    /// called where other threads could come between.
    pub(crate) fn interleave(&self, run: impl Fn(J)) {
        if !matches!(self.execution, Execution::Deterministic { .. }) {
            return;
        }
        let mut queue = self.queue.lock();
        if queue.is_closing || !queue.random.one_in(4) {
            return;
        }
        if let Ok(job) = self.take_due(&mut queue) {
            drop(queue);
            run(job.clone());
            let mut queue = self.queue.lock();
            self.finish(&mut queue, &job);
        }
    }

    /// Wakes those in `wait_until`, because something other than a job changed what
    /// they wait for.
    pub(crate) fn wake_waiters(&self) {
        self.queue.lock().events += u64::from(!mutant("tree.change_is_no_event"));
        self.ended.notify_all();
    }

    /// Whether running jobs should end early.
    pub(crate) fn is_closing(&self) -> bool {
        // Relaxed: a hint; what orders the end is the queue's lock and the join.
        self.is_closing.load(Ordering::Relaxed)
    }

    /// Drops what is queued, lets running jobs end and joins the threads.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
        let mut queue = self.queue.lock();
        queue.is_closing = true;
        queue.quick.clear();
        queue.short.clear();
        queue.long.clear();
        queue.delayed.clear();
        queue.timers.clear();
        if mutant("tree.close_wakes_one_thread") {
            self.work.notify_one();
        } else {
            self.work.notify_all();
        }
        self.quick_work.notify_all();
        if !mutant("tree.close_wakes_no_waiter") {
            self.ended.notify_all();
        }
        drop(queue);
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads.into_iter().skip(usize::from(mutant("tree.close_joins_all_but_one"))) {
            // A job that panicked has told so on stderr; there is nobody to tell more.
            let _panicked = thread.join();
        }
    }

    /// Jobs that wait, and jobs that run.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.quick.len() + queue.short.len() + queue.long.len() + queue.delayed.len(), queue.running)
    }
}

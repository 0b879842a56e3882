//! The scheduler: no job and no waiter is forgotten, closing joins whatever is queued or
//! runs, and long jobs leave a thread free. A wake-up that is lost shows as a deadlock.

use crate::background::schedule::{Job, Lane, Scheduler};
use crate::options::Execution;
use lsm_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use lsm_sync::{Arc, Condvar, Mutex, thread};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Task {
    Short(u64),
    Long(u64),
    Quick,
}

impl Job for Task {
    fn is_quick(&self) -> bool {
        matches!(self, Self::Quick)
    }

    fn is_long(&self) -> bool {
        matches!(self, Self::Long(_))
    }
}

type Tasks = Arc<Scheduler<Task>>;

fn scheduler() -> Tasks {
    Arc::new(Scheduler::new(Execution::Threads(2)))
}

/// One thread that works, as `start` makes them.
fn worker(tasks: &Tasks, run: impl Fn(Task) + Send + 'static) -> thread::JoinHandle<()> {
    let tasks = Arc::clone(tasks);
    thread::spawn(move || tasks.run_until_closed(Lane::Heavy, || 0, run))
}

/// Starts both threads.
fn start(tasks: &Tasks, run: impl Fn(Task) + Clone + Send + 'static) {
    let started = tasks.start(|_| {
        let (tasks, run) = (Arc::clone(tasks), run.clone());
        move || tasks.run_until_closed(Lane::Heavy, || 0, run)
    });
    started.unwrap();
}

fn nobody_runs(task: Task) {
    unreachable!("a waiter ran {task:?} though there are threads")
}

#[test]
fn a_waiter_wakes_when_a_job_has_brought_about_what_it_waits_for() {
    lsm_sync::model(|| {
        let tasks = scheduler();
        // Relaxed, as the conditions of waiters may be: the queue's lock orders.
        let is_done = Arc::new(AtomicBool::new(false));
        let worker = {
            let is_done = Arc::clone(&is_done);
            worker(&tasks, move |_| is_done.store(true, Ordering::Relaxed))
        };
        tasks.submit(Task::Short(1));
        assert!(tasks.wait_until(|| is_done.load(Ordering::Relaxed), nobody_runs));
        tasks.close();
        worker.join().unwrap();
    });
}

#[test]
fn a_quick_job_runs_though_the_other_thread_is_asleep() {
    lsm_sync::model(|| {
        let tasks = scheduler();
        let is_done = Arc::new(AtomicBool::new(false));
        let heavy = worker(&tasks, |task| unreachable!("a heavy thread ran {task:?}"));
        let quick = {
            let (tasks, is_done) = (Arc::clone(&tasks), Arc::clone(&is_done));
            let run = move |_| is_done.store(true, Ordering::Relaxed);
            thread::spawn(move || tasks.run_until_closed(Lane::Quick, || 0, run))
        };
        tasks.submit(Task::Quick);
        assert!(tasks.wait_until(|| is_done.load(Ordering::Relaxed), nobody_runs));
        tasks.close();
        heavy.join().unwrap();
        quick.join().unwrap();
    });
}

#[test]
fn a_waiter_wakes_when_another_thread_says_that_something_changed() {
    lsm_sync::model(|| {
        let tasks = scheduler();
        let is_done = Arc::new(AtomicBool::new(false));
        let waiter = {
            let (tasks, is_done) = (Arc::clone(&tasks), Arc::clone(&is_done));
            thread::spawn(move || tasks.wait_until(|| is_done.load(Ordering::Relaxed), nobody_runs))
        };
        is_done.store(true, Ordering::Relaxed);
        tasks.wake_waiters();
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn every_job_of_two_callers_runs_before_idleness() {
    lsm_sync::model(|| {
        let tasks = scheduler();
        let work = Arc::new(AtomicU64::new(0));
        let worker = {
            let work = Arc::clone(&work);
            worker(&tasks, move |_| {
                work.swap(0, Ordering::Relaxed);
            })
        };
        let other = {
            let (tasks, work) = (Arc::clone(&tasks), Arc::clone(&work));
            thread::spawn(move || {
                work.fetch_add(1, Ordering::Relaxed);
                // Equal to the other one, which may be queued, or run already.
                tasks.submit(Task::Short(1));
            })
        };
        work.fetch_add(1, Ordering::Relaxed);
        tasks.submit(Task::Short(1));
        other.join().unwrap();
        assert!(tasks.wait_idle_unless(|| false, nobody_runs));
        assert_eq!(work.load(Ordering::Relaxed), 0, "work that was asked for was not done");
        tasks.close();
        worker.join().unwrap();
    });
}

#[test]
fn a_delayed_job_runs_and_idleness_waits_for_it() {
    lsm_sync::model(|| {
        let tasks = scheduler();
        let runs = Arc::new(AtomicU64::new(0));
        let worker = {
            let runs = Arc::clone(&runs);
            worker(&tasks, move |_| {
                runs.fetch_add(1, Ordering::Relaxed);
            })
        };
        // Due at once: time does not pass here.
        tasks.submit_at(0, Task::Short(1));
        assert!(tasks.wait_idle_unless(|| false, nobody_runs));
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        tasks.close();
        worker.join().unwrap();
    });
}

#[test]
fn long_jobs_leave_a_thread_to_the_short_one_that_ends_them() {
    lsm_sync::model_at_most(2, || {
        let tasks = scheduler();
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        start(&tasks, {
            let gate = Arc::clone(&gate);
            move |task| {
                let mut is_open = gate.0.lock();
                if task.is_long() {
                    // As a compaction on which nobody waits but a flush.
                    while !*is_open {
                        gate.1.wait(&mut is_open);
                    }
                } else {
                    *is_open = true;
                    gate.1.notify_all();
                }
            }
        });
        tasks.submit(Task::Long(1));
        tasks.submit(Task::Long(2));
        tasks.submit(Task::Short(3));
        assert!(tasks.wait_idle_unless(|| false, nobody_runs));
        tasks.close();
    });
}

#[test]
fn closing_joins_every_thread_while_jobs_are_queued_and_run() {
    lsm_sync::model_at_most(2, || {
        let tasks = scheduler();
        let begun = Arc::new((Mutex::new(false), Condvar::new()));
        let running = Arc::new(AtomicU64::new(0));
        start(&tasks, {
            let (begun, running) = (Arc::clone(&begun), Arc::clone(&running));
            move |_| {
                running.fetch_add(1, Ordering::Relaxed);
                *begun.0.lock() = true;
                begun.1.notify_all();
                running.fetch_sub(1, Ordering::Relaxed);
            }
        });
        tasks.submit(Task::Long(1));
        tasks.submit(Task::Short(2));
        let mut has_begun = begun.0.lock();
        while !*has_begun {
            begun.1.wait(&mut has_begun);
        }
        drop(has_begun);
        tasks.close();
        assert_eq!(running.swap(100, Ordering::Relaxed), 0, "closing left a job running");
        tasks.submit(Task::Short(3));
        tasks.submit_at(0, Task::Short(4));
        assert_eq!(tasks.counts(), (0, 0), "a job was taken after closing");
        assert_eq!(running.load(Ordering::Relaxed), 100, "a job ran after closing");
    });
}

#[test]
fn closing_releases_whoever_waits() {
    lsm_sync::model(|| {
        let tasks = scheduler();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let tasks = Arc::clone(&tasks);
                thread::spawn(move || tasks.wait_until(|| false, nobody_runs))
            })
            .collect();
        tasks.close();
        for waiter in waiters {
            assert!(!waiter.join().unwrap(), "what never happened was said to have happened");
        }
    });
}

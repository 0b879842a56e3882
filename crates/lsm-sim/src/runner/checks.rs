//! The reads of a script and every comparison with the model. Nothing here writes,
//! except to a checkpoint.

use super::{HeldItems, KeptCheckpoint, Runner};
use crate::answer::{Answer, Entry, difference, take};
use crate::engine::{Engine, Handle, Reader, Stop, take_items};
use crate::generate::SLOTS;
use crate::model::ModelSnapshot;
use crate::read::{Order, Read, View};
use crate::text::Bounds;
use lsm_types::KeySpan;
use std::collections::BTreeMap;

/// The keyspaces there are, by name.
pub(crate) fn same_names(engine: &Engine, expected: &[u8]) -> Result<(), Stop> {
    let got = engine.keyspace_names();
    let expected: Vec<String> = expected.iter().map(|&keyspace| Engine::name(keyspace)).collect();
    if got == expected {
        Ok(())
    } else {
        Err(Stop::Differs(format!("keyspaces: expected {expected:?}, got {got:?}")))
    }
}

impl Runner {
    pub(super) fn read(&self, view: View, keyspace: u8, read: &Read) -> Result<(), Stop> {
        let Some((reader, handle, model)) = self.view(view, keyspace) else { return Ok(()) };
        let got = handle.read(reader, read)?;
        if self.lossy.contains(&keyspace) {
            let entries = self.model.range(&model, keyspace, &KeySpan::all());
            let expected = Answer::expected(&entries, read);
            let fits = got.is_within(&expected, &entries);
            return if fits { Ok(()) } else { Err(Stop::Differs(difference(&expected, &got))) };
        }
        let expected = match read {
            Read::Get(key) => Answer::Value(self.model.get(&model, keyspace, key)),
            _ => {
                let entries = self.model.range(&model, keyspace, &Answer::needed_span(read));
                Answer::expected(&entries, read)
            }
        };
        if got == expected { Ok(()) } else { Err(Stop::Differs(difference(&expected, &got))) }
    }

    /// Whom to ask, through which handle, and what the model calls it.
    fn view(&self, view: View, keyspace: u8) -> Option<(Option<&Reader>, &Handle, ModelSnapshot)> {
        match view {
            View::Live => Some((None, self.handles.get(&keyspace)?, self.model.snapshot())),
            View::Slot(slot) => {
                let held = self.slots.get(&(slot % SLOTS))?;
                let handle = held.handles.get(&keyspace).or_else(|| self.handles.get(&keyspace))?;
                Some((Some(&held.reader), handle, held.model.clone()))
            }
        }
    }

    pub(super) fn hold(&mut self, slot: u8, view: View, keyspace: u8, bounds: &Bounds) -> Result<(), Stop> {
        let Some((reader, handle, model)) = self.view(view, keyspace) else { return Ok(()) };
        let items = handle.range(reader, bounds);
        let expected = self.model.range(&model, keyspace, &bounds.span());
        let lossy = self.lossy.contains(&keyspace).then(|| expected.clone());
        self.iterators.insert(slot % SLOTS, HeldItems { items, expected: expected.into(), lossy });
        Ok(())
    }

    pub(super) fn take(&mut self, slot: u8, count: usize, order: Order) -> Result<(), Stop> {
        let Some(held) = self.iterators.get_mut(&(slot % SLOTS)) else { return Ok(()) };
        let got = Answer::Entries(take_items(&mut held.items, count, order)?);
        let expected = Answer::Entries(take(&mut held.expected, count, order));
        let fits = match &held.lossy {
            Some(entries) => got.is_within(&expected, entries),
            None => got == expected,
        };
        if fits { Ok(()) } else { Err(Stop::Differs(difference(&expected, &got))) }
    }

    pub(super) fn checkpoint(&mut self) -> Result<(), Stop> {
        self.checkpoints += 1;
        let copy = self.config.beside(&format!("checkpoint-{}", self.checkpoints));
        let now = self.model.snapshot();
        if let Some(kept) = &mut self.kept_checkpoints {
            let all = |keyspace| (keyspace, self.model.range(&now, keyspace, &KeySpan::all()));
            let entries = self.model.keyspaces().into_iter().map(all).collect();
            kept.push(KeptCheckpoint { config: copy.clone(), entries, is_promised: false });
        }
        self.engine()?.checkpoint(&copy)?;
        if let Some(last) = self.kept_checkpoints.as_mut().and_then(|kept| kept.last_mut()) {
            last.is_promised = true;
        }
        let engine = Engine::open(&copy)?;
        same_names(&engine, &self.model.keyspaces())?;
        for keyspace in self.model.keyspaces() {
            let handle = engine.keyspace(keyspace, self.config.options_of(keyspace).clone())?;
            let what = format!("keyspace {keyspace} of the checkpoint");
            self.compare(&what, None, &handle, &now, keyspace)?;
            if self.kept_checkpoints.is_none() {
                handle.clear()?;
            }
        }
        engine.close()?;
        if self.kept_checkpoints.is_none() {
            copy.remove()?;
        }
        Ok(())
    }

    /// Compares all that can be read: the present and every snapshot.
    pub(crate) fn verify(&self) -> Result<(), Stop> {
        same_names(self.engine()?, &self.model.keyspaces())?;
        let now = self.model.snapshot();
        for (&keyspace, handle) in &self.handles {
            self.compare(&format!("keyspace {keyspace}"), None, handle, &now, keyspace)?;
        }
        for (slot, held) in &self.slots {
            for (&keyspace, handle) in &held.handles {
                let what = format!("keyspace {keyspace} at snapshot {slot}");
                self.compare(&what, Some(&held.reader), handle, &held.model, keyspace)?;
            }
            for (&keyspace, handle) in &self.handles {
                if held.model.incarnation(keyspace) != now.incarnation(keyspace) {
                    let got = handle.read(Some(&held.reader), &Read::Iter(Order::Forward))?;
                    if got != Answer::Entries(Vec::new()) {
                        return Err(Stop::Differs(format!(
                            "keyspace {keyspace} is younger than snapshot {slot}, which sees {got}"
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    fn compare(
        &self,
        what: &str,
        reader: Option<&Reader>,
        handle: &Handle,
        model: &ModelSnapshot,
        keyspace: u8,
    ) -> Result<(), Stop> {
        let entries = self.model.range(model, keyspace, &KeySpan::all());
        for read in [Read::Iter(Order::Forward), Read::Iter(Order::Reverse), Read::Len] {
            let expected = Answer::expected(&entries, &read);
            let got = handle.read(reader, &read)?;
            let fits = if self.lossy.contains(&keyspace) {
                got.is_within(&expected, &entries)
            } else {
                got == expected
            };
            if !fits {
                return Err(Stop::Differs(format!("{what}: {}", difference(&expected, &got))));
            }
        }
        Ok(())
    }

    /// All entries of the keyspaces there are, as they are now.
    pub(crate) fn read_all(&self) -> Result<BTreeMap<u8, Vec<Entry>>, Stop> {
        let mut found = BTreeMap::new();
        for (&keyspace, handle) in &self.handles {
            if let Answer::Entries(entries) = handle.read(None, &Read::Iter(Order::Forward))? {
                found.insert(keyspace, entries);
            }
        }
        Ok(found)
    }

    /// Whether `found` is what the model holds behind the commit that ended at `end`.
    pub(crate) fn is_as_of(&self, end: lsm_types::SeqNo, found: &BTreeMap<u8, Vec<Entry>>) -> bool {
        let then = self.model.at(end);
        found.iter().all(|(&keyspace, got)| {
            let entries = self.model.range(&then, keyspace, &KeySpan::all());
            if self.lossy.contains(&keyspace) {
                let got = Answer::Entries(got.clone());
                got.is_within(&Answer::Entries(entries.clone()), &entries)
            } else {
                *got == entries
            }
        })
    }
}

//! Envelopes that were read before: clients mostly send the same endpoint and policy with ever other rows, and to read,
//! check and compile these costs a small request half of its time.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{envelope::Envelope, node::Node};

/// So many are kept for sure, and at most twice as many.
const KEPT: usize = 128;
/// The longest text of one that is kept, in bytes.
const LONGEST: usize = 4 * 1024;

/// Envelopes by their text. What was not asked for while many others came is forgotten.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    young: HashMap<Box<str>, Arc<Envelope>>,
    old: HashMap<Box<str>, Arc<Envelope>>,
}

impl Known {
    /// The envelope of this text, read by `read` where it is not known. That one tells, too, whether it may be kept: of
    /// what is wrong each request is to be told.
    pub(super) fn get(
        &self,
        endpoint: Option<&Node<'_>>,
        policy: Option<&Node<'_>>,
        read: impl FnOnce() -> (Option<Envelope>, bool),
    ) -> Option<Arc<Envelope>> {
        let length = |node: Option<&Node<'_>>| node.map_or(0, |node| node.json.text().len());
        if endpoint.is_none() || length(endpoint) + length(policy) > LONGEST {
            return read().0.map(Arc::new);
        }
        // Each text is a JSON object where it is right: where one ends and the other begins is no question.
        let texts = [endpoint, policy].map(|node| node.map_or("", |node| node.json.text()));
        let key = texts.concat();
        if let Some(known) = self.kept().get(&key) {
            return Some(known);
        }
        let (envelope, is_right) = read();
        let envelope = Arc::new(envelope?);
        if is_right {
            self.kept().add(key.into(), envelope.clone());
        }
        Some(envelope)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn get(&mut self, key: &str) -> Option<Arc<Envelope>> {
        if let Some(known) = self.young.get(key) {
            return Some(known.clone());
        }
        let (key, envelope) = self.old.remove_entry(key)?;
        self.add(key, envelope.clone());
        Some(envelope)
    }

    fn add(&mut self, key: Box<str>, envelope: Arc<Envelope>) {
        if self.young.len() >= KEPT {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, envelope);
    }
}

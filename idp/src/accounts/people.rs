//! All accounts in memory, as they are on disk. Changed only by `Inner::commit`, after the file was.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::record::Record;

#[derive(Default)]
pub(crate) struct People {
    records: BTreeMap<Box<str>, Arc<Record>>,
    /// Names of removed accounts.
    removed: HashSet<Box<str>>,
    handles: HashMap<[u8; 16], Box<str>>,
    /// By credential id.
    passkeys: HashMap<Vec<u8>, Box<str>>,
    /// By hash of the token.
    links: HashMap<[u8; 32], Box<str>>,
    external: HashMap<Box<str>, Box<str>>,
}

impl People {
    pub(crate) fn get(&self, id: &str) -> Option<&Arc<Record>> {
        self.records.get(id)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.records.values()
    }

    pub(crate) fn is_removed(&self, id: &str) -> bool {
        self.removed.contains(id)
    }

    pub(crate) fn by_handle(&self, handle: &[u8; 16]) -> Option<&Arc<Record>> {
        self.records.get(self.handles.get(handle)?)
    }

    pub(crate) fn by_link(&self, hash: &[u8; 32]) -> Option<&Arc<Record>> {
        self.records.get(self.links.get(hash)?)
    }

    pub(crate) fn by_external_id(&self, id: &str) -> Option<&Arc<Record>> {
        self.records.get(self.external.get(id)?)
    }

    pub(crate) fn owns_passkey(&self, credential: &[u8]) -> bool {
        self.passkeys.contains_key(credential)
    }

    pub(crate) fn put(&mut self, record: Record) -> Arc<Record> {
        self.forget(&record.id);
        let id = &record.id;
        self.handles.insert(record.user_handle, id.clone());
        for key in &record.passkeys {
            let credential = key.credential.cred_id().as_slice().to_vec();
            self.passkeys.insert(credential, id.clone());
        }
        if let Some(link) = &record.link {
            self.links.insert(link.hash, id.clone());
        }
        if let Some(external) = &record.external_id {
            self.external.insert(external.clone(), id.clone());
        }
        let record = Arc::new(record);
        self.records.insert(record.id.clone(), Arc::clone(&record));
        record
    }

    pub(crate) fn bury(&mut self, id: &str) {
        self.forget(id);
        self.removed.insert(id.into());
    }

    fn forget(&mut self, id: &str) {
        let Some(record) = self.records.remove(id) else {
            return;
        };
        self.handles.remove(&record.user_handle);
        for key in &record.passkeys {
            self.passkeys.remove(key.credential.cred_id().as_slice());
        }
        if let Some(link) = &record.link {
            self.links.remove(&link.hash);
        }
        if let Some(external) = &record.external_id {
            self.external.remove(external);
        }
    }
}

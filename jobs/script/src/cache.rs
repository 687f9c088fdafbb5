//! Keeps the scripts compiled last, bounded in number and in bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rhai::AST;

use crate::limits::{CACHED_BYTES, CACHED_SCRIPTS};

/// What was compiled: the same text is another thing as a script and as an expression.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) expression: bool,
    pub(crate) source: Arc<str>,
}

struct Entry {
    ast: Arc<AST>,
    bytes: usize,
    used: u64,
}

#[derive(Default)]
struct Shelf {
    entries: HashMap<Key, Entry>,
    bytes: usize,
    clock: u64,
}

/// Compiled scripts by their whole source: a hash alone could be made to collide.
#[derive(Default)]
pub(crate) struct Cache {
    shelf: Mutex<Shelf>,
}

impl Cache {
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<AST>> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.clock += 1;
        let now = shelf.clock;
        let entry = shelf.entries.get_mut(key)?;
        entry.used = now;
        Some(Arc::clone(&entry.ast))
    }

    /// Keeps a compiled script that takes `bytes` of heap; those unused the longest make way.
    pub(crate) fn put(&self, key: Key, ast: &Arc<AST>, bytes: usize) {
        let bytes = bytes + key.source.len();
        if bytes > CACHED_BYTES {
            return;
        }
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.clock += 1;
        let entry = Entry { ast: Arc::clone(ast), bytes, used: shelf.clock };
        shelf.bytes += bytes;
        if let Some(old) = shelf.entries.insert(key, entry) {
            shelf.bytes -= old.bytes;
        }
        while shelf.entries.len() > CACHED_SCRIPTS || shelf.bytes > CACHED_BYTES {
            // A walk over at most a few hundred entries, and only when a new script comes.
            let Some(oldest) =
                shelf.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone())
            else {
                break;
            };
            if let Some(gone) = shelf.entries.remove(&oldest) {
                shelf.bytes -= gone.bytes;
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> (usize, usize) {
        let shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        (shelf.entries.len(), shelf.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> Key {
        Key { expression: false, source: n.to_string().into() }
    }

    #[test]
    fn the_number_is_bounded_and_the_used_stay() {
        let (cache, ast) = (Cache::default(), Arc::new(AST::empty()));
        for n in 0..CACHED_SCRIPTS + 10 {
            cache.put(key(n), &ast, 1);
            assert!(cache.get(&key(0)).is_some(), "what is used stays, at {n}");
        }
        assert_eq!(cache.len().0, CACHED_SCRIPTS);
        assert!(cache.get(&key(1)).is_none(), "what is unused the longest goes");
    }

    #[test]
    fn the_bytes_are_bounded() {
        let (cache, ast) = (Cache::default(), Arc::new(AST::empty()));
        for n in 0..10 {
            cache.put(key(n), &ast, CACHED_BYTES / 3);
        }
        cache.put(key(99), &ast, CACHED_BYTES + 1);
        let (number, bytes) = cache.len();
        assert_eq!(number, 2);
        assert!(bytes <= CACHED_BYTES);
    }
}

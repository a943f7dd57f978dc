//! What a process knows of its indices and tables: index names as numbers, for each its mapping and whether its documents are
//! whole or merged, and for each table the basis of its versions.

use std::sync::{Arc, PoisonError, RwLock};

use crate::basis::Bases;
use crate::operation::{Action, IndexNumber};

/// All indices that this process has met. A number is cheap to compare and to copy; a name is looked up when a request
/// is built.
#[derive(Debug, Default)]
pub struct Indices {
    entries: RwLock<Vec<Entry>>,
    /// The bases of the versions of the tables whose documents are in them.
    pub(crate) bases: Bases,
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    mapping: Option<Arc<str>>,
    /// Whether its documents are merged; unknown until the first.
    merged: Option<bool>,
}

impl Indices {
    /// The number of a name, with the mapping to create the index with; the first mapping that is given holds.
    pub fn number(&self, name: &str, mapping: Option<&str>) -> IndexNumber {
        {
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(place) = entries.iter().position(|entry| &*entry.name == name)
                && (mapping.is_none() || entries[place].mapping.is_some())
            {
                return IndexNumber(place as u32);
            }
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let place = match entries.iter().position(|entry| &*entry.name == name) {
            Some(place) => place,
            None => {
                entries.push(Entry { name: name.into(), mapping: None, merged: None });
                entries.len() - 1
            }
        };
        let entry = &mut entries[place];
        if entry.mapping.is_none() {
            entry.mapping = mapping.map(Arc::from);
        }
        IndexNumber(place as u32)
    }

    /// The name of a number.
    pub fn name(&self, index: IndexNumber) -> Arc<str> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)[index.0 as usize].name.clone()
    }

    /// The mapping to create the index with.
    pub fn mapping(&self, index: IndexNumber) -> Option<Arc<str>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)[index.0 as usize].mapping.clone()
    }

    /// Whether `action` fits the documents of the index: an index holds whole documents or merged ones, since an
    /// external version and a script's guard know nothing of each other. The first write decides which; an operation that
    /// only removes decides nothing, because the host deletes also where a row may have had a document.
    pub fn admits(&self, index: IndexNumber, action: Action) -> bool {
        let known = self.entries.read().unwrap_or_else(PoisonError::into_inner)[index.0 as usize].merged;
        match (action, known) {
            (Action::Truncate, _) => return true,
            (_, Some(merged)) => return merged == action.is_merge(),
            (Action::Delete | Action::MergeRemove | Action::RemoveItem, None) => return true,
            (Action::Index | Action::Merge | Action::PutItem, None) => {}
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        *entries[index.0 as usize].merged.get_or_insert(action.is_merge()) == action.is_merge()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_its_first_mapping() {
        let indices = Indices::default();
        let trade = indices.number("trade", None);
        assert_eq!(indices.number("other", Some("{}")), IndexNumber(1));
        assert_eq!(indices.number("trade", Some("{\"a\":1}")), trade);
        assert_eq!(indices.number("trade", Some("{\"b\":1}")), trade);
        assert_eq!(indices.mapping(trade).as_deref(), Some("{\"a\":1}"));
        assert_eq!(&*indices.name(trade), "trade");
    }

    #[test]
    fn an_index_holds_whole_documents_or_merged_ones() {
        let indices = Indices::default();
        let index = indices.number("trade", None);
        assert!(indices.admits(index, Action::Index));
        assert!(indices.admits(index, Action::Delete));
        assert!(!indices.admits(index, Action::Merge));
    }

    #[test]
    fn a_delete_does_not_decide_what_an_index_holds() {
        let indices = Indices::default();
        let index = indices.number("orders", None);
        assert!(indices.admits(index, Action::Delete));
        assert!(indices.admits(index, Action::MergeRemove));
        assert!(indices.admits(index, Action::Merge));
        assert!(!indices.admits(index, Action::Delete));
    }
}

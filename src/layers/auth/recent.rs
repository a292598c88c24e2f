//! A bounded map of what was used lately: two generations, of which the older one goes as a whole when the younger is
//! full. What is asked for moves to the younger. Costs a lookup or two, and no list of who was used when.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

/// What was used lately.
#[derive(Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, (V, usize), RandomState>,
    old: HashMap<K, (V, usize), RandomState>,
    weight: usize,
    most: usize,
    heaviest: usize,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    /// Keeps at least `most` entries and at most twice as many, unless they weigh more than `heaviest`, or twice that.
    pub fn new(most: usize, heaviest: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), weight: 0, most, heaviest }
    }

    /// What is known of a key.
    pub fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, (value, weight)) = self.old.remove_entry(key)?;
        self.insert(key, value.clone(), weight);
        Some(value)
    }

    /// Remembers a value.
    pub fn insert(&mut self, key: K, value: V, weight: usize) {
        if self.young.len() >= self.most || self.weight + weight > self.heaviest {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        // The older generation must not bring back what is replaced now.
        self.old.remove(&key);
        if let Some((_, before)) = self.young.insert(key, (value, weight)) {
            self.weight -= before;
        }
        self.weight += weight;
    }

    /// Forgets a key.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.old.remove(key);
        if let Some((_, weight)) = self.young.remove(key) {
            self.weight -= weight;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.most, self.heaviest);
    }

    /// How much is remembered.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut recent = Recent::new(10, 1000);
        recent.insert(0, "kept", 1);
        for key in 1..1000 {
            recent.insert(key, "x", 1);
            assert_eq!(recent.get(&0), Some("kept"), "{key}");
            assert!(recent.len() <= 20);
        }
        assert_eq!(recent.get(&1), None);
        recent.remove(&0);
        assert_eq!(recent.get(&0), None);
        recent.clear();
        assert!(recent.is_empty());
    }

    #[test]
    fn what_was_replaced_does_not_come_back() {
        let mut recent = Recent::new(2, 1000);
        for value in 0..100 {
            recent.insert("a", value, 1);
            recent.insert(["b", "c", "d"][value % 3], value, 1);
            assert_eq!(recent.get("a"), Some(value));
        }
    }

    #[test]
    fn weight_counts_too() {
        let mut recent = Recent::new(1000, 100);
        for key in 0..100 {
            recent.insert(key, (), 30);
            recent.insert(key, (), 30);
        }
        assert!((3..=6).contains(&recent.len()), "{}", recent.len());
        recent.insert(1000, (), 5000);
        assert_eq!(recent.get(&1000), Some(()));
    }
}

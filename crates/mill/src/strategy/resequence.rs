//! Puts things that finish out of order back into the order in which they were begun. Pure.

use std::collections::VecDeque;

/// Hands out numbers, takes finished things in any order and returns them in number order.
#[derive(Debug)]
pub(super) struct Resequencer<T> {
    /// The number of the first slot.
    first: u64,
    slots: VecDeque<Option<T>>,
}

impl<T> Default for Resequencer<T> {
    fn default() -> Resequencer<T> {
        Resequencer { first: 0, slots: VecDeque::new() }
    }
}

impl<T> Resequencer<T> {
    /// The number of the next thing.
    pub(super) fn reserve(&mut self) -> u64 {
        self.slots.push_back(None);
        self.first + self.slots.len() as u64 - 1
    }

    /// Puts in the thing with a reserved number.
    pub(super) fn put(&mut self, number: u64, thing: T) {
        let slot = number.checked_sub(self.first).and_then(|index| self.slots.get_mut(index as usize));
        *slot.expect("the number was reserved and is not taken out yet") = Some(thing);
    }

    /// Takes out the next thing in order, if it is there.
    pub(super) fn take(&mut self) -> Option<T> {
        let thing = self.slots.front_mut()?.take()?;
        self.slots.pop_front();
        self.first += 1;
        Some(thing)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any interleaving of reserving and finishing gives the things back in order, each once,
        /// as soon as all before it are there.
        #[test]
        fn things_come_out_in_order(keys in prop::collection::vec(any::<u16>(), 1..60)) {
            let mut sequence = Resequencer::default();
            let mut numbers: Vec<u64> = keys.iter().map(|_| sequence.reserve()).collect();
            numbers.sort_by_key(|number| keys[*number as usize]);
            let mut out = Vec::new();
            let mut there = vec![false; keys.len()];
            for number in numbers {
                sequence.put(number, number);
                there[number as usize] = true;
                out.extend(std::iter::from_fn(|| sequence.take()));
                prop_assert_eq!(out.len(), there.iter().take_while(|there| **there).count());
            }
            prop_assert_eq!(out, (0..keys.len() as u64).collect::<Vec<_>>());
        }
    }
}

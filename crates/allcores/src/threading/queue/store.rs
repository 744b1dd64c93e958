//! How a queue's items lie, and which of them is next.

use std::cmp::Ordering;
use std::collections::VecDeque;

/// Items in an order of their own.
///
/// Putting and taking have two halves. The first looks for the place, and may run the items' own code, which may panic; it
/// changes nothing. The second moves the items, and runs nobody's code.
pub(super) trait Store {
    type Item;
    /// What the first half has found out.
    type Place;

    const EMPTY: Self;

    fn len(&self) -> usize;
    /// For how many items there is memory.
    fn capacity(&self) -> usize;

    /// Where `item` would go.
    fn place(&self, item: &Self::Item) -> Self::Place;
    /// Puts an item at the place that was found for it.
    fn put(&mut self, place: Self::Place, item: Self::Item);

    /// What there is to do when the next item leaves; of no meaning if there is none.
    fn gap(&self) -> Self::Place;
    /// Takes the next item, with what was found for that.
    fn take(&mut self, gap: Self::Place) -> Option<Self::Item>;
}

/// First in, first out.
pub(super) struct Fifo<T>(pub(super) VecDeque<T>);

impl<T> Store for Fifo<T> {
    type Item = T;
    type Place = ();

    const EMPTY: Fifo<T> = Fifo(VecDeque::new());

    #[inline]
    fn len(&self) -> usize {
        self.0.len()
    }
    #[inline]
    fn capacity(&self) -> usize {
        self.0.capacity()
    }
    #[inline]
    fn place(&self, _: &T) {}
    #[inline]
    fn put(&mut self, (): (), item: T) {
        self.0.push_back(item);
    }
    #[inline]
    fn gap(&self) {}
    #[inline]
    fn take(&mut self, (): ()) -> Option<T> {
        self.0.pop_front()
    }
}

/// Last in, first out.
pub(super) struct Lifo<T>(pub(super) Vec<T>);

impl<T> Store for Lifo<T> {
    type Item = T;
    type Place = ();

    const EMPTY: Lifo<T> = Lifo(Vec::new());

    #[inline]
    fn len(&self) -> usize {
        self.0.len()
    }
    #[inline]
    fn capacity(&self) -> usize {
        self.0.capacity()
    }
    #[inline]
    fn place(&self, _: &T) {}
    #[inline]
    fn put(&mut self, (): (), item: T) {
        self.0.push(item);
    }
    #[inline]
    fn gap(&self) {}
    #[inline]
    fn take(&mut self, (): ()) -> Option<T> {
        self.0.pop()
    }
}

/// The smallest first: a binary heap, in which no item is smaller than its parent.
///
/// Not std's, which moves items while it compares them: if that panics, an item has been put or lost all the same.
pub(super) struct Heap<T>(pub(super) Vec<T>);

const fn parent(index: usize) -> usize {
    (index - 1) / 2
}

fn is_less<T: Ord>(a: &T, b: &T) -> bool {
    a.cmp(b) == Ordering::Less
}

impl<T: Ord> Store for Heap<T> {
    type Item = T;
    /// The place of the item that is put, or of the last one after the first has gone. Whatever an inconsistent `Ord`
    /// says, it lies within the heap.
    type Place = usize;

    const EMPTY: Heap<T> = Heap(Vec::new());

    fn len(&self) -> usize {
        self.0.len()
    }
    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn place(&self, item: &T) -> usize {
        let mut place = self.0.len();
        while place > 0 && is_less(item, &self.0[parent(place)]) {
            place = parent(place);
        }
        place
    }

    fn put(&mut self, place: usize, item: T) {
        let mut index = self.0.len();
        self.0.push(item);
        while index > place {
            self.0.swap(index, parent(index));
            index = parent(index);
        }
    }

    fn gap(&self) -> usize {
        let Some((last, rest)) = self.0.split_last() else {
            return 0;
        };
        let mut place = 0;
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            if left >= rest.len() {
                return place;
            }
            let right_is_less = right < rest.len() && is_less(&rest[right], &rest[left]);
            let child = if right_is_less { right } else { left };
            if !is_less(&rest[child], last) {
                return place;
            }
            place = child;
        }
    }

    fn take(&mut self, place: usize) -> Option<T> {
        let mut item = self.0.pop()?;
        if self.0.is_empty() {
            return Some(item);
        }
        // The last item goes to its place, each of those above it one level up, and the first one out.
        let mut index = place;
        loop {
            std::mem::swap(&mut self.0[index], &mut item);
            if index == 0 {
                return Some(item);
            }
            index = parent(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(heap: &mut Heap<u32>, item: u32) {
        let place = heap.place(&item);
        heap.put(place, item);
    }

    #[test]
    fn every_small_heap_gives_its_items_in_order() {
        // All sequences of up to seven items of three kinds.
        for length in 0..8 {
            for number in 0..3u32.pow(length) {
                let items: Vec<u32> = (0..length).map(|i| number / 3u32.pow(i) % 3).collect();
                let mut heap = Heap::EMPTY;
                for (n, item) in items.iter().enumerate() {
                    put(&mut heap, *item);
                    assert_eq!(heap.len(), n + 1);
                    let ordered = (1..=n).all(|i| heap.0[parent(i)] <= heap.0[i]);
                    assert!(ordered, "{items:?}: {:?}", heap.0);
                }
                let mut sorted = items.clone();
                sorted.sort_unstable();
                let taken: Vec<u32> = std::iter::from_fn(|| {
                    let gap = heap.gap();
                    heap.take(gap)
                })
                .collect();
                assert_eq!(taken, sorted, "put as {items:?}");
            }
        }
    }
}

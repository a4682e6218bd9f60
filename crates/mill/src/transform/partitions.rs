//! How many partitions the topics have that are written.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;

/// The numbers of partitions by topic, for transforms that choose a partition. Whoever runs the transform fills
/// it in from the cluster before records come; without a cluster it stays empty, and partitions are kept.
#[derive(Debug, Default)]
pub struct Partitions {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    destination: Option<Arc<str>>,
    counts: HashMap<Arc<str>, usize>,
}

impl Partitions {
    /// Names the topic that records go to unless something else is said.
    pub fn set_destination(&self, topic: &Arc<str>) {
        self.known.write().destination = Some(Arc::clone(topic));
    }

    /// Notes how many partitions a topic has.
    pub fn set(&self, topic: &Arc<str>, count: usize) {
        self.known.write().counts.insert(Arc::clone(topic), count);
    }

    /// The topic that records go to unless something else is said, if it is known.
    pub fn destination(&self) -> Option<Arc<str>> {
        self.known.read().destination.clone()
    }

    /// The number of partitions of `topic`, or of the destination if none is given; of a topic that is not
    /// known, too, as it will be created like the destination. `None` if that is not known either.
    pub fn count(&self, topic: Option<&str>) -> Option<usize> {
        let Known { destination, counts } = &*self.known.read();
        let own = topic.and_then(|topic| counts.get(topic));
        let count = own.or_else(|| counts.get(destination.as_ref()?));
        count.copied().filter(|count| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_topic_is_like_the_destination() {
        let partitions = Partitions::default();
        assert_eq!((partitions.destination(), partitions.count(None)), (None, None));
        let (orders, large) = (Arc::from("orders"), Arc::from("large"));
        partitions.set_destination(&orders);
        assert_eq!(partitions.count(Some("large")), None);
        partitions.set(&orders, 6);
        partitions.set(&large, 2);
        let count = |topic| partitions.count(topic);
        assert_eq!((count(None), count(Some("large")), count(Some("new"))), (Some(6), Some(2), Some(6)));
    }
}

//! The topics that routes gave last, which a thread need not ask the others about.

use std::sync::Arc;

use crate::step::{Topics, TopicsError};

/// The most topics that are looked at one by one.
const MOST: usize = 16;

/// Topics with the index of the step whose they are.
#[derive(Debug, Default)]
pub(super) struct RecentTopics {
    known: Vec<(usize, Arc<str>)>,
    /// Which of them is the next to go.
    oldest: usize,
}

impl RecentTopics {
    /// The topic of that name, of the route that is the step at `index`.
    pub(super) fn get(&mut self, index: usize, topics: &Topics, name: &str) -> Result<Arc<str>, TopicsError> {
        if let Some((_, known)) = self.known.iter().find(|(of, known)| *of == index && **known == *name) {
            return Ok(Arc::clone(known));
        }
        let topic = topics.get(name)?;
        let recent = (index, Arc::clone(&topic));
        if self.known.len() < MOST {
            self.known.push(recent);
        } else {
            self.known[self.oldest] = recent;
            self.oldest = (self.oldest + 1) % MOST;
        }
        Ok(topic)
    }
}

//! The topics of a route.

use std::{
    collections::HashSet,
    sync::{Arc, RwLock},
};

/// The names that a route has given, of which there may be only so many: a template over a field with any
/// content would make a topic for each.
#[derive(Debug)]
pub(crate) struct Topics {
    most: usize,
    names: RwLock<HashSet<Arc<str>>>,
}

/// Why there is no such topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TopicsError {
    #[error("the topic's name {0}")]
    Illegal(&'static str),
    #[error("there are {most} topics already, which is the most (max_topics)")]
    TooMany { most: usize },
}

impl Topics {
    pub(crate) fn new(most: usize) -> Topics {
        Topics { most, names: RwLock::default() }
    }

    /// The topic of that name.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<str>, TopicsError> {
        // What was put in is whole even if a thread has panicked meanwhile.
        let read = self.names.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(known) = read.get(name) {
            return Ok(Arc::clone(known));
        }
        drop(read);
        check_topic(name).map_err(TopicsError::Illegal)?;
        let mut names = self.names.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Another thread may have been quicker.
        if let Some(known) = names.get(name) {
            return Ok(Arc::clone(known));
        }
        if names.len() == self.most {
            return Err(TopicsError::TooMany { most: self.most });
        }
        let name: Arc<str> = name.into();
        names.insert(Arc::clone(&name));
        Ok(name)
    }
}

/// Whether brokers take this name for a topic.
///
/// # Errors
/// What is wrong with it, as in "it must not be empty" without the "it".
pub fn check_topic(name: &str) -> Result<(), &'static str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match name {
        "" => Err("must not be empty"),
        "." | ".." => Err("must not be `.` or `..`"),
        _ if name.chars().count() > 249 => Err("must have at most 249 characters"),
        _ if !name.bytes().all(legal) => Err("must consist of letters, digits, `.`, `_` and `-`"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_and_no_more() {
        let topics = Topics::new(2);
        assert!(topics.get("a").is_ok() && topics.get("b").is_ok() && topics.get("a").is_ok());
        assert_eq!(topics.get("c"), Err(TopicsError::TooMany { most: 2 }));
        assert!(matches!(topics.get("d/e"), Err(TopicsError::Illegal(_))));
        assert!(Arc::ptr_eq(&topics.get("b").unwrap(), &topics.get("b").unwrap()));
    }

    #[test]
    fn names_are_those_that_brokers_take() {
        for name in ["a", "A-b_c.9", "...", &"x".repeat(249)] {
            assert_eq!(check_topic(name), Ok(()), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "\u{e9}", &"x".repeat(250)] {
            assert!(check_topic(name).is_err(), "{name}");
        }
    }
}

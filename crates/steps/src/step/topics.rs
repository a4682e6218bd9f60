//! The topics of a route.

use std::{
    collections::HashSet,
    sync::{Arc, RwLock},
};

/// The most topics that a route may be given.
pub(crate) const TOPICS_MAX: usize = 100_000;

/// What the names of the cluster's own topics begin with.
const INTERNAL: &str = "__";

/// The names that a route has given, of which there may be only so many: a template over a field with any
/// content would make a topic for each.
#[derive(Debug)]
pub(crate) struct Topics {
    names: RwLock<Names>,
}

#[derive(Debug)]
struct Names {
    most: usize,
    known: HashSet<Arc<str>>,
    /// Those that are never given, with what each is.
    barred: Vec<(Arc<str>, &'static str)>,
}

/// Why there is no such topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TopicsError {
    #[error("the topic's name {0}")]
    Illegal(&'static str),
    #[error("the topic is {0}: nothing may be routed to it")]
    Barred(&'static str),
    #[error("there are {most} topics already, which is the most (max_topics)")]
    TooMany { most: usize },
}

impl Topics {
    pub(crate) fn new(most: usize) -> Topics {
        let (known, barred) = Default::default();
        Topics { names: RwLock::new(Names { most, known, barred }) }
    }

    /// From now on this topic, which is `what`, is not given.
    pub(crate) fn bar(&self, topic: &Arc<str>, what: &'static str) {
        let mut names = self.names.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        names.known.remove(topic);
        names.barred.push((Arc::clone(topic), what));
    }

    /// From now on there may be as many as there may be at all.
    pub(crate) fn lift(&self) {
        self.names.write().unwrap_or_else(|poisoned| poisoned.into_inner()).most = TOPICS_MAX;
    }

    /// The topic of that name.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<str>, TopicsError> {
        // What was put in is whole even if a thread has panicked meanwhile.
        let read = self.names.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(known) = read.known.get(name) {
            return Ok(Arc::clone(known));
        }
        drop(read);
        check_route(name).map_err(TopicsError::Illegal)?;
        let mut names = self.names.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Another thread may have been quicker.
        if let Some(known) = names.known.get(name) {
            return Ok(Arc::clone(known));
        }
        if let Some((_, what)) = names.barred.iter().find(|(barred, _)| **barred == *name) {
            return Err(TopicsError::Barred(what));
        }
        if names.known.len() >= names.most {
            return Err(TopicsError::TooMany { most: names.most });
        }
        let name: Arc<str> = name.into();
        names.known.insert(Arc::clone(&name));
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

/// Whether records may be routed to a topic of this name.
///
/// # Errors
/// As [`check_topic`], and for a topic of the cluster's own.
pub(crate) fn check_route(name: &str) -> Result<(), &'static str> {
    check_topic(name)?;
    if name.starts_with(INTERNAL) {
        return Err("must not begin with `__`, as those of the cluster's own topics do");
    }
    Ok(())
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
    fn what_is_barred_or_internal_is_not_given() {
        let topics = Topics::new(2);
        topics.bar(&"letters".into(), "that of the dead letters");
        assert_eq!(topics.get("letters"), Err(TopicsError::Barred("that of the dead letters")));
        assert!(matches!(topics.get("__consumer_offsets"), Err(TopicsError::Illegal(_))));
        assert!(topics.get("a").is_ok() && topics.get("_b").is_ok() && topics.get("c").is_err());
        topics.lift();
        assert!(topics.get("c").is_ok() && topics.get("letters").is_err());
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

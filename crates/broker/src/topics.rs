//! The topics: names, ids, partitions and configuration.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use kafka_protocol::error::ResponseError;
use parking_lot::RwLock;
use uuid::Uuid;

use super::{
    partition::{Partition, Store},
    refusal::Refusal,
    rules::Rules,
};

/// The partitions that may exist in all.
const MAX_PARTITIONS: usize = 20_000;

/// A topic.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id (KIP-516).
    pub id: Uuid,
    /// Its partitions in the order of their numbers.
    pub partitions: Vec<Arc<Partition>>,
    /// What was configured.
    pub config: BTreeMap<String, String>,
    /// The rules for records that follow from it.
    pub rules: Rules,
}

impl Topic {
    /// The partition of that number.
    pub fn partition(&self, number: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(number).ok()?)
    }
}

fn refuse<T>(error: ResponseError, message: String) -> Result<T, Refusal> {
    Err(Refusal { error, message })
}

/// All topics.
#[derive(Debug)]
pub struct Topics {
    store: Arc<Store>,
    /// The partitions of a topic that is created on first use; 0 creates none.
    default_partitions: i32,
    all: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl Topics {
    /// No topics yet.
    pub fn new(store: Arc<Store>, default_partitions: i32) -> Topics {
        Topics { store, default_partitions, all: RwLock::default() }
    }

    /// All topics in the order of their names.
    pub fn list(&self) -> Vec<Arc<Topic>> {
        self.all.read().by_name.values().cloned().collect()
    }

    /// The topic of that name.
    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.all.read().by_name.get(name).cloned()
    }

    /// The topic of that id.
    pub fn by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.all.read().by_id.get(&id).cloned()
    }

    /// The topic of that name, or else of that id where a request names topics by id.
    pub fn named(&self, name: &str, id: Uuid) -> Result<Arc<Topic>, ResponseError> {
        if id.is_nil() {
            self.get(name).ok_or(ResponseError::UnknownTopicOrPartition)
        } else {
            self.by_id(id).ok_or(ResponseError::UnknownTopicId)
        }
    }

    /// The topic of that name, created if it is missing.
    ///
    /// # Errors
    /// When it may not be created.
    pub fn get_or_create(&self, name: &str) -> Result<Arc<Topic>, Refusal> {
        if let Some(topic) = self.get(name) {
            return Ok(topic);
        }
        if self.default_partitions < 1 {
            check_name(name)?;
            return refuse(ResponseError::UnknownTopicOrPartition, format!("there is no topic {name}"));
        }
        match self.create(name, self.default_partitions, BTreeMap::new(), false) {
            Err(Refusal { error: ResponseError::TopicAlreadyExists, .. }) => self.get_or_create(name),
            created => created,
        }
    }

    /// Creates a topic; `partitions` -1 takes the default. With `validate_only` it is only checked.
    ///
    /// # Errors
    /// When the name, the count or the configuration is not valid.
    pub fn create(
        &self,
        name: &str,
        partitions: i32,
        config: BTreeMap<String, String>,
        validate_only: bool,
    ) -> Result<Arc<Topic>, Refusal> {
        check_name(name)?;
        let partitions = if partitions == -1 { self.default_partitions.max(1) } else { partitions };
        let rules = Rules::read(&config)?;
        let mut all = self.all.write();
        if all.by_name.contains_key(name) {
            return refuse(ResponseError::TopicAlreadyExists, format!("topic {name} exists already"));
        }
        all.check_room(partitions)?;
        let name: Arc<str> = name.into();
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        let partitions = (0..partitions)
            .map(|number| Partition::new(Arc::clone(&name), number, Arc::clone(&self.store)))
            .collect();
        let topic = Arc::new(Topic { name, id, partitions, config, rules });
        if !validate_only {
            all.insert(&topic);
        }
        Ok(topic)
    }

    /// Grows a topic to `count` partitions.
    ///
    /// # Errors
    /// When it is missing or has as many already.
    pub fn grow(&self, name: &str, count: i32, validate_only: bool) -> Result<(), Refusal> {
        let mut all = self.all.write();
        let Some(topic) = all.by_name.get(name).cloned() else {
            return refuse(ResponseError::UnknownTopicOrPartition, format!("there is no topic {name}"));
        };
        let now = topic.partitions.len() as i32;
        if count <= now {
            return refuse(ResponseError::InvalidPartitions, format!("topic {name} has {now} partitions"));
        }
        all.check_room(count - now)?;
        let mut grown = Topic::clone(&topic);
        grown.partitions.extend(
            (now..count)
                .map(|number| Partition::new(Arc::clone(&topic.name), number, Arc::clone(&self.store))),
        );
        if !validate_only {
            all.insert(&Arc::new(grown));
        }
        Ok(())
    }

    /// Configures a topic again.
    ///
    /// # Errors
    /// When it is missing or the configuration is not valid.
    pub fn configure(&self, name: &str, config: BTreeMap<String, String>) -> Result<(), Refusal> {
        let rules = Rules::read(&config)?;
        let mut all = self.all.write();
        let Some(topic) = all.by_name.get(name) else {
            return refuse(ResponseError::UnknownTopicOrPartition, format!("there is no topic {name}"));
        };
        let configured = Arc::new(Topic { config, rules, ..Topic::clone(topic) });
        all.insert(&configured);
        Ok(())
    }

    /// Deletes a topic and returns it.
    pub fn delete(&self, name: &str) -> Option<Arc<Topic>> {
        let mut all = self.all.write();
        let topic = all.by_name.remove(name)?;
        all.by_id.remove(&topic.id);
        Some(topic)
    }
}

impl Index {
    fn insert(&mut self, topic: &Arc<Topic>) {
        self.by_name.insert(Arc::clone(&topic.name), Arc::clone(topic));
        self.by_id.insert(topic.id, Arc::clone(topic));
    }

    fn check_room(&self, partitions: i32) -> Result<(), Refusal> {
        let Some(wanted) = usize::try_from(partitions).ok().filter(|wanted| *wanted > 0) else {
            return refuse(ResponseError::InvalidPartitions, format!("{partitions} partitions"));
        };
        let present: usize = self.by_name.values().map(|topic| topic.partitions.len()).sum();
        if wanted > MAX_PARTITIONS.saturating_sub(present) {
            let message = format!("{present} of {MAX_PARTITIONS} partitions exist already");
            return refuse(ResponseError::PolicyViolation, message);
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=249).contains(&name.len()) && name.bytes().all(legal) && name != "." && name != ".." {
        return Ok(());
    }
    refuse(ResponseError::InvalidTopicException, "a topic's name has 1 to 249 of [a-zA-Z0-9._-]".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        Topics::new(Store::new(1 << 20), 2)
    }

    #[test]
    fn names_are_checked_and_unique() {
        let topics = topics();
        for name in ["", ".", "..", "a b", "a/b", &"a".repeat(250)] {
            let refusal = topics.create(name, 1, BTreeMap::new(), false).unwrap_err();
            assert_eq!(refusal.error, ResponseError::InvalidTopicException, "{name}");
        }
        topics.create("a", 1, BTreeMap::new(), false).unwrap();
        let refusal = topics.create("a", 1, BTreeMap::new(), false).unwrap_err();
        assert_eq!(refusal.error, ResponseError::TopicAlreadyExists);
        assert_eq!(topics.get_or_create("b").unwrap().partitions.len(), 2);
    }

    #[test]
    fn a_grown_topic_keeps_its_partitions_and_a_deleted_one_is_gone() {
        let topics = topics();
        let before = topics.create("a", 1, BTreeMap::new(), false).unwrap();
        topics.grow("a", 3, false).unwrap();
        let after = topics.by_id(before.id).unwrap();
        assert_eq!(after.partitions.len(), 3);
        assert!(Arc::ptr_eq(&before.partitions[0], &after.partitions[0]));
        assert!(topics.grow("a", 3, false).is_err());
        topics.delete("a").unwrap();
        assert!(topics.get("a").is_none() && topics.by_id(before.id).is_none());
    }

    #[test]
    fn the_count_of_partitions_is_bounded() {
        let topics = topics();
        for count in [0, -2, i32::MIN] {
            let refusal = topics.create("a", count, BTreeMap::new(), false).unwrap_err();
            assert_eq!(refusal.error, ResponseError::InvalidPartitions, "{count}");
        }
        let refusal = topics.create("a", i32::MAX, BTreeMap::new(), false).unwrap_err();
        assert_eq!(refusal.error, ResponseError::PolicyViolation);
    }
}

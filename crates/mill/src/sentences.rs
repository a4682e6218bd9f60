//! What is failing, in as few sentences as possible: one for a broker rather than one for each of
//! its partitions.

use std::{collections::BTreeMap, fmt};

use tokio::time::Instant;

use crate::{
    batch::TopicPartition,
    engine::{Place, Trouble},
};

/// The most partition numbers that a sentence names.
const MOST_NAMED: usize = 8;

/// Failures of one kind with one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// What it is about.
    pub about: About,
    /// The partitions of the topic; none where no partition is concerned.
    pub partitions: Vec<i32>,
    /// Since when the first of them has been failing.
    pub since: Instant,
    /// How often all of them have been tried.
    pub attempts: u64,
}

/// What a sentence is about: reported once rather than for each partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct About {
    /// What fails, as in metrics.
    pub stage: &'static str,
    /// The topic, if one is concerned.
    pub topic: Option<String>,
    /// Why.
    pub reason: String,
}

/// The failures in sentences, the oldest first.
pub fn sentences(troubles: Vec<(Place, Trouble)>) -> Vec<Sentence> {
    let mut all: BTreeMap<About, Sentence> = BTreeMap::new();
    for (place, Trouble { since, attempts, reason }) in troubles {
        let topic = match &place {
            Place::Source(topic) => Some(topic.to_string()),
            _ => place.partition().map(|partition| partition.topic.to_string()),
        };
        let about = About { stage: place.stage(), topic, reason };
        let sentence = all.entry(about.clone()).or_insert_with(|| Sentence {
            about,
            partitions: Vec::new(),
            since,
            attempts: 0,
        });
        sentence.since = sentence.since.min(since);
        sentence.attempts += attempts;
        sentence.partitions.extend(place.partition().map(|partition| partition.partition));
    }
    let mut all: Vec<Sentence> = all.into_values().collect();
    all.sort_by_key(|sentence| sentence.since);
    all
}

impl Sentence {
    /// The numbers of the partitions, as `0 1 5-9`; a long list is truncated.
    pub fn numbers(&self) -> String {
        ranges(&self.partitions)
    }

    /// The statement without its reason.
    pub fn what(&self) -> String {
        let topic = self.about.topic.as_deref().unwrap_or_default();
        let whose = match *self.partitions {
            [] => topic.to_owned(),
            [partition] => TopicPartition::new(topic, partition).to_string(),
            _ => format!("{} partitions of {topic}", self.partitions.len()),
        };
        let (is, are) = if self.partitions.len() > 1 { ("are", "wait") } else { ("is", "waits") };
        match self.about.stage {
            "fetch" => format!("{whose} cannot be read"),
            "write" => format!("{whose} cannot be written"),
            "rewind" => format!("{whose} {is} read again from the committed offset"),
            "destination" => format!("{whose} {are}: there is nowhere to write"),
            "commit" => "offsets cannot be committed".into(),
            "group" => "waiting for the group's coordinator".into(),
            "source" => format!("the source topic {topic} cannot be read"),
            "start" => "not at work yet".into(),
            stage => format!("{stage} fails"),
        }
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} since {} s: {}", self.what(), self.since.elapsed().as_secs(), self.about.reason)
    }
}

/// Numbers in ascending order with runs joined, as `0 1 5-9`.
pub fn ranges(numbers: &[i32]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for number in sorted {
        match runs.last_mut() {
            Some((_, last)) if *last == number || *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let run = |(first, last): &(i32, i32)| match last - first {
        0 => first.to_string(),
        _ => format!("{first}-{last}"),
    };
    let mut named: Vec<String> = runs.iter().take(MOST_NAMED).map(run).collect();
    if runs.len() > MOST_NAMED {
        named.push("…".into());
    }
    named.join(" ")
}

/// Many partitions in one name, as `orders[0-99]`.
pub fn names(partitions: &[TopicPartition]) -> String {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topic = |(topic, numbers): (&str, Vec<i32>)| format!("{topic}[{}]", ranges(&numbers));
    topics.into_iter().map(topic).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Troubles;

    #[tokio::test]
    async fn what_one_broker_does_is_one_sentence() {
        let troubles = Troubles::default();
        for number in 0..12 {
            troubles.begin(Place::Fetch(TopicPartition::new("orders", number)), &"broker 3 is away");
        }
        troubles.begin(Place::Write(TopicPartition::new("d", 4)), &"no leader");
        troubles.begin(Place::Commit, &"no coordinator");
        let said = sentences(troubles.now());
        assert_eq!(said.len(), 3);
        let text: Vec<String> = said.iter().map(Sentence::to_string).collect();
        let stands = |part: &str| text.iter().any(|text| text.contains(part));
        assert!(stands("12 partitions of orders cannot be read since 0 s: broker 3 is away"), "{text:?}");
        assert!(stands("d[4] cannot be written since 0 s: no leader"), "{text:?}");
        assert!(stands("offsets cannot be committed since 0 s: no coordinator"), "{text:?}");
    }

    #[test]
    fn runs_of_numbers_are_joined_and_a_long_list_is_cut() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[3, 1, 2, 9, 5, 6]), "1-3 5-6 9");
        assert_eq!(ranges(&(0..100).step_by(2).collect::<Vec<_>>()), "0 2 4 6 8 10 12 14 …");
    }

    #[test]
    fn many_partitions_are_one_name() {
        let partitions: Vec<_> = (0..100).map(|number| TopicPartition::new("t", number)).collect();
        assert_eq!(names(&partitions), "t[0-99]");
    }
}

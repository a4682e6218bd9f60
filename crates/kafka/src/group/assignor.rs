//! Who reads what: the assignors that the leader of a classic consumer group runs. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    plan::{Member, Plan, entry, partitions},
    sticky,
};
use crate::settings::Assignor;

impl Assignor {
    /// Assigns the partitions of all topics to the members; `topics` has the number of partitions
    /// of each. Every member has an entry in the plan.
    pub(super) fn assign(self, members: &[Member], topics: &BTreeMap<String, i32>) -> Plan {
        let mut members: Vec<&Member> = members.iter().collect();
        // Static members first and by their lasting id, so that a restart moves nothing.
        members.sort_by_key(|member| (member.instance.is_none(), member.instance.as_ref(), &member.id));
        let mut plan: Plan = members.iter().map(|member| (member.id.clone(), BTreeSet::new())).collect();
        match self {
            Assignor::Range => range(&members, topics, &mut plan),
            Assignor::RoundRobin => round_robin(&members, topics, &mut plan),
            Assignor::CooperativeSticky => {
                sticky::balance(&members, topics, &mut plan);
                sticky::withhold(&members, &mut plan);
            }
        }
        plan
    }
}

fn range(members: &[&Member], topics: &BTreeMap<String, i32>, plan: &mut Plan) {
    for (topic, &count) in topics {
        let readers: Vec<_> = members.iter().filter(|member| member.topics.contains(topic)).collect();
        let mut partitions = partitions(topic, count);
        for (index, member) in readers.iter().enumerate() {
            let share = count as usize / readers.len() + usize::from(index < count as usize % readers.len());
            entry(plan, member).extend(partitions.by_ref().take(share));
        }
    }
}

fn round_robin(members: &[&Member], topics: &BTreeMap<String, i32>, plan: &mut Plan) {
    let mut turn = 0;
    for partition in topics.iter().flat_map(|(topic, &count)| partitions(topic, count)) {
        let reader = (0..members.len())
            .map(|step| (turn + step) % members.len())
            .find(|&at| members[at].topics.contains(&*partition.topic));
        if let Some(at) = reader {
            entry(plan, members[at]).insert(partition);
            turn = (at + 1) % members.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, topics: &[&str]) -> Member {
        let topics = topics.iter().map(|topic| topic.to_string()).collect();
        Member { id: id.into(), topics, generation: -1, ..Member::default() }
    }

    fn numbers(plan: &Plan, member: &str, topic: &str) -> Vec<i32> {
        plan[member].iter().filter(|p| &*p.topic == topic).map(|p| p.partition).collect()
    }

    #[test]
    fn range_gives_each_topic_in_runs_and_the_rest_to_the_first() {
        let members = [member("b", &["t", "u"]), member("a", &["t"])];
        let topics = BTreeMap::from([("t".to_string(), 5), ("u".to_string(), 2)]);
        let plan = Assignor::Range.assign(&members, &topics);
        assert_eq!(numbers(&plan, "a", "t"), [0, 1, 2]);
        assert_eq!(numbers(&plan, "b", "t"), [3, 4]);
        assert_eq!(numbers(&plan, "b", "u"), [0, 1]);
    }

    #[test]
    fn static_members_keep_their_place_whatever_id_they_get() {
        let topics = BTreeMap::from([("t".to_string(), 4)]);
        let of = |id: &str| Member { instance: Some("first".into()), ..member(id, &["t"]) };
        for id in ["0", "z"] {
            let plan = Assignor::Range.assign(&[member("m", &["t"]), of(id)], &topics);
            assert_eq!(numbers(&plan, id, "t"), [0, 1]);
        }
    }

    #[test]
    fn round_robin_deals_in_turn_and_skips_who_does_not_read_the_topic() {
        let members = [member("a", &["t", "u"]), member("b", &["u"])];
        let topics = BTreeMap::from([("t".to_string(), 2), ("u".to_string(), 3)]);
        let plan = Assignor::RoundRobin.assign(&members, &topics);
        assert_eq!(numbers(&plan, "a", "t"), [0, 1]);
        assert_eq!(numbers(&plan, "b", "u"), [0, 2]);
        assert_eq!(numbers(&plan, "a", "u"), [1]);
    }

    #[test]
    fn names_are_those_of_the_property() {
        assert_eq!(Assignor::named("cooperative-sticky"), Some(Assignor::CooperativeSticky));
        assert_eq!(Assignor::named("sticky"), None);
    }
}

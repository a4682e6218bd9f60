//! The cooperative sticky assignment (KIP-429): balanced, few moves, never two owners at a time.

use std::collections::{BTreeMap, BTreeSet};

use topicmill_mill::batch::TopicPartition;

use super::plan::{Member, Plan, entry, partitions};

/// Fills `plan`, starting from what the members own, so that no single move of a partition makes it
/// more even.
pub(super) fn balance(members: &[&Member], topics: &BTreeMap<String, i32>, plan: &mut Plan) {
    let owners = owners(members);
    let mut free = Vec::new();
    for partition in topics.iter().flat_map(|(topic, &count)| partitions(topic, count)) {
        match owners.get(&partition).copied().flatten() {
            Some(owner) if owner.topics.contains(&*partition.topic) => {
                entry(plan, owner).insert(partition);
            }
            _ => free.push(partition),
        }
    }
    // Partitions that few members can read are placed first: the others have more choice.
    let readers = |partition: &TopicPartition| members.iter().filter(|m| reads(m, partition)).count();
    free.sort_by_cached_key(readers);
    for partition in free {
        if let Some(member) = least_loaded(members, &partition, plan) {
            entry(plan, member).insert(partition);
        }
    }
    while move_one(members, plan) {}
}

/// Removes from `plan` what moves from one member to another: the new owner gets it in the
/// rebalance that follows its release.
pub(super) fn withhold(members: &[&Member], plan: &mut Plan) {
    let mut revoked: BTreeSet<&TopicPartition> = BTreeSet::new();
    for member in members {
        revoked.extend(member.owned.iter().filter(|partition| !plan[&member.id].contains(*partition)));
    }
    for member in members {
        entry(plan, member).retain(|p| member.owned.contains(p) || !revoked.contains(p));
    }
}

/// Who owns what. The later generation wins (KIP-792); of two claims of the same generation neither
/// can be trusted, and the partition counts as free.
fn owners<'a>(members: &[&'a Member]) -> BTreeMap<&'a TopicPartition, Option<&'a Member>> {
    let mut owners: BTreeMap<_, (i32, Option<&Member>)> = BTreeMap::new();
    for &member in members {
        for partition in &member.owned {
            let (generation, owner) = owners.entry(partition).or_insert((member.generation, Some(member)));
            if member.generation > *generation {
                (*generation, *owner) = (member.generation, Some(member));
            } else if member.generation == *generation && owner.is_some_and(|owner| owner.id != member.id) {
                *owner = None;
            }
        }
    }
    owners.into_iter().map(|(partition, (_, owner))| (partition, owner)).collect()
}

fn reads(member: &Member, partition: &TopicPartition) -> bool {
    member.topics.contains(&*partition.topic)
}

fn least_loaded<'a>(members: &[&'a Member], partition: &TopicPartition, plan: &Plan) -> Option<&'a Member> {
    members.iter().filter(|member| reads(member, partition)).min_by_key(|m| plan[&m.id].len()).copied()
}

/// Moves one partition from the fullest member that can give one to a member with at least two
/// fewer; if possible, one that the giver does not own yet.
fn move_one(members: &[&Member], plan: &mut Plan) -> bool {
    let mut fullest: Vec<&Member> = members.to_vec();
    fullest.sort_by_key(|member| std::cmp::Reverse(plan[&member.id].len()));
    for giver in fullest {
        let (kept, new): (Vec<_>, Vec<_>) = plan[&giver.id].iter().partition(|p| giver.owned.contains(*p));
        let found = new.iter().chain(kept.iter().rev()).find_map(|partition| {
            let taker = least_loaded(members, partition, plan)?;
            (plan[&giver.id].len() >= plan[&taker.id].len() + 2).then(|| ((*partition).clone(), taker))
        });
        if let Some((partition, taker)) = found {
            entry(plan, giver).remove(&partition);
            entry(plan, taker).insert(partition);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::settings::Assignor;

    const TOPICS: [&str; 3] = ["a", "b", "c"];

    prop_compose! {
        /// Some members with some subscriptions, as if each had joined a group of its own before.
        fn group()(
            counts in proptest::collection::vec(1..12i32, 3),
            subscriptions in proptest::collection::vec((1..8u8, 0..3i32), 1..7),
            claims in proptest::collection::vec((0..7usize, 0..3usize, 0..12i32), 0..40),
        ) -> (Vec<Member>, BTreeMap<String, i32>) {
            let topics = TOPICS.iter().map(|t| t.to_string()).zip(counts).collect();
            let mut members: Vec<Member> = subscriptions.iter().enumerate().map(|(at, (mask, generation))| Member {
                id: format!("m{at}"),
                topics: (0..3).filter(|t| mask >> t & 1 == 1).map(|t| TOPICS[t].to_string()).collect(),
                generation: *generation,
                ..Member::default()
            }).collect();
            let count = members.len();
            for (member, topic, partition) in claims {
                members[member % count].owned.insert(TopicPartition::new(TOPICS[topic], partition));
            }
            (members, topics)
        }
    }

    /// The subscriptions for the next rebalance: members keep what the plan leaves them.
    fn follow(members: &[Member], plan: &Plan) -> Vec<Member> {
        let follow = |m: &Member| Member { owned: plan[&m.id].clone(), generation: 9, ..m.clone() };
        members.iter().map(follow).collect()
    }

    fn readable(members: &[Member], topics: &BTreeMap<String, i32>) -> BTreeSet<TopicPartition> {
        let all = topics.iter().flat_map(|(topic, &count)| partitions(topic, count));
        all.filter(|p| members.iter().any(|m| reads(m, p))).collect()
    }

    fn check_once(members: &[Member], plan: &Plan) -> BTreeSet<TopicPartition> {
        let mut seen = BTreeSet::new();
        for member in members {
            for partition in &plan[&member.id] {
                assert!(reads(member, partition), "{} got {partition}", member.id);
                assert!(seen.insert(partition.clone()), "{partition} has two owners");
            }
        }
        seen
    }

    proptest! {
        #[test]
        fn eager_assignors_give_every_partition_to_one_reader((members, topics) in group()) {
            for assignor in [Assignor::Range, Assignor::RoundRobin] {
                let plan = assignor.assign(&members, &topics);
                prop_assert_eq!(check_once(&members, &plan), readable(&members, &topics));
            }
        }

        #[test]
        fn a_partition_that_moves_is_free_in_between((members, topics) in group()) {
            let plan = Assignor::CooperativeSticky.assign(&members, &topics);
            check_once(&members, &plan);
            for member in &members {
                for partition in plan[&member.id].difference(&member.owned) {
                    prop_assert!(!members.iter().any(|m| m.owned.contains(partition)), "{}", partition);
                }
            }
        }

        #[test]
        fn it_settles_complete_and_even((members, topics) in group()) {
            let mut members = members;
            let mut plan = Assignor::CooperativeSticky.assign(&members, &topics);
            for round in 0.. {
                members = follow(&members, &plan);
                let next = Assignor::CooperativeSticky.assign(&members, &topics);
                if next == plan {
                    break;
                }
                prop_assert!(round < 5, "still moving");
                plan = next;
            }
            prop_assert_eq!(check_once(&members, &plan), readable(&members, &topics));
            for giver in &members {
                for partition in &plan[&giver.id] {
                    for taker in members.iter().filter(|m| reads(m, partition)) {
                        prop_assert!(plan[&giver.id].len() <= plan[&taker.id].len() + 1);
                    }
                }
            }
        }

        #[test]
        fn a_newcomer_costs_no_more_moves_than_it_gets(count in 1..30i32, old in 1..6usize) {
            let topics = BTreeMap::from([("a".to_string(), count)]);
            let named = |at: usize| Member {
                id: format!("m{at}"), topics: BTreeSet::from(["a".to_string()]), ..Member::default()
            };
            let members: Vec<Member> = (0..old).map(named).collect();
            let plan = Assignor::CooperativeSticky.assign(&members, &topics);
            let mut members = follow(&members, &plan);
            members.push(named(old));
            let left = Assignor::CooperativeSticky.assign(&members, &topics);
            let kept: usize = left.values().map(BTreeSet::len).sum();
            prop_assert_eq!(count as usize - kept, count as usize / (old + 1));
        }
    }

    #[test]
    fn however_many_claim_a_partition_in_one_generation_none_owns_it() {
        let partition = TopicPartition::new("t", 0);
        let claim = |id: &str| Member {
            id: id.to_owned(),
            instance: None,
            topics: BTreeSet::from(["t".to_owned()]),
            owned: BTreeSet::from([partition.clone()]),
            generation: 3,
        };
        let claims = ["a", "b", "c", "d"].map(claim);
        for count in 2..=4 {
            let members: Vec<_> = claims[..count].iter().collect();
            assert!(owners(&members)[&partition].is_none(), "{count} claims");
        }
        assert_eq!(owners(&[&claims[0]])[&partition].unwrap().id, "a");
    }

    #[test]
    fn the_later_generation_wins_a_disputed_partition() {
        let claim = |id: &str, generation| Member {
            id: id.into(),
            topics: BTreeSet::from(["a".to_string()]),
            owned: partitions("a", 1).collect(),
            generation,
            ..Member::default()
        };
        let (old, new) = (claim("old", 3), claim("new", 4));
        let plan = Assignor::CooperativeSticky.assign(&[old, new], &BTreeMap::from([("a".to_string(), 1)]));
        assert_eq!((plan["old"].len(), plan["new"].len()), (0, 1));
    }
}

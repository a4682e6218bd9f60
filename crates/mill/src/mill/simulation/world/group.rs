//! The consumer group: which instance has which partitions, and who is out without knowing it.

use std::{collections::BTreeSet, time::Duration};

use super::{PARTITIONS, World};

/// How long a member may be silent.
pub(in crate::mill) const SESSION: Duration = Duration::from_millis(300);

/// What the group has for a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mill) enum Command {
    /// It has these partitions.
    Assign(Vec<i32>),
    /// It is to give these up; the group waits for this many milliseconds.
    Revoke(Vec<i32>, u64),
    /// It has nothing any more, and joins again.
    Lose,
}

impl World {
    /// An instance becomes a member. In place of its last process, if that still is one: it is known by its
    /// `group.instance.id`.
    pub fn join(&mut self, instance: usize) {
        self.leave(instance);
        self.members.insert(instance);
        self.balance();
    }

    /// A member is gone, and what it had goes to the others.
    pub fn leave(&mut self, instance: usize) {
        self.commands.remove(&instance);
        if self.members.remove(&instance) {
            let given: Vec<i32> = self.partitions_of(instance);
            given.into_iter().for_each(|partition| self.give_up(instance, partition));
        }
        self.balance();
    }

    /// A member was silent for too long. It learns of it when it is back.
    pub fn evict(&mut self, instance: usize) {
        if self.members.contains(&instance) {
            self.evictions += 1;
            self.excuse(self.partitions_of(instance));
            self.leave(instance);
            self.commands.insert(instance, [Command::Lose].into());
            self.change();
        }
    }

    /// A member has given a partition up, or the group waits no longer.
    pub fn give_up(&mut self, instance: usize, partition: i32) {
        // It may have been silent, and the partition somebody else's by now.
        if self.owners.get(&partition) == Some(&instance) {
            self.owners.remove(&partition);
            self.moving.remove(&partition);
            self.generations.remove(&partition);
        }
    }

    /// Whether what an instance commits in the name of a generation may be.
    pub fn is_member(&self, instance: usize) -> bool {
        self.members.contains(&instance)
    }

    /// The partitions of a member, those that it is to give up included.
    fn partitions_of(&self, instance: usize) -> Vec<i32> {
        let owned = self.owners.iter().filter(|(_, owner)| **owner == instance);
        owned.map(|(partition, _)| *partition).collect()
    }

    /// The member that is to have a partition.
    fn target(&self, partition: i32) -> Option<usize> {
        let members: Vec<usize> = self.members.iter().copied().collect();
        let index = (partition as usize + self.shift).checked_rem(members.len())?;
        Some(members[index])
    }

    /// Moves partitions to where they belong.
    pub fn balance(&mut self) {
        let mut is_change = false;
        for member in self.members.clone() {
            let belongs: BTreeSet<i32> =
                (0..PARTITIONS).filter(|partition| self.target(*partition) == Some(member)).collect();
            let free: Vec<i32> =
                belongs.iter().copied().filter(|partition| !self.owners.contains_key(partition)).collect();
            self.owners.extend(free.iter().map(|partition| (*partition, member)));
            let owned = self.partitions_of(member);
            let given: Vec<i32> = owned
                .into_iter()
                .filter(|partition| !belongs.contains(partition) && self.moving.insert(*partition))
                .collect();
            let commands = self.commands.entry(member).or_default();
            is_change |= !free.is_empty() || !given.is_empty();
            if !free.is_empty() {
                commands.push_back(Command::Assign(free));
            }
            if !given.is_empty() {
                commands.push_back(Command::Revoke(given, PATIENCE_MS));
            }
        }
        if is_change {
            self.generation += 1;
            self.change();
        }
    }

    /// Partitions up to this one are revoked from a member, and go to the next.
    pub fn revoke(&mut self, instance: usize, most: i32, patience_ms: u64) {
        let given: Vec<i32> = self
            .partitions_of(instance)
            .into_iter()
            .filter(|partition| *partition <= most && self.moving.insert(*partition))
            .collect();
        self.generation += 1;
        self.shift += 1;
        if !given.is_empty() {
            self.commands.entry(instance).or_default().push_back(Command::Revoke(given, patience_ms));
        }
        self.balance();
    }
}

/// How long the group waits for partitions that move.
const PATIENCE_MS: u64 = 200;

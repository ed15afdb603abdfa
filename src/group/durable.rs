//! What of a classic group outlives a crash: how its state becomes a record, and a record its state. Pure.

use std::collections::BTreeMap;

use braid_protocol::data::offsets::{GroupMetadataValue, MemberMetadata};
use bytes::Bytes;

use super::Record;
use super::classic::{Classic, Logged, State};
use super::member::Member;
use super::turn::Turn;
use crate::machine::Millis;

impl Classic {
    /// Decides that the group is stable, with these assignments; true once the record is replayed.
    pub(super) fn record_stable(&self, turn: &mut Turn<'_>, assignments: &BTreeMap<&str, Bytes>) {
        let member = |(id, m): (&String, &Member)| MemberMetadata {
            member_id: id.clone(),
            assignment: assignments.get(id.as_str()).cloned().unwrap_or_default(),
            ..self.member_metadata(m)
        };
        let members = self.members.iter().map(member).collect();
        self.record(turn, GroupMetadataValue { members, ..self.metadata(turn.now) });
    }

    /// Decides that in a stable group one member is now another, with the same assignment (a static member
    /// that came back).
    pub(super) fn record_replaced(&self, turn: &mut Turn<'_>, old: &str, id: &str, new: &Member) {
        let member = |(old_id, m): (&String, &Member)| {
            let (id, kept) = if old_id == old { (id, new) } else { (old_id.as_str(), m) };
            MemberMetadata {
                member_id: id.to_owned(),
                assignment: m.assignment.clone(),
                ..self.member_metadata(kept)
            }
        };
        let members = self.members.iter().map(member).collect();
        let leader = self.leader.as_deref().map(|leader| if leader == old { id } else { leader }.to_owned());
        self.record(turn, GroupMetadataValue { members, leader, ..self.metadata(self.state_since) });
    }

    /// Decides that nobody is left.
    pub(super) fn record_empty(&self, turn: &mut Turn<'_>) {
        let generation = self.next_generation();
        let nobody =
            GroupMetadataValue { generation, protocol: None, leader: None, ..self.metadata(turn.now) };
        self.record(turn, nobody);
    }

    /// Decides that the log shall hold nothing of it.
    pub(super) fn write_tombstones(&self, turn: &mut Turn<'_>) {
        match &self.logged {
            Logged::Nothing => {}
            Logged::Group => {
                turn.out.end_decision();
                turn.out.records.push(Record::Group { group: turn.group_id.to_owned(), value: None });
            }
            Logged::Consumers(consumers) => {
                turn.out.end_decision();
                consumers.write_tombstones(turn);
            }
        }
    }

    fn record(&self, turn: &mut Turn<'_>, value: GroupMetadataValue) {
        turn.out.records.push(Record::Group { group: turn.group_id.to_owned(), value: Some(value) });
    }

    fn metadata(&self, since: Millis) -> GroupMetadataValue {
        GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: since,
            members: Vec::new(),
        }
    }

    fn member_metadata(&self, member: &Member) -> MemberMetadata {
        MemberMetadata {
            member_id: String::new(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: i32::try_from(member.rebalance_timeout).unwrap_or(i32::MAX),
            session_timeout: i32::try_from(member.session_timeout).unwrap_or(i32::MAX),
            subscription: member.metadata(self.protocol.as_deref().unwrap_or_default()),
            assignment: Bytes::new(),
        }
    }

    /// Takes over what was decided: stable with these members, or empty. Of members that it already knows the
    /// group keeps what is only in memory; the sessions of others start with the next wake.
    pub(super) fn replay(&mut self, value: GroupMetadataValue) {
        let GroupMetadataValue {
            protocol_type,
            generation,
            protocol,
            leader,
            current_state_timestamp,
            members,
        } = value;
        let mut known = std::mem::take(&mut self.members);
        let instances = std::mem::take(&mut self.instances);
        for m in members {
            let id = m.member_id.clone();
            let replaced = m.group_instance_id.as_ref().and_then(|instance| instances.get(instance));
            if let Some(instance) = &m.group_instance_id {
                self.instances.insert(instance.clone(), id.clone());
            }
            let member = replayed(m, protocol.as_deref());
            let member = match known.remove(&id) {
                Some(known) => known.updated(member),
                None => match replaced.and_then(|old| known.remove(old)) {
                    Some(old) => Member { protocols: old.all_protocols(&member), ..member },
                    None => member,
                },
            };
            self.members.insert(id, member);
        }
        if let Some(leader) = leader.as_ref().and_then(|id| self.members.get_mut(id)) {
            leader.synced(); // this record is what it sent
        }
        self.state = if self.members.is_empty() { State::Empty } else { State::Stable };
        self.protocol_type = Some(protocol_type).filter(|t| !t.is_empty());
        self.generation = generation;
        self.protocol = protocol;
        self.leader = leader;
        self.state_since = current_state_timestamp;
        self.logged = Logged::Group;
    }
}

impl Member {
    /// What the record says, and what only memory knows: also the protocols that were not chosen.
    fn updated(self, recorded: Member) -> Member {
        Member {
            protocols: self.all_protocols(&recorded),
            expires: self.expires,
            waits: self.waits,
            progress: self.progress,
            ..recorded
        }
    }

    /// What it speaks, if that agrees with the record, which says no more than what was chosen.
    fn all_protocols(&self, recorded: &Member) -> Vec<(String, Bytes)> {
        let same = recorded.protocols.iter().all(|p| self.protocols.contains(p));
        if same { self.protocols.clone() } else { recorded.protocols.clone() }
    }
}

/// A member as its record tells. Bytes are copied: at start-up they are slices of the log's file.
fn replayed(m: MemberMetadata, protocol: Option<&str>) -> Member {
    let session_timeout = Millis::from(m.session_timeout);
    // records before version 1 have none: the session timeout is meant
    let rebalance_timeout =
        Some(Millis::from(m.rebalance_timeout)).filter(|t| *t >= 0).unwrap_or(session_timeout);
    Member {
        instance_id: m.group_instance_id,
        client_id: m.client_id,
        client_host: m.client_host,
        session_timeout,
        rebalance_timeout,
        protocols: protocol
            .map(|name| (name.to_owned(), Bytes::copy_from_slice(&m.subscription)))
            .into_iter()
            .collect(),
        assignment: Bytes::copy_from_slice(&m.assignment),
        ..Member::default()
    }
}

//! LeaveGroup: members go, by member id or by instance id, one or many at once. Pure.

use braid_protocol::ErrorCode;
use braid_protocol::api::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
};

use super::classic::{Classic, State};
use super::turn::Turn;

impl Classic {
    /// Lets members go; those that stay start one rebalance, however many left.
    pub(super) fn leave(&mut self, turn: &mut Turn<'_>, request: LeaveGroupRequest) -> LeaveGroupResponse {
        let (before, pending) = (self.members.len(), self.pending.len());
        let answers = request.members.into_iter().map(|one| {
            let error_code = self.leave_one(turn, &one).err().unwrap_or(ErrorCode::NONE);
            answered(one, error_code)
        });
        let response = LeaveGroupResponse { members: answers.collect(), ..Default::default() };
        let preparing = matches!(self.state, State::PreparingRebalance { .. });
        if self.members.len() < before || (preparing && self.pending.len() < pending) {
            self.shrunk(turn);
        }
        response
    }

    fn leave_one(&mut self, turn: &mut Turn<'_>, one: &MemberIdentity) -> Result<(), ErrorCode> {
        let instance = one.group_instance_id.as_deref();
        let id = match instance {
            None if self.pending.remove(&one.member_id).is_some() => return Ok(()),
            // an administrator names the instance alone
            Some(instance) if one.member_id.is_empty() => {
                self.instances.get(instance).cloned().ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?
            }
            _ => {
                self.check_member(&one.member_id, instance)?;
                one.member_id.clone()
            }
        };
        self.remove(turn, &id, one.reason.as_deref().unwrap_or("left"));
        Ok(())
    }
}

/// The answer of a group that is not there.
pub(super) fn nobody_known(request: LeaveGroupRequest) -> LeaveGroupResponse {
    let answers = request.members.into_iter().map(|one| answered(one, ErrorCode::UNKNOWN_MEMBER_ID));
    LeaveGroupResponse { members: answers.collect(), ..Default::default() }
}

pub(super) fn answered(one: MemberIdentity, error_code: ErrorCode) -> MemberResponse {
    MemberResponse { member_id: one.member_id, group_instance_id: one.group_instance_id, error_code }
}

//! A deployment: one member or several, which go through its phases and swap together.

use std::borrow::Borrow;

use crate::model::member::Member;
use crate::model::phase::Phase;
use crate::oid::RelationId;

/// Its members. `M` is how they are held: as they were read, or under the deployment's lock.
#[derive(Debug, Clone)]
pub(crate) struct Deployment<M = Member> {
    first: M,
    others: Vec<M>,
}

impl<M: Borrow<Member>> Deployment<M> {
    /// A deployment of these.
    pub(crate) fn of(first: M, others: Vec<M>) -> Self {
        Self { first, others }
    }

    /// The member by which it was called.
    pub(crate) fn first(&self) -> &Member {
        self.first.borrow()
    }

    /// The same, to be changed.
    pub(crate) fn first_mut(&mut self) -> &mut M {
        &mut self.first
    }

    /// All members, in the order of their numbers behind the first.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        std::iter::once(&self.first).chain(&self.others).map(Borrow::borrow)
    }

    /// The same, to be changed.
    pub(crate) fn members_mut(&mut self) -> impl Iterator<Item = &mut M> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    /// The same members, held in another way.
    pub(crate) fn map<N>(&self, held: impl Fn(&M) -> N) -> Deployment<N> {
        Deployment { first: held(&self.first), others: self.others.iter().map(held).collect() }
    }

    /// The live table of each member, with what holds its rows.
    pub(crate) fn green_relations(&self) -> Vec<RelationId> {
        self.members().flat_map(Member::green_relations).collect()
    }

    /// Everything that the pairs consist of.
    pub(crate) fn relations(&self) -> impl Iterator<Item = RelationId> {
        self.members().flat_map(Member::relations)
    }

    /// The last transaction that wrote to a blue table: snapshots must be younger before the swap.
    pub(crate) fn drain_xid(&self) -> u64 {
        self.members().map(|member| member.progress.drain_xid).max().unwrap_or(0)
    }

    /// The phase that every member has reached.
    pub(crate) fn phase(&self) -> Phase {
        self.members().map(|member| member.phase).min().unwrap_or(self.first().phase)
    }

    /// Whether it is neither finished nor aborted.
    pub(crate) fn is_open(&self) -> bool {
        self.members().any(|member| member.phase.is_open())
    }

    /// Whether its user has paused it.
    pub(crate) fn is_paused(&self) -> bool {
        self.members().any(|member| member.paused)
    }
}

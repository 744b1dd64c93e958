//! Who takes part in an arena, who lives, and how a death is heard. `README.md` beside this file tells the whole story.

mod judge;
mod membership;
mod warden;
mod watch;

pub(crate) use judge::{is_dead, owner_at_slot, pid_of, thread_has_ended, thread_lines};
pub(crate) use membership::{
    Membership, introduce_thread, join, join_if_idle, known, reap, reap_all, slot, this_thread_ends,
};
pub(crate) use watch::{Watch, watch};

pub(crate) use crate::shm::arena::{adopt_from_parent, descriptor_for_child};
pub(crate) use crate::shm::cells::{alloc_child, resolve};

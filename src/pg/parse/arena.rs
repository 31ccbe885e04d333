//! A memory context that lasts for one call.

use pgrx::pg_sys;

/// The context that is current until this is dropped.
struct Arena {
    own: pg_sys::MemoryContext,
    before: pg_sys::MemoryContext,
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: `before` was current when this one was made and contains it, so it is alive;
        // what lives in `own` is reached only through pointers that the closure of [`with`] could
        // not let out. Neither call raises.
        unsafe {
            pg_sys::MemoryContextSwitchTo(self.before);
            pg_sys::MemoryContextDelete(self.own);
        }
    }
}

/// Runs `work` with a memory context of its own, which goes with everything in it when `work`
/// returns or unwinds. `work` must return data of Rust's own, no pointer of the server's.
pub(super) fn with<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: we run in a backend, so the current context is valid; the name is static, as the
    // server keeps the pointer.
    let _arena = unsafe {
        let own = pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"parse".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        Arena { own, before: pg_sys::MemoryContextSwitchTo(own) }
    };
    work()
}

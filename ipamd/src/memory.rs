//! How this process keeps its memory: settings of the C library. Only glibc has them.

#[cfg(target_env = "gnu")]
mod glibc {
    use nix::libc::{M_ARENA_MAX, malloc_trim, mallopt};

    /// Lets all threads allocate from one arena. glibc gives threads arenas of their own, and each keeps
    /// what its busiest moment took: with 250 pods a fifth of the daemon's own memory. Called before any
    /// other thread runs.
    pub(crate) fn share_one_arena() {
        #[expect(unsafe_code, reason = "a setting of the C library, which has no other way in")]
        // SAFETY: mallopt takes two numbers, and no other thread runs yet.
        let _ = unsafe { mallopt(M_ARENA_MAX, 1) };
    }

    /// Gives back to the kernel what is free. glibc keeps it after a list of all links for the next one,
    /// which may be days away.
    pub(crate) fn give_back() {
        const KEEP: usize = 0;
        #[expect(unsafe_code, reason = "no library asks the C library for it")]
        // SAFETY: malloc_trim takes a number, and takes the locks that it needs.
        let _ = unsafe { malloc_trim(KEEP) };
    }
}

#[cfg(not(target_env = "gnu"))]
mod glibc {
    pub(crate) fn share_one_arena() {}
    pub(crate) fn give_back() {}
}

pub(crate) use glibc::{give_back, share_one_arena};

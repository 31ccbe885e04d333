//! A text for a background worker of ours, in a segment of shared memory.

use pgrx::pg_sys;

/// What stands before the text: its length.
const HEAD: usize = size_of::<u64>();

/// A text that another process can read by its number, for as long as this lives.
pub(crate) struct Letter(*mut pg_sys::dsm_segment);

impl Letter {
    /// Writes one. None: the server has no segment left.
    pub(crate) fn write(text: &str) -> Option<Self> {
        let flags = pg_sys::DSM_CREATE_NULL_IF_MAXSEGMENTS as i32;
        // SAFETY: the segment has room for the length and the text, begins at a page, and is mapped until
        // `drop`, or until the abort of the transaction.
        unsafe {
            let segment = pg_sys::dsm_create(HEAD + text.len(), flags);
            if segment.is_null() {
                return None;
            }
            let at: *mut u8 = pg_sys::dsm_segment_address(segment).cast();
            at.cast::<u64>().write(text.len() as u64);
            std::ptr::copy_nonoverlapping(text.as_ptr(), at.add(HEAD), text.len());
            Some(Self(segment))
        }
    }

    /// The number by which it can be read.
    pub(crate) fn number(&self) -> i64 {
        // SAFETY: the segment is mapped.
        unsafe { pg_sys::dsm_segment_handle(self.0) }.into()
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: mapped by `write`; an error that unwinds leaves this to the abort.
            unsafe { pg_sys::dsm_detach(self.0) };
        }
    }
}

/// The text with this number; None when its writer is gone. Inside a transaction.
pub(crate) fn read(number: i64) -> Option<String> {
    let handle = pg_sys::dsm_handle::try_from(number).ok()?;
    // SAFETY: only `write` makes what a job of ours names; the text is copied before the segment is given back.
    unsafe {
        let segment = pg_sys::dsm_attach(handle);
        if segment.is_null() {
            return None;
        }
        let at: *const u8 = pg_sys::dsm_segment_address(segment).cast();
        let length = usize::try_from(at.cast::<u64>().read()).unwrap_or_default();
        let text = std::slice::from_raw_parts(at.add(HEAD), length);
        let text = String::from_utf8_lossy(text).into_owned();
        pg_sys::dsm_detach(segment);
        Some(text)
    }
}

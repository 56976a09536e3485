//! What has to wait until this thread holds no lock of a chip.
//!
//! A hart that an interrupt wakes goes straight to the chips that it came from, whose locks the waking thread still
//! holds: it would wake, wait, and be woken again. So a thread that takes such locks opens a [`Scope`] before the
//! first of them, and wake-ups ([`after`]) are done when the outermost scope ends.

use std::cell::RefCell;

type Work = Box<dyn FnOnce()>;

#[derive(Default)]
struct Waiting {
    /// Scopes that are open.
    depth: u32,
    work: Vec<Work>,
}

thread_local! {
    static WAITING: RefCell<Waiting> = RefCell::default();
}

/// Open as long as it lives. A value that is declared before a lock's guard goes after it.
pub struct Scope(());

impl Scope {
    #[must_use]
    pub fn open() -> Self {
        WAITING.with_borrow_mut(|w| w.depth += 1);
        Self(())
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let work = WAITING.with_borrow_mut(|w| {
            w.depth -= 1;
            if w.depth == 0 { std::mem::take(&mut w.work) } else { Vec::new() }
        });
        work.into_iter().for_each(|f| f());
    }
}

/// Does `work` when this thread's outermost scope ends; at once if none is open.
pub fn after(work: impl FnOnce() + 'static) {
    if WAITING.with_borrow(|w| w.depth == 0) {
        return work();
    }
    WAITING.with_borrow_mut(|w| w.work.push(Box::new(work)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn the_outermost_scope_decides() {
        let done = Rc::new(Cell::new(0));
        let count = |done: &Rc<Cell<i32>>| {
            let done = Rc::clone(done);
            move || done.set(done.get() + 1)
        };
        after(count(&done));
        assert_eq!(done.get(), 1);
        let outer = Scope::open();
        after(count(&done));
        let inner = Scope::open();
        after(count(&done));
        drop(inner);
        assert_eq!(done.get(), 1);
        drop(outer);
        assert_eq!(done.get(), 3);
        // What is done then may open scopes of its own.
        let scope = Scope::open();
        let again = count(&done);
        after(move || {
            let _scope = Scope::open();
            after(again);
        });
        drop(scope);
        assert_eq!(done.get(), 4);
    }

    #[test]
    fn locks_go_first() {
        let lock = Rc::new(std::sync::Mutex::new(()));
        let seen = Rc::new(Cell::new(false));
        {
            let _scope = Scope::open();
            let _guard = lock.lock().unwrap();
            let (lock, seen) = (Rc::clone(&lock), Rc::clone(&seen));
            after(move || seen.set(lock.try_lock().is_ok()));
        }
        assert!(seen.get());
    }
}

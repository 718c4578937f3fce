//! Spare I/O buffers, lent while a request is active.

use std::cell::RefCell;

/// A worker's spare buffers. At most [`BufferPool::KEEP`] wait; further ones are freed.
#[derive(Default)]
pub struct BufferPool {
    spare: RefCell<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// Capacity of a lent buffer, at least.
    pub const SIZE: usize = 16 * 1024;
    /// Buffers that wait at most.
    pub const KEEP: usize = 64;

    /// An empty buffer of at least [`SIZE`](Self::SIZE) bytes.
    #[inline]
    pub fn take(&self) -> Vec<u8> {
        self.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(Self::SIZE))
    }

    /// Gives a buffer back. One that never had storage, or that has grown beyond four times
    /// [`SIZE`](Self::SIZE), is freed.
    #[inline]
    pub fn give(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if (Self::SIZE..=4 * Self::SIZE).contains(&buffer.capacity()) && spare.len() < Self::KEEP {
            buffer.clear();
            spare.push(buffer);
        } else {
            free(buffer);
        }
    }
}

/// Out of line, so that the common way is short.
#[cold]
fn free(buffer: Vec<u8>) {
    drop(buffer);
}

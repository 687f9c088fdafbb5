//! Pages of a list: bounded in rows, and in bytes, for a row may be a hundred times as large as another.

use std::ops::Deref;

use futures::{Stream, TryStreamExt};

use crate::Result;

/// The most rows of a page.
pub const MAX_PAGE: i64 = 100;

/// The most rows that are fetched for a page: the one too many tells whether there is more.
pub(crate) const MAX_FETCHED: i64 = MAX_PAGE + 1;

/// The most bytes of JSON in the rows of one page. The row with which they would be more is left to the
/// next page; a page always has one row.
pub const PAGE_BYTES: usize = 4 << 20;

/// Rows of a list, in its order.
#[derive(Debug, Clone)]
pub struct Slice<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Whether they end before the number that was asked for, because of [`PAGE_BYTES`].
    pub cut: bool,
}

impl<T> From<Vec<T>> for Slice<T> {
    fn from(rows: Vec<T>) -> Self {
        Self { rows, cut: false }
    }
}

impl<T> Deref for Slice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.rows
    }
}

impl<T> IntoIterator for Slice<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

/// A slice that is being filled, row by row.
pub(crate) struct Filling<T> {
    slice: Slice<T>,
    bytes: usize,
    most: usize,
}

impl<T> Default for Filling<T> {
    fn default() -> Self {
        Self::one_of(1)
    }
}

impl<T> Filling<T> {
    /// One of so many that are filled for the same answer, and share [`PAGE_BYTES`].
    pub(crate) fn one_of(many: usize) -> Self {
        Self { slice: Vec::new().into(), bytes: 0, most: PAGE_BYTES / many.max(1) }
    }

    /// Adds a row of so many bytes, unless the slice is full; tells whether it was added.
    pub(crate) fn put(&mut self, row: T, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.slice.cut |= self.bytes > self.most && !self.slice.rows.is_empty();
        if !self.slice.cut {
            self.slice.rows.push(row);
        }
        !self.slice.cut
    }
}

impl<T> From<Filling<T>> for Slice<T> {
    fn from(filling: Filling<T>) -> Self {
        filling.slice
    }
}

/// Takes rows until they are enough. What is too much is never held.
///
/// # Errors
/// Unavailable when nobody answers.
pub(crate) async fn slice<T>(
    mut rows: impl Stream<Item = sqlx::Result<T>> + Unpin,
    bytes: impl Fn(&T) -> usize,
) -> Result<Slice<T>> {
    let mut filling = Filling::default();
    while let Some(row) = rows.try_next().await? {
        let size = bytes(&row);
        if !filling.put(row, size) {
            break;
        }
    }
    Ok(filling.into())
}

#[cfg(test)]
mod tests {
    use futures::stream::iter;

    use super::*;

    #[tokio::test]
    async fn a_page_ends_before_it_is_too_large_and_has_one_row() {
        let of = async |sizes: &[usize]| {
            let slice = slice(iter(sizes.iter().map(|size| Ok(*size))), |size| *size).await.unwrap();
            (slice.rows.len(), slice.cut)
        };
        assert_eq!(of(&[]).await, (0, false));
        assert_eq!(of(&[1, PAGE_BYTES - 1]).await, (2, false));
        assert_eq!(of(&[1, PAGE_BYTES, 1]).await, (1, true));
        assert_eq!(of(&[PAGE_BYTES + 1]).await, (1, false));
        assert_eq!(of(&[PAGE_BYTES + 1, 1]).await, (1, true));
    }
}

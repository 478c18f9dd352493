//! Answers of servers, and no more of them than there is room for.

use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

type BoxError = Box<dyn Error + Send + Sync>;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// All bytes of the answer.
    Whole(usize),
    /// The bytes of each line: the answer is a stream of them, and lasts.
    Line(usize),
}

/// An answer that ends with an error where it is longer than that.
#[derive(Debug)]
pub(crate) struct Limited<B> {
    body: B,
    limit: Limit,
    /// Bytes that came, of the whole or of this line.
    came: usize,
}

impl<B> Limited<B> {
    /// As much of an answer as the limit allows.
    pub(crate) fn new(body: B, limit: Limit) -> Self {
        Self { body, limit, came: 0 }
    }

    /// Counts what came.
    fn count(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        let most = match self.limit {
            Limit::Whole(most) | Limit::Line(most) => most,
        };
        let mut longest = self.came + bytes.len();
        self.came = longest;
        if matches!(self.limit, Limit::Line(_)) {
            let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::len);
            // The first ends the line that was begun, the last begins one.
            longest = longest - bytes.len() + lines.next().unwrap_or(0);
            self.came = longest;
            for line in lines {
                longest = longest.max(line);
                self.came = line;
            }
        }
        if longest > most {
            return Err(format!("the answer is longer than {most} bytes: it is not read").into());
        }
        Ok(())
    }
}

impl<B> Body for Limited<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            Some(Ok(frame)) => frame,
        };
        let counted = frame.data_ref().map_or(Ok(()), |bytes| self.count(bytes));
        Poll::Ready(Some(counted.map(|()| frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_up_to_its_limit_and_a_stream_line_by_line() {
        let read = |limit, parts: &[&str]| {
            let mut body = Limited::new((), limit);
            parts.iter().try_for_each(|part| body.count(part.as_bytes())).is_ok()
        };

        assert!(read(Limit::Whole(4), &["ab", "cd"]));
        assert!(!read(Limit::Whole(4), &["ab\n", "cd"]));
        assert!(read(Limit::Line(4), &["ab\ncd", "ef\n", "\n", "abcd\nabcd\n"]));
        assert!(!read(Limit::Line(4), &["ab\ncd", "efg"]));
        assert!(!read(Limit::Line(4), &["abcde\n"]));
        assert!(!read(Limit::Line(4), &["\nabcde\na"]));
    }
}
